"""Which writers are connected, and which were while their run still goes on.

Live is who holds a lease. Lost is who holds none in a run that goes on though nobody reports
for it: its machine is gone, or cut off, and may come back. Who left in order is neither.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ingest.event_stores.base import EventStore, WriterState
from ingest.event_stores.group import is_decision_writer
from ingest.event_stores.leases import LeaseRow
from ingest.state import Leases
from projections.read_models import RunSearch, RunsReadStore, RunView
from tracker import tag_names

LOST: Final = "liveness = 'lost'"
# Of the processes that a writer may name, for the one that began a run: its run's tags.
_TAGS: Final = {"host": tag_names.HOST, "pid": tag_names.PID}


@dataclass(frozen=True, slots=True)
class ConnectedWriter:
    """A writer, how far it was received, and its run where the projections have that."""

    writer_id: str
    run_id: str
    state: Literal["live", "lost"]
    stored: WriterState | None  # None: it has a lease, and has sent nothing yet
    lease_expires_us: int | None
    run: RunView | None

    @property
    def about(self) -> Mapping[str, Any]:
        """Its process, as it named it: host, pid and more; empty when nobody said."""
        if self.run is None:
            return {}
        said = [w.about for w in self.run.writers if w.writer_id == self.writer_id and w.about]
        if said:
            return said[0]
        if self.run.owner_writer_id != self.writer_id:
            return {}
        return {name: self.run.tags[tag] for name, tag in _TAGS.items() if tag in self.run.tags}


@dataclass(frozen=True, slots=True)
class ConnectedWriters:
    """The live ones first, each kind by its ids; `live_count` counts those left out, too."""

    writers: Sequence[ConnectedWriter]
    live_count: int
    is_whole: bool


async def connected_writers(
    leases: Leases, store: EventStore, runs: RunsReadStore, *, limit: int
) -> ConnectedWriters:
    """At most `limit` live ones and those of `limit` lost runs, the latest begun."""
    held = [lease for lease in leases.held() if not is_decision_writer(lease.writer_id)]
    shown = heapq.nsmallest(limit, held, key=lambda lease: lease.writer_id)
    live_run_ids = leases.live_run_ids()
    lost = await runs.search_runs(
        RunSearch(filter=LOST, max_results=limit, live_run_ids=live_run_ids)
    )
    run_ids = {lease.run_id for lease in shown} | {run.run_id for run in lost.items}
    found = await asyncio.gather(*(_run(runs, one, live_run_ids) for one in run_ids))
    views = dict(zip(run_ids, found, strict=True))
    live = [await _live(lease, store, views[lease.run_id]) for lease in shown]
    left = [
        ConnectedWriter(state.writer_id, run.run_id, "lost", state, None, views[run.run_id])
        for run in lost.items
        for state in await store.writers(run.run_id)
        if not is_decision_writer(state.writer_id)
    ]
    is_whole = len(shown) == len(held) and lost.next_page_token is None
    return ConnectedWriters([*live, *left], live_count=len(held), is_whole=is_whole)


async def _run(runs: RunsReadStore, run_id: str, live_run_ids: frozenset[str]) -> RunView | None:
    return await runs.get_run(run_id, live_run_ids=live_run_ids) if run_id else None


async def _live(lease: LeaseRow, store: EventStore, run: RunView | None) -> ConnectedWriter:
    stored = await store.writer(lease.writer_id)
    return ConnectedWriter(lease.writer_id, lease.run_id, "live", stored, lease.expires_us, run)
