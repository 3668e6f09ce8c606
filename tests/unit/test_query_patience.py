"""How long a query waits for what its process has logged and nobody has delivered yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recorded import isolated_sdk
from tracker.queries import _own_writes_wait_s


@pytest.mark.parametrize(("exit_wait_s", "waits_s"), [(None, 5.0), ("0.2", 5.0), ("90", 90.0)])
def test_a_query_waits_as_long_as_the_end_of_a_run_and_at_least_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_wait_s: str | None, waits_s: float
) -> None:
    with isolated_sdk(tmp_path, monkeypatch):
        if exit_wait_s is not None:
            monkeypatch.setenv("TRACKER_EXIT_WAIT_S", exit_wait_s)

        assert _own_writes_wait_s() == waits_s
