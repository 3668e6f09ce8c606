"""Where tables are written to: the contract of a sink, and opening one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from ingest.replay.places import DuckdbPlace, ParquetPlace
from ingest.replay.tally import Count
from projections.log import LogHead
from tracker.events.errors import TrackerError

if TYPE_CHECKING:
    from ingest.replay.job import ReplayRequest


class ExportUnavailable(TrackerError):
    """A package that writes tables is not installed."""


@dataclass(frozen=True, slots=True)
class Noted:
    """How far an export came: the source's head there, and the runs selected; None for all."""

    head: LogHead = field(default_factory=LogHead)
    run_ids: frozenset[str] | None = None

    @property
    def position(self) -> int:
        return self.head.next_position - 1

    def as_json(self) -> dict[str, Any]:
        runs = None if self.run_ids is None else sorted(self.run_ids)
        return {"position": self.position, "chain": self.head.chain_sha256.hex(), "runs": runs}

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Noted:
        head = LogHead(said["position"] + 1, bytes.fromhex(said["chain"]))
        return cls(head, None if said["runs"] is None else frozenset(said["runs"]))


class TableSink(Protocol):
    """Takes tables; what it has noted is durable."""

    async def noted(self) -> Noted:
        """How far an earlier export came; position 0 for a new one."""
        ...

    async def put_points(self, tables: Mapping[str, Any], *, after: int, note: Noted) -> None:
        """Points by experiment, of the positions beyond `after`; noted with them."""
        ...

    async def put_tables(self, tables: Mapping[str, Iterable[Any]], *, position: int) -> None:
        """Replace the small tables, each given in pieces, with how they are at `position`."""
        ...

    async def points_by_run(self) -> dict[str, Count]:
        """What there is now: points and points_hash of every run."""
        ...

    async def rows_of(self, name: str) -> int:
        """How many rows the small table has now."""
        ...


@asynccontextmanager
async def open_sink(request: ReplayRequest, workspace: str) -> AsyncIterator[TableSink]:
    """Open or create it. Raises ExportUnavailable; LogsDiffer when it has something else."""
    about = _about(request, workspace)
    match request.destination:
        case ParquetPlace(location):
            needed("pyarrow")
            from ingest.archive.objects import open_objects
            from ingest.replay.parquet_sink import ParquetSink

            async with open_objects(location) as objects:
                yield await ParquetSink.open(objects, about)
        case DuckdbPlace(path):
            needed("pyarrow", "duckdb")
            from ingest.replay.duckdb_sink import DuckdbSink

            sink = await asyncio.to_thread(DuckdbSink, path, about)
            try:
                yield sink
            finally:
                sink.close()
        case _:
            raise AssertionError(request.destination)


async def look_at_sink(request: ReplayRequest, workspace: str) -> Noted:
    """How far tables are that were exported before, changing nothing. Raises as open_sink."""
    about = _about(request, workspace)
    match request.destination:
        case ParquetPlace(location):
            needed("pyarrow")
            from ingest.archive.objects import open_objects
            from ingest.replay.parquet_sink import last_note

            async with open_objects(location) as objects:
                return await last_note(objects, about)
        case DuckdbPlace(path) if path.exists():
            needed("pyarrow", "duckdb")
            from ingest.replay.duckdb_sink import DuckdbSink

            sink = await asyncio.to_thread(DuckdbSink, path, about, read_only=True)
            sink.close()
            return await sink.noted()
        case _:
            return Noted()


def _about(request: ReplayRequest, workspace: str) -> Mapping[str, Any]:
    """What tables are of; an export into tables of something else is refused."""
    asked = {"runs": sorted(request.run_ids), "experiments": sorted(request.experiments)}
    return {"workspace": workspace, "asked": asked}


def needed(*packages: str, find: Callable[[str], object] = find_spec) -> None:
    """Raise ExportUnavailable, with what to install, unless all of them are there."""
    missing = [name for name in packages if find(name) is None]
    if missing:
        raise ExportUnavailable(
            f"writing these tables needs the package {' and '.join(missing)}: "
            "pip install 'tracker[export]'"
        )
