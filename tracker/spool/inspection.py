"""Looking at spools without changing them: summaries, records, and a proof of integrity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tracker.events import wire
from tracker.spool.acks import read_ack
from tracker.spool.chunks import Chunk
from tracker.spool.folder import WriterFolder, writer_folders_at
from tracker.spool.locks import writer_state
from tracker.spool.meta import MetaUnreadable, WriterMeta, load_meta
from tracker.spool.quarantine import NullQuarantine, Quarantine
from tracker.spool.reader import SpoolReader


@dataclass(frozen=True, slots=True)
class WriterSummary:
    """One writer: its state (live, dead, rebooted, foreign) and how far it was delivered."""

    folder: WriterFolder
    meta: WriterMeta
    state: str
    recorded: int  # the highest sequence number in the spool
    acked: int
    bytes: int

    @property
    def unsent(self) -> int:
        return max(0, self.recorded - self.acked)

    def as_json(self) -> dict[str, Any]:
        return {
            **self.meta._asdict(),
            "path": str(self.folder.path),
            "state": self.state,
            "recorded": self.recorded,
            "acked": self.acked,
            "unsent": self.unsent,
            "bytes": self.bytes,
        }


@dataclass(slots=True)
class WriterCheck:
    """What a verification found. `problems` are sentences; none means intact."""

    run_id: str
    writer_id: str
    records: int = 0
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summaries(path: Path) -> Iterator[WriterSummary]:
    """Every readable writer under `path`; one that vanishes meanwhile is left out."""
    for folder in writer_folders_at(path):
        try:
            meta = load_meta(folder.meta)
        except MetaUnreadable:
            continue
        acked = read_ack(folder.acks).next_seq - 1
        last = acked
        for chunk in _chunks(folder, from_seq=_newest_start(folder, acked + 1)):
            last = max(last, chunk.next_seq - 1)
        size = sum(_size(segment.path) for segment in folder.segments())
        state = writer_state(folder, meta).value
        yield WriterSummary(folder, meta, state, last, acked, size)


def records_of(path: Path) -> Iterator[dict[str, Any]]:
    """The records under `path`, decoded, writer by writer and in order of sequence."""
    for folder in writer_folders_at(path):
        try:
            meta = load_meta(folder.meta)
        except MetaUnreadable:
            continue
        for chunk in _chunks(folder, from_seq=_first_seq(folder)):
            for row in rows_of(chunk):
                yield {"run_id": meta.run_id, "writer_id": meta.writer_id, **row}


def rows_of(chunk: Chunk) -> list[dict[str, Any]]:
    """A chunk's records as JSON objects, in order of sequence."""
    rows: list[dict[str, Any]] = []
    for group in chunk.metrics.values():
        seqs, steps, times, values = wire.columns_of_rows(group.rows, group.k)
        for index, seq in enumerate(seqs):
            metrics = {key: values[i][index] for i, key in enumerate(group.keys)}
            about = {"seq": seq, "type": "metrics.logged", "time_us": times[index]}
            rows.append({**about, "step": steps[index], "metrics": metrics})
    for spooled in chunk.events:
        event = spooled.event
        about = {"seq": spooled.seq, "type": event.type, "time_us": event.time_us}
        rows.append({**about, "version": event.version, "data": event.data})
    for lost in chunk.lost:
        about = {"seq": lost.first_seq, "type": "events.dropped", "time_us": lost.time_us}
        rows.append({**about, "count": lost.width, "reason": lost.reason})
    rows.sort(key=lambda row: row["seq"])
    return rows


def check_writer(summary: WriterSummary) -> WriterCheck:
    """Read everything of a writer and list what is lost, corrupt, refused or missing."""
    folder = summary.folder
    check = WriterCheck(summary.meta.run_id, summary.meta.writer_id)
    for chunk in _chunks(folder, from_seq=_first_seq(folder)):
        check.records += chunk.records
        for lost in chunk.lost:
            last = lost.first_seq + lost.width - 1
            check.problems.append(f"records {lost.first_seq} to {last}: {lost.reason}")
    for name in ("quarantine", "rejected"):
        for kept in Quarantine(getattr(folder, name)).notes():
            check.problems.append(f"{name}: {kept.get('reason')} at {kept.get('first_seq')}")
    return check


def _chunks(folder: WriterFolder, *, from_seq: int) -> Iterator[Chunk]:
    """What the segments hold now. A torn end counts as the end."""
    reader = SpoolReader(folder, next_seq=from_seq, quarantine=NullQuarantine())
    while True:
        try:
            chunk = reader.read(is_final=False)
        except OSError:
            return
        if chunk is None:
            return
        yield chunk


def _first_seq(folder: WriterFolder) -> int:
    segments = folder.segments()
    return segments[0].first_seq if segments else 1


def _newest_start(folder: WriterFolder, least: int) -> int:
    segments = folder.segments()
    return max(least, segments[-1].first_seq) if segments else least


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
