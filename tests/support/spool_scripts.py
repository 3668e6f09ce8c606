"""Spools made without the SDK: a writer of records whose every value can be predicted."""

from __future__ import annotations

import time
from pathlib import Path

from tracker.events.ids import new_run_id, new_writer_id
from tracker.events.types import Event
from tracker.spool.folder import SpoolRoot
from tracker.spool.meta import WriterMeta
from tracker.spool.writer import SpoolWriter


def new_writer(root: Path, uri: str, *, run_id: str | None = None, **fields: object) -> SpoolWriter:
    """A writer whose run is started; its process is this one."""
    root.mkdir(parents=True, exist_ok=True)
    meta = WriterMeta(
        writer_id=new_writer_id(),
        run_id=run_id or new_run_id(),
        uri=uri,
        created_us=time.time_ns() // 1000,
        **fields,  # type: ignore[arg-type]  # forwarded as they are
    )
    writer = SpoolWriter.create(SpoolRoot(root), meta)
    writer.log_event(Event("run.started", time.time_ns() // 1000, {"experiment_name": "test"}))
    return writer


def log_steps(writer: SpoolWriter, first: int, last: int) -> None:
    now_us = time.time_ns() // 1000
    for step in range(first, last + 1):
        writer.log_metric(b"loss", step * 0.5, step, now_us + step)


def end(writer: SpoolWriter) -> None:
    writer.log_event(Event("run.ended", time.time_ns() // 1000, {"status": "FINISHED"}))
