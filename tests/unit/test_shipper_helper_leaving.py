"""A helper that leaves while somebody comes: nobody may find that the other one is there."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import pytest

from tests.support.spool_scripts import end, log_steps, new_writer
from tracker.shipper import helper
from tracker.shipper.config import HelperSettings
from tracker.shipper.helper import serve
from tracker.spool.folder import SpoolRoot
from tracker.spool.locks import is_locked
from tracker.spool.writer import SpoolWriter


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_run_that_came_while_the_helper_was_leaving_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_ended: bool
) -> None:
    root = SpoolRoot(tmp_path)
    old = new_writer(tmp_path, "http://x.invalid")
    old.close()
    rounds, lives = list[Set[Path]](), list[SpoolWriter]()

    async def ship(root: SpoolRoot, settings: HelperSettings) -> Set[Path] | None:
        known = {folder.path for folder in root.writer_folders()}
        if not rounds:
            assert is_locked(root.helper_lock)  # so whoever looks starts no other
            writer = new_writer(root.path, "http://x.invalid")
            log_steps(writer, 1, 3)
            lives.append(writer)
            if has_ended:
                end(writer)
                writer.close()
        else:
            lives.pop().close()
        rounds.append(known)
        return known

    monkeypatch.setattr(helper, "_ship", ship)

    serve(root, HelperSettings(home=tmp_path, idle_s=0.5))

    assert [len(known) for known in rounds] == [1, 2]
