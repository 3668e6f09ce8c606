"""docs/guides/artifacts.md runs as it stands, its examples in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guides import run_guide
from tests.support.processes import running_server


def test_the_artifacts_guides_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(tmp_path) as server:
        monkeypatch.chdir(tmp_path)  # the guide writes its files where it is run
        run_guide("artifacts.md", server, tmp_path, monkeypatch, commands_min=5)

    weights = bytes(range(256)) * 64
    assert (tmp_path / "downloaded" / "model" / "weights.bin").read_bytes() == weights
