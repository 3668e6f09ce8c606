"""How a writer's process ended, as far as the kernel tells somebody who is not its parent.

A pidfd is held while the process lives. Once it has ended, /proc tells its wait status until
its parent has taken note of that; from then on the ioctl PIDFD_GET_INFO with PIDFD_INFO_EXIT
does (Linux 6.15 and later, include/uapi/linux/pidfd.h). Elsewhere, or for a process that ended
before anybody looked, the reason is "lost".
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracker.spool.machine import process_start
from tracker.spool.meta import WriterMeta

# struct pidfd_info: mask, cgroupid, pid, tgid, ppid, 8 ids, exit_code, coredump fields.
_INFO: Final = struct.Struct("=QQ" + "I" * 11 + "i" + "II")
_INFO_EXIT: Final = 1 << 3
_GET_INFO: Final = 0xC0000000 | (_INFO.size << 16) | (0xFF << 8) | 11

KILLED: Final = "killed by signal"
EXITED: Final = "exited without ending the run"
LOST: Final = "lost"


@dataclass(frozen=True, slots=True)
class Ending:
    reason: str
    detail: str | None = None


class ProcessWatch:
    """Watches one process of this machine. `ending` is asked after its lock came free."""

    def __init__(self, meta: WriterMeta) -> None:
        self._fd = -1
        self._pid = meta.pid
        self._process_start = meta.process_start
        if sys.platform != "linux" or meta.pid <= 0:
            return
        try:
            self._fd = os.pidfd_open(meta.pid)
        except OSError:
            return
        if process_start(meta.pid) != meta.process_start:  # the pid belongs to somebody else now
            self.close()

    def ending(self) -> Ending:
        """How it ended. Call `close` afterwards."""
        if self._fd < 0 or sys.platform != "linux":
            return Ending(LOST)
        status = _wait_status(self._fd)
        if status is None:
            status = _wait_status_of_zombie(self._pid, self._process_start)
        if status is None:
            return Ending(LOST)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return Ending(KILLED, f"{_signal_name(number)} ({number})")
        return Ending(EXITED, f"exit code {os.WEXITSTATUS(status)}")

    @property
    def is_watching(self) -> bool:
        return self._fd >= 0

    def is_alive(self) -> bool:
        """Whether the process is surely not gone; it may be on its way out."""
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _wait_status(pidfd: int) -> int | None:
    import fcntl

    request = _INFO.pack(_INFO_EXIT, *([0] * (1 + 11 + 1 + 2)))
    try:
        info = _INFO.unpack(fcntl.ioctl(pidfd, _GET_INFO, request))
    except OSError:
        return None
    if not info[0] & _INFO_EXIT:
        return None
    status: int = info[13]
    return status


def _wait_status_of_zombie(pid: int, process_start: int | None) -> int | None:
    """What the parent has not asked for yet; see proc_pid_stat(5) for the fields."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    if len(fields) < 50 or fields[0] not in (b"Z", b"X") or int(fields[19]) != process_start:
        return None
    # Zero is also what those are told who may not know.
    return int(fields[49]) or None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
