"""Runs a guide of docs/guides as it stands: its Python as one script, then its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.processes import ServerProcess, start_script
from tracker.cli.main import tracker

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def run_guide(
    name: str,
    server: ServerProcess,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    commands_min: int,
) -> str:
    """The guide's text, after every example in it was run against `server`."""
    text = (GUIDES / name).read_text(encoding="utf-8")
    python = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
    commands = re.findall(r"^\$ tracker (.*)$", text, re.M)
    assert len(commands) >= commands_min
    script = start_script(home, python, TRACKER_URI=server.uri, TRACKER_EXIT_WAIT_S="90")
    _, errors = script.communicate(timeout=180)
    assert script.returncode == 0, errors
    monkeypatch.setenv("TRACKER_HOME", str(home))
    monkeypatch.setenv("TRACKER_URI", server.uri)
    for command in commands:
        done = CliRunner().invoke(tracker, shlex.split(command))
        assert (done.exit_code, bool(done.stdout)) == (0, True), f"{command}: {done.stderr}"
    return text
