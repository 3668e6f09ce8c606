"""The doorbell: a FIFO in the spool root by which a writer wakes the shipper.

The shipper makes it and reads it; a writer puts one byte in without ever waiting.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from pathlib import Path


def ring(path: Path) -> bool:
    """Wake who listens at `path`; False if nobody does. Never blocks, never raises OSError."""
    if sys.platform == "win32":
        return False
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False  # ENXIO: nobody has it open; ENOENT: nobody has ever listened
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode) and _put_byte(fd)
    finally:
        os.close(fd)


def _put_byte(fd: int) -> bool:
    # The listener may go between open and write. Training that restored SIGPIPE's default
    # action would die of it, so the signal is held back and taken off here.
    if sys.platform == "win32":
        return False
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        os.write(fd, b"!")
    except BlockingIOError:
        return True  # it has rung so often that the pipe is full
    except OSError as error:
        if error.errno == errno.EPIPE and signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return True
