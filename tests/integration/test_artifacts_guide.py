"""docs/guides/artifacts.md runs as it stands, its examples in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.processes import running_server, start_script
from tracker.cli.main import tracker

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "artifacts.md"


def test_the_artifacts_guides_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    python = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
    commands = re.findall(r"^\$ tracker (.*)$", text, re.M)
    assert len(commands) >= 5

    with running_server(tmp_path) as server:
        monkeypatch.chdir(tmp_path)  # the guide writes its files where it is run
        script = start_script(tmp_path, python, TRACKER_URI=server.uri)
        _, errors = script.communicate(timeout=60)
        assert script.returncode == 0, errors
        monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
        monkeypatch.setenv("TRACKER_URI", server.uri)
        for command in commands:
            done = CliRunner().invoke(tracker, shlex.split(command))
            assert (done.exit_code, bool(done.stdout)) == (0, True), f"{command}: {done.stderr}"

    weights = bytes(range(256)) * 64
    assert (tmp_path / "downloaded" / "model" / "weights.bin").read_bytes() == weights
