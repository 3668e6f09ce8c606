"""Who a writer is: the immutable meta.json of its folder, and what it says of its process.

The file is written once, before the folder gets its name, and never changed. Unknown
fields of a newer client are ignored; a missing or broken file raises MetaUnreadable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracker.events.errors import TrackerError
from tracker.events.ids import is_run_id, is_writer_id
from tracker.spool.machine import this_process

META_SCHEMA: Final = 1
META_BYTES_MAX: Final = 64 * 1024
MODE_ONLINE: Final = "online"
MODE_OFFLINE: Final = "offline"
URI_LOCAL: Final = "local"
KIND_EVENTS: Final = "events"
KIND_ARTIFACTS: Final = "artifacts"  # its records name blobs, which are uploaded before them


class MetaUnreadable(TrackerError):
    """A meta.json is missing, is no JSON, or lacks what makes a writer a writer."""


class WriterMeta(NamedTuple):
    """Everything a shipper must know of a writer, also on another machine.

    `run_id` is empty for facts of the workspace. `uri` is the destination when the
    writer was made: an address, or "local". The last block is filled in by
    `of_this_process` and by the writer; a field is None or empty where the system
    does not tell.
    """

    writer_id: str
    run_id: str
    epoch: int = 1
    workspace: str = "default"
    mode: str = MODE_ONLINE
    uri: str = URI_LOCAL
    experiment_name: str | None = None
    experiment_id: str | None = None
    run_name: str | None = None
    is_owner: bool = True
    rank: int | None = None
    created_us: int = 0
    sdk_version: str = ""
    kind: str = KIND_EVENTS

    pid: int = 0
    process_start: int | None = None  # clock ticks since boot, as the kernel has it
    host: str = ""
    machine_id: str = ""
    boot_id: str = ""
    lock_inode: int = 0
    schema: int = META_SCHEMA

    def of_this_process(self) -> WriterMeta:
        """The same, with this process and this machine filled in."""
        here = this_process()
        return self._replace(
            pid=here.pid,
            process_start=here.process_start,
            host=here.host,
            machine_id=here.machine_id,
            boot_id=here.boot_id,
        )


def store_meta(path: Path, meta: WriterMeta, *, is_synced: bool = True) -> None:
    """Write `path` whole or not at all: temp file, fsync, rename, fsync of the folder.

    With is_synced=False both fsyncs are left to the caller.
    """
    temporary = path.with_name(path.name + ".tmp")
    text = json.dumps(meta._asdict(), ensure_ascii=False, indent=1)
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if is_synced:
            os.fsync(file.fileno())
    temporary.replace(path)
    if is_synced:
        sync_folder(path.parent)


def load_meta(path: Path) -> WriterMeta:
    """Read a meta.json; raise MetaUnreadable, with the file's name and what is wrong."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.read(META_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise MetaUnreadable(f"{path} cannot be read: {error}") from error
    if not isinstance(row, dict):
        raise MetaUnreadable(f"{path} does not hold a JSON object")
    meta = _meta_of(path, row)
    if not is_writer_id(meta.writer_id) or (meta.run_id and not is_run_id(meta.run_id)):
        raise MetaUnreadable(f"{path} names an invalid writer or run")
    return meta


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_OPTIONAL_TEXTS: Final = frozenset({"experiment_name", "experiment_id", "run_name"})
_OPTIONAL_NUMBERS: Final = frozenset({"rank", "process_start"})
_FLAGS: Final = frozenset({"is_owner"})
_NUMBERS: Final = frozenset({"epoch", "created_us", "pid", "lock_inode", "schema"})


def _meta_of(path: Path, row: Mapping[str, Any]) -> WriterMeta:
    known: dict[str, Any] = {}
    for name in WriterMeta._fields:
        if name not in row:
            continue
        types = _types_of(name)
        if not isinstance(row[name], types):
            wanted = " or ".join(kind.__name__ for kind in types)
            raise MetaUnreadable(f"{path}: {name} must be of type {wanted}")
        known[name] = row[name]
    try:
        return WriterMeta(**known)
    except TypeError as error:
        raise MetaUnreadable(f"{path}: {error}") from error


def _types_of(name: str) -> tuple[type, ...]:
    if name in _OPTIONAL_TEXTS:
        return (str, type(None))
    if name in _OPTIONAL_NUMBERS:
        return (int, type(None))
    if name in _FLAGS:
        return (bool,)
    return (int,) if name in _NUMBERS else (str,)
