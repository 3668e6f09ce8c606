"""Who a writer is: the immutable meta.json of its folder, and what it says of its process.

The file is written once, before the folder gets its name, and never changed. Unknown
fields of a newer client are ignored; a missing or broken file raises MetaUnreadable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from tracker.events.errors import TrackerError
from tracker.events.ids import is_run_id, is_writer_id
from tracker.spool.machine import this_process

META_SCHEMA: Final = 1
META_BYTES_MAX: Final = 64 * 1024
MODE_ONLINE: Final = "online"
MODE_OFFLINE: Final = "offline"
URI_LOCAL: Final = "local"


class MetaUnreadable(TrackerError):
    """A meta.json is missing, is no JSON, or lacks what makes a writer a writer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterMeta:
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
        return replace(
            self,
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
    text = json.dumps(asdict(meta), ensure_ascii=False, indent=1)
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


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
}


def _meta_of(path: Path, row: Mapping[str, Any]) -> WriterMeta:
    known: dict[str, Any] = {}
    for field in fields(WriterMeta):
        if field.name not in row:
            continue
        value = row[field.name]
        if not isinstance(value, _TYPES[str(field.type)]):
            raise MetaUnreadable(f"{path}: {field.name} must be of type {field.type}")
        known[field.name] = value
    try:
        return WriterMeta(**known)
    except TypeError as error:
        raise MetaUnreadable(f"{path}: {error}") from error
