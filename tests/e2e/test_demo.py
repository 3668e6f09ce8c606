"""`tracker demo` as a newcomer runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.processes import run_cli


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_ends_by_itself_with_equal_numbers(tmp_path: Path) -> None:
    told = run_cli(tmp_path, "demo", "--epochs", "4", "--outage-s", "1")

    assert told.returncode == 0, told.stdout + told.stderr
    counts = re.search(r"points logged / shipped / stored\s+(\d+) / (\d+) / (\d+)", told.stdout)
    assert counts is not None
    assert len(set(counts.groups())) == 1
    assert int(counts[1]) > 500
    assert "p99" in told.stdout
    assert told.stdout.count("FINISHED") == 8
