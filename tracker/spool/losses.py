"""Calls that could not be spooled: how many, since when, why, and when to try again.

While a loss is open every call only counts; the sequence numbers of the calls are kept
free, and one DROPPED record takes them all when the disk takes records again. So what
was lost is part of the record of the run, and the sequence stays dense.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final

from tracker.spool import framing

_RETRY_S: Final = 0.25
_RETRY_MAX_S: Final = 5.0

# EFBIG is RLIMIT_FSIZE; a quota says EDQUOT.
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Loss:
    """One unbroken range of `n` lost sequence numbers."""

    __slots__ = ("_pause_s", "_retry_at_s", "first_seq", "is_segment_broken", "n", "reason")

    def __init__(self, first_seq: int, reason: str, *, is_segment_broken: bool, n: int = 0) -> None:
        self.first_seq = first_seq
        self.reason = reason
        self.is_segment_broken = is_segment_broken
        self.n = n
        self._pause_s = _RETRY_S
        self._retry_at_s = time.monotonic() + _RETRY_S

    def is_retry_due(self) -> bool:
        return time.monotonic() >= self._retry_at_s

    def postpone(self) -> None:
        """The disk refused again. Room may come back any moment; a broken disk rarely does."""
        if self.is_segment_broken:
            self._pause_s = min(2 * self._pause_s, _RETRY_MAX_S)
        self._retry_at_s = time.monotonic() + self._pause_s

    def record(self) -> bytes:
        return framing.dropped_record(
            self.first_seq, n=self.n, time_us=time.time_ns() // 1000, reason=self.reason
        )


def reason_of(error: OSError) -> str:
    if error.errno in NO_SPACE:
        return f"no space for the spool: {os.strerror(error.errno or 0)}"
    return f"the spool's disk failed: {os.strerror(error.errno or 0)}"
