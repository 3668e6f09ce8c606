"""docs/guides/querying.md runs as it stands, its examples in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.guides import run_guide
from tests.support.processes import running_server
from tracker.cli.main import tracker


def test_the_guides_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(tmp_path) as server:
        text = run_guide("querying.md", server, tmp_path, monkeypatch, commands_min=10)
        filters = [
            condition
            for condition in re.findall(r"^\| [^|]+ \| `([^`]+)`.* \|$", text, re.M)
            if not condition.startswith(("client.", "metrics.loss.min"))
        ]
        assert len(filters) >= 7
        for condition in filters:
            done = CliRunner().invoke(tracker, ["runs", "search", "--filter", condition])
            assert done.exit_code == 0, f"{condition}: {done.stderr}"
