"""The helper process: ships a spool beside the training, and goes on when that dies.

One per user and spool, kept single by a lock. It takes every online writer that goes to a
server by address, whatever its run, so it also delivers what earlier runs left behind. It
leaves when nobody writes and nothing is left to deliver (or nothing that could be, for
much longer); what stays behind is for the next helper, or for `tracker sync`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import time
from collections.abc import Set
from pathlib import Path
from typing import Final

from tracker.shipper.bell import listening
from tracker.shipper.config import HelperSettings, helper_settings
from tracker.shipper.journal import Journal
from tracker.shipper.shipper import Shipper, is_remote
from tracker.spool.folder import SpoolRoot
from tracker.spool.locks import FileLock, WriterState, writer_state
from tracker.spool.meta import MetaUnreadable, load_meta

# A server that is away is waited for longer than nothing at all: an hour, as things are set.
GIVE_UP_IDLE_TIMES: Final = 120
_LOOK_INTERVAL_S: Final = 0.25


def main() -> None:
    """`python -m tracker.shipper.helper --spool DIR`; a second one ends at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spool", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    serve(SpoolRoot(arguments.spool), helper_settings())


def serve(root: SpoolRoot, settings: HelperSettings) -> None:
    """Ship until idle. Returns at once when another helper holds the lock."""
    while True:
        lock = FileLock.acquire(root.helper_lock)
        if lock is None:
            return
        try:
            known = asyncio.run(_ship(root, settings))
        finally:
            lock.release()
        # A run that began while the lock was still held has seen a helper that was leaving. It
        # may have ended since, too: then nobody else looks at it.
        if known is None or not _has_newcomers(root, known):
            return


async def _ship(root: SpoolRoot, settings: HelperSettings) -> Set[Path] | None:
    """Ship until idle; return the writers that were seen, None if told to end by a signal."""
    shipper = Shipper(root.path, accepts=is_remote, key_of=settings.key_for)
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    # A terminal that closes must not take the delivery down with it.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    with listening(root.doorbell, shipper.wake):
        shipping = asyncio.create_task(shipper.run())
        idleness = _Idleness(idle_s=settings.idle_s)
        journal = Journal()
        while not (told.is_set() or shipping.done() or idleness.is_over(shipper)):
            if not root.helper_lock.exists():
                break  # the spool was deleted, and with it everything there was to deliver
            await asyncio.wait([shipping], timeout=_LOOK_INTERVAL_S)
            journal.note(shipper.states)
        shipper.stop()
        await shipping
    return None if told.is_set() else shipper.seen


class _Idleness:
    """How long there has been nobody who writes, and nothing that moves."""

    def __init__(self, *, idle_s: float) -> None:
        self._idle_s = idle_s
        self._busy_at = self._live_at = time.monotonic()

    def is_over(self, shipper: Shipper) -> bool:
        now = time.monotonic()
        if shipper.live_count:
            self._busy_at = self._live_at = now
        elif shipper.pending_count:
            self._busy_at = now
        give_up_s = GIVE_UP_IDLE_TIMES * self._idle_s
        return now - self._busy_at > self._idle_s or now - self._live_at > give_up_s


def _has_newcomers(root: SpoolRoot, known: Set[Path]) -> bool:
    """Whether there is a writer that lives, or that the shipper which has ended never saw."""
    for folder in root.writer_folders():
        try:
            meta = load_meta(folder.meta)
        except MetaUnreadable:
            continue
        if is_remote(meta) and (
            folder.path not in known or writer_state(folder, meta) is WriterState.LIVE
        ):
            return True
    return False


if __name__ == "__main__":
    main()
