"""Waiting, for a bounded time, until what was recorded has been acknowledged.

Only the end of a run and flush() wait. The first waits that go unanswered use up the
patience of the process: each one halves what the next may take, so a hundred short runs
without a server wait as long as two. An answer restores it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracker.recording import Writer

_POLL_FIRST_S: Final = 0.001
_POLL_LAST_S: Final = 0.02
# After this long without an answer the server is not close; polling may slow down.
_POLL_FAST_FOR_S: Final = 0.5
_RING_EVERY_S: Final = 0.05


class Patience:
    def __init__(self) -> None:
        self._unanswered = 0

    def wait(self, writers: Sequence[Writer], *, timeout_s: float) -> bool:
        """Whether all that `writers` have recorded is acknowledged now."""
        is_acked = wait_until_acked(writers, timeout_s=timeout_s / 2**self._unanswered)
        self._unanswered = 0 if is_acked else min(self._unanswered + 1, 10)
        return is_acked


def wait_until_acked(writers: Sequence[Writer], *, timeout_s: float) -> bool:
    start = time.monotonic()
    ring_at = start
    while True:
        if all(waiting(writer) == 0 for writer in writers):
            return True
        now = time.monotonic()
        if now - start >= timeout_s:
            return False
        if now >= ring_at:
            ring_at = now + _RING_EVERY_S
            for writer in writers:
                writer.ring_doorbell()
        time.sleep(_POLL_FIRST_S if now - start < _POLL_FAST_FOR_S else _POLL_LAST_S)


def waiting(writer: Writer) -> int:
    """How many of its records nobody has acknowledged yet."""
    return max(0, writer.next_seq - writer.acked_seq())


def logged(writer: Writer) -> int:
    return writer.next_seq - 1
