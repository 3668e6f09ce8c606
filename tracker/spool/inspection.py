"""Looking at spools without changing them: summaries, records, and a proof of integrity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tracker.events import wire
from tracker.events.types import EventType
from tracker.spool import framing
from tracker.spool.acks import read_ack
from tracker.spool.chunks import Chunk
from tracker.spool.folder import SegmentFile, WriterFolder, writer_folders_at
from tracker.spool.locks import WriterState, writer_state
from tracker.spool.meta import MetaUnreadable, WriterMeta, load_meta
from tracker.spool.quarantine import NullQuarantine, Quarantine
from tracker.spool.reader import SpoolReader, end_of_records

LIVE, DEAD, CLOSED, COPY = "live", "dead", "closed", "copy"
_STATES: Final = {
    WriterState.LIVE: LIVE,
    WriterState.DEAD: DEAD,
    WriterState.REBOOTED: DEAD,
    WriterState.FOREIGN: COPY,
}


@dataclass(frozen=True, slots=True)
class WriterSummary:
    """One writer: how it is, and how far it was delivered.

    `state` is live, dead (gone without a word, also by a restart of the machine), closed
    (gone after it ended its run) or copy (nothing can be known of its process).
    """

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
        last, has_ended = acked, False
        for chunk in _chunks(folder, from_seq=_newest_start(folder)):
            last = max(last, chunk.next_seq - 1)
            ends = [e.seq for e in chunk.events if e.event.type == EventType.RUN_ENDED]
            has_ended = chunk.next_seq - 1 in ends
        size = sum(_size(segment.path) for segment in folder.readable_segments())
        state = _STATES[writer_state(folder, meta)]
        if state == DEAD and has_ended:
            state = CLOSED
        yield WriterSummary(folder, meta, state, last, acked, size)


def unreadable(path: Path) -> list[str]:
    """What is wrong with the folders that look like a writer's and are none."""
    found = []
    for folder in writer_folders_at(path):
        try:
            load_meta(folder.meta)
        except MetaUnreadable as error:
            found.append(str(error))
    return found


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
    """Read everything of a writer and list what is lost, corrupt, refused or missing.

    Of a live writer the last bytes may be half a record that is just being written.
    """
    folder, meta = summary.folder, summary.meta
    check = WriterCheck(meta.run_id, meta.writer_id)
    is_live = summary.state == LIVE
    for chunk in _chunks(folder, from_seq=_first_seq(folder), is_final=not is_live):
        check.records += chunk.records
        for lost in chunk.lost:
            last = lost.first_seq + lost.width - 1
            check.problems.append(f"records {lost.first_seq} to {last}: {lost.reason}")
    for segment in folder.readable_segments():
        check.problems += _header_problems(segment, meta)
    if not is_live:
        check.problems += _tail_problems(folder)
    for name in ("quarantine", "rejected"):
        for kept in Quarantine(getattr(folder, name)).notes():
            check.problems.append(f"{name}: {kept.get('reason')} at {kept.get('first_seq')}")
    return check


def _header_problems(segment: SegmentFile, meta: WriterMeta) -> list[str]:
    try:
        with segment.path.open("rb") as file:
            header = file.read(framing.SEGMENT_HEADER.size)
    except OSError:
        return []  # delivered and unlinked while we looked
    if header == framing.segment_header(meta.writer_id, meta.epoch, segment.first_seq):
        return []
    return [f"{segment.path.name}: its header is not what its writer and its name say"]


def _tail_problems(folder: WriterFolder) -> list[str]:
    """Bytes after the last record of all, which a crash of the machine can leave."""
    segments = folder.readable_segments()
    if not segments:
        return []
    try:
        data = segments[-1].path.read_bytes()[framing.SEGMENT_HEADER.size :]
    except OSError:
        return []
    rest = len(data) - end_of_records(data)
    return [f"{segments[-1].path.name}: its last {rest} bytes are no record"] if rest else []


def _chunks(folder: WriterFolder, *, from_seq: int, is_final: bool = False) -> Iterator[Chunk]:
    """What the segments hold now."""
    reader = SpoolReader(folder, next_seq=from_seq, quarantine=NullQuarantine())
    while True:
        try:
            chunk = reader.read(is_final=is_final)
        except OSError:
            return
        if chunk is None:
            return
        yield chunk


def _first_seq(folder: WriterFolder) -> int:
    segments = folder.readable_segments()
    return segments[0].first_seq if segments else 1


def _newest_start(folder: WriterFolder) -> int:
    segments = folder.readable_segments()
    return segments[-1].first_seq if segments else 1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
