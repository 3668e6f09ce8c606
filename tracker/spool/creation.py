"""Making a writer's folder: it gets its name when it is whole and locked, by one rename.

A crash before the rename leaves a `.creating-…` folder, which holds nothing recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from tracker.spool.files import FileCalls, allocate
from tracker.spool.folder import CREATING_PREFIX, SpoolRoot, WriterFolder
from tracker.spool.locks import FileLock
from tracker.spool.meta import WriterMeta, store_meta, sync_folder
from tracker.spool.segments import OpenSegment, create_segment

RESERVE_BYTES: Final = 64 * 1024
_FOLDER_MODE: Final = 0o700
# A shipper may remove the run's empty folder between our making it and filling it.
_TRIES: Final = 5


class NewFolder(NamedTuple):
    folder: WriterFolder
    meta: WriterMeta
    lock: FileLock
    segment: OpenSegment


def create_writer_folder(
    files: FileCalls, root: SpoolRoot, meta: WriterMeta, first_seq: int
) -> NewFolder:
    """Make the folder with meta.json, lock, reserve and first segment; nothing is synced yet.

    The lock's inode, and the process where the caller left it out, are filled into the
    meta. Raises OSError, FileExistsError if this writer has a folder already.
    """
    final = root.writer_folder(meta.run_id, meta.writer_id)
    if final.path.exists():
        raise FileExistsError(f"the writer {meta.writer_id} has a spool folder already")
    meta = meta if meta.pid else meta.of_this_process()
    with _making(final, meta) as (making, lock):
        meta = meta._replace(lock_inode=lock.inode)
        segment = create_segment(files, making, meta, first_seq)
    segment.path = final.segment(first_seq)
    return NewFolder(final, meta, lock, segment)


def restore_writer_folder(folder: WriterFolder, meta: WriterMeta) -> tuple[WriterMeta, FileLock]:
    """Make a folder again that was deleted under its writer, without a segment.

    Returns the meta with the new lock's inode, and the lock. Raises OSError.
    """
    with _making(folder, meta) as (_, lock):
        meta = meta._replace(lock_inode=lock.inode)
    return meta, lock


def sync_new_folder(folder: WriterFolder) -> None:
    """Make a new folder survive a power cut: its meta first, then every name on the way to it."""
    fd = os.open(folder.meta, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    for path in (folder.path, folder.path.parent, folder.path.parent.parent):
        sync_folder(path)


@contextmanager
def _making(final: WriterFolder, meta: WriterMeta) -> Iterator[tuple[WriterFolder, FileLock]]:
    """A folder under another name, with lock, meta and reserve; at the end it gets its name."""
    making = WriterFolder(final.path.with_name(CREATING_PREFIX + meta.writer_id))
    _make_folders(making)
    lock: FileLock | None = None
    try:
        lock = FileLock.acquire(making.lock)
        if lock is None:
            raise BlockingIOError(f"{making.lock} is locked by another process")
        store_meta(making.meta, meta._replace(lock_inode=lock.inode), is_synced=False)
        allocate(making.reserve, RESERVE_BYTES)
        yield making, lock
        making.path.rename(final.path)
    except BaseException:
        if lock:
            lock.release()
        import shutil  # costs 3 ms of every import of the SDK otherwise

        shutil.rmtree(making.path, ignore_errors=True)
        raise


def _make_folders(making: WriterFolder) -> None:
    making.path.parent.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    for _ in range(_TRIES):
        making.path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        with suppress(FileNotFoundError):
            making.path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            return
    raise FileNotFoundError(f"{making.path.parent} keeps vanishing")
