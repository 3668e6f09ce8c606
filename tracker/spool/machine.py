"""This machine, this boot and this process, named so that another process can compare them.

Only files and one C call are read; no process is started. A name is empty where the
system does not tell, and then nothing is concluded from it.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

_MACHINE_ID_FILES: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")


class ProcessIdentity(NamedTuple):
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    process_start: int | None
    host: str
    machine_id: str
    boot_id: str


def this_process() -> ProcessIdentity:
    pid = os.getpid()
    return ProcessIdentity(
        pid=pid,
        process_start=process_start(pid),
        host=host_name(),
        machine_id=machine_id(),
        boot_id=boot_id(),
    )


def host_name() -> str:
    if sys.platform == "win32":
        import socket

        return socket.gethostname()
    return os.uname().nodename


def process_start(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None if gone or not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        # The command name, in brackets, may hold spaces and brackets itself.
        return int(stat[stat.rindex(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return None


@lru_cache(maxsize=1)
def boot_id() -> str:
    """One value per boot of the kernel."""
    if sys.platform == "darwin":
        return _darwin_boot_session()
    return _first_line(_BOOT_ID_FILE)


@lru_cache(maxsize=1)
def machine_id() -> str:
    """One value per installed system.

    An image without one (a small container) is named by the kernel's boot instead: then
    a reboot makes it another machine, which only costs the knowledge that writers died.
    """
    if sys.platform == "darwin":
        return _darwin_machine_id() or _from_boot()
    return next(filter(None, map(_first_line, _MACHINE_ID_FILES)), "") or _from_boot()


def _from_boot() -> str:
    return f"boot-{boot_id()}" if boot_id() else ""


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip().split("\n")[0]
    except (OSError, UnicodeDecodeError):
        return ""


def _darwin_boot_session() -> str:
    import ctypes  # 2 ms, needed on macOS only

    buffer = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(buffer))
    libc = ctypes.CDLL(None)
    if libc.sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0) != 0:
        return ""
    return buffer.value.decode("ascii", "replace")


def _darwin_machine_id() -> str:
    """The hardware's uuid, by gethostuuid(2)."""
    import ctypes

    class Wait(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    uuid = (ctypes.c_ubyte * 16)()
    if ctypes.CDLL(None).gethostuuid(uuid, ctypes.byref(Wait(0, 0))) != 0:
        return ""
    return bytes(uuid).hex()
