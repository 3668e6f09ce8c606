"""The series projection: sealed chunks and the checkpoint together.

What a tail holds is needed when it is sealed, so
decoded tails are kept in memory, up to a bound; those that are not are read from the log
again. A restart needs nothing special.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from projections.columns import Columns
from projections.connection import Connection, WritableConnection, prefetch
from projections.file_tables import FileTables
from projections.fold_tables import FoldTables, Write
from projections.log import EventLogReader, StoredBatch
from projections.projection import DecodedBatch, ProjectionStoreFailed
from projections.rounds import decoded
from projections.series_fold import PlacedFrame, RunTail, cohorts, is_to_be_sealed
from projections.series_store import SQL, Sealer, load_run, store_runs
from tracker.events.errors import CorruptPayload, InvalidEvent, TrackerError

SERIES_VERSION: Final = 1
"""Raised with every change of schema, fold or codec: then the projection is built anew."""

TAILS_BYTES_MAX: Final = 64 * 1024 * 1024
_RUNS_KEPT: Final = 10_000
_READ_BATCHES: Final = 256
_READ_BYTES: Final = 8 * 1024 * 1024


class SeriesProjection:
    """See projection.Projection. `log` is the log that is folded: tails are read from it."""

    name: Final = "series"
    version: Final = SERIES_VERSION

    def __init__(self, tables: Path | FoldTables, log: EventLogReader) -> None:
        if isinstance(tables, Path):
            tables = FileTables(tables, "series", put_first_rows)
        self._tables = tables
        self._log = log
        self._tails = TailCache()
        self._runs: OrderedDict[str, RunTail] = OrderedDict()
        self._changed: dict[str, RunTail] = {}
        self._runs_count: int | None = None  # read from the tables when it is needed

    async def position(self) -> int:
        return self._tables.position

    async def apply(self, batches: Sequence[DecodedBatch]) -> None:
        new = [item for item in batches if item[0].last_position > self._tables.position]
        if not new:
            return
        try:
            async with self._tables.moving(new[-1][0].last_position) as write:
                await write.run(lambda connection: self._load_ahead(connection, new))
                for stored, columns in new:
                    await self._fold(write, stored, columns)
                changed = list(self._changed.values())
                await write.run(lambda connection: store_runs(connection, changed))
        except BaseException:
            self._forget()
            raise
        self._changed.clear()
        while len(self._runs) > _RUNS_KEPT:
            self._runs.popitem(last=False)

    async def state_hash(self) -> Mapping[str, str]:
        return await self._tables.hashes()

    async def aclose(self) -> None:
        await self._tables.aclose()

    async def _fold(self, write: Write, stored: StoredBatch, columns: Columns) -> None:
        if not stored.run_id:
            return
        points = columns.points
        tail = self._run(stored.run_id, is_needed=points > 0)
        if tail is None or (points == 0 and tail.points == 0):
            return
        tail.add(
            first_position=stored.first_position, points=points, payload_bytes=len(stored.payload)
        )
        self._changed[stored.run_id] = tail
        self._tails.add(tail, stored, columns)
        if is_to_be_sealed(tail):
            await self._seal(write, tail, through=stored.last_position)

    async def _seal(self, write: Write, tail: RunTail, *, through: int) -> None:
        frames = self._tails.take(tail)
        if frames is None:
            frames = await self._read_tail(tail, through=through)

        def sealed(connection: WritableConnection) -> int:
            sealer = Sealer(connection, tail.run_no)
            for cohort in cohorts(frames):
                sealer.seal(cohort)
            return sealer.finish()

        try:
            metrics = await write.run(sealed)
        except CorruptPayload as error:
            raise ProjectionStoreFailed(
                f"{self._tables.label} is damaged, rebuild it: {error}"
            ) from error
        tail.seal(through=through, metrics=metrics)

    async def _read_tail(self, tail: RunTail, *, through: int) -> list[PlacedFrame]:
        frames: list[PlacedFrame] = []
        after = tail.tail_from
        while after < through:
            try:
                batches = await self._log.read(
                    after=after,
                    batches_max=_READ_BATCHES,
                    bytes_max=_READ_BYTES,
                    run_id=tail.run_id,
                    until=through,
                )
            except TrackerError as error:
                # No fault of the batch at hand: it is folded again when the log can be read.
                raise ProjectionStoreFailed(f"a tail cannot be read: {error}") from error
            if not batches:
                break
            for stored in batches:
                frames.extend(_frames_of(stored))
            after = batches[-1].last_position
        return frames

    def _load_ahead(self, connection: Connection, new: Sequence[DecodedBatch]) -> None:
        """Have every run of these batches in memory, or know that it is new."""
        if self._runs_count is None:
            self._runs_count = int(connection.execute(SQL["runs_count"]).fetchone()[0])
        run_ids = sorted({stored.run_id for stored, _ in new} - {""} - self._runs.keys())
        prefetch(connection, SQL["run"], [(run_id,) for run_id in run_ids])
        for run_id in run_ids:
            tail = load_run(connection, run_id)
            if tail is not None:
                self._runs[run_id] = tail

    def _run(self, run_id: str, *, is_needed: bool) -> RunTail | None:
        tail = self._runs.get(run_id)
        if tail is None and is_needed:
            assert self._runs_count is not None, "counted by _load_ahead"
            self._runs_count += 1
            tail = RunTail(self._runs_count, run_id)
        if tail is not None:
            self._runs[run_id] = tail
            self._runs.move_to_end(run_id)
        return tail

    def _forget(self) -> None:
        """Drop what memory knows beyond the tables."""
        self._runs.clear()
        self._changed.clear()
        self._tails = TailCache()
        self._runs_count = None


class TailCache:
    """Decoded tails of the runs that were folded last, whole or not at all."""

    def __init__(self, bytes_max: int = TAILS_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._tails: OrderedDict[int, tuple[list[PlacedFrame], list[int]]] = OrderedDict()

    def add(self, tail: RunTail, stored: StoredBatch, columns: Columns) -> None:
        """Keep a batch that `tail` has just counted."""
        if tail.batches == 1:
            self._drop(tail.run_no)
            self._tails[tail.run_no] = ([], [0])
        kept = self._tails.get(tail.run_no)
        if kept is None:
            return  # its beginning was dropped: it will be read from the log
        frames, size = kept
        frames.extend((stored.first_position, frame) for frame in columns.metrics)
        added = sum(8 * len(frame.steps) * (3 + len(frame.keys)) for frame in columns.metrics)
        size[0] += added
        self._bytes += added
        self._tails.move_to_end(tail.run_no)
        while self._bytes > self._bytes_max and self._tails:
            self._drop(next(iter(self._tails)))

    def take(self, tail: RunTail) -> list[PlacedFrame] | None:
        """The whole tail's frames, or None when they are not all here."""
        kept = self._tails.get(tail.run_no)
        self._drop(tail.run_no)
        return kept[0] if kept is not None else None

    def _drop(self, run_no: int) -> None:
        dropped = self._tails.pop(run_no, None)
        if dropped is not None:
            self._bytes -= dropped[1][0]


def _frames_of(stored: StoredBatch) -> list[PlacedFrame]:
    try:
        _, columns = decoded(stored)
    except (CorruptPayload, InvalidEvent):
        return []  # counted as a dead letter by the runner, which met it first
    return [(stored.first_position, frame) for frame in columns.metrics]


def put_first_rows(connection: WritableConnection) -> None:
    connection.execute(SQL["insert_projection"], (SERIES_VERSION,))
    connection.execute(SQL["insert_next_ids"])
