"""What MLflow's handlers share: the metric writers, the runs known to be active, the locks."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import web

from ingest.components import COUNTERS, LEASE_BOOK
from ingest.mlflow.history_cache import HistoryCache
from ingest.mlflow.metric_writers import MetricWriters
from ingest.mlflow.printed_runs import PrintedRuns
from ingest.state import EVENT_STORE

ACTIVE_S: Final = 2.0
ACTIVE_RUNS_MAX: Final = 20_000
LOCATION_S: Final = 10.0
LOCATIONS_MAX: Final = 10_000


class ActiveRuns:
    """Runs that were seen to exist and to be active, each for two seconds.

    So a run that logs a hundred times a second is looked up once in two. What this server
    deletes over MLflow's API is forgotten at once; of a run deleted elsewhere, metrics are
    taken for two more seconds (and are there when it is restored).
    """

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def is_known(self, run_id: str) -> bool:
        return self._until.get(run_id, 0.0) > time.monotonic()

    def remember(self, run_id: str) -> None:
        self._until[run_id] = time.monotonic() + ACTIVE_S
        self._until.move_to_end(run_id)
        while len(self._until) > ACTIVE_RUNS_MAX:
            self._until.popitem(last=False)

    def forget(self, run_id: str) -> None:
        self._until.pop(run_id, None)

    def forget_all(self) -> None:
        self._until.clear()


class Locations:
    """Artifact locations of experiments, each for ten seconds: they hardly ever change."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}

    def get(self, experiment_id: str) -> str | None:
        until, location = self._known.get(experiment_id, (0.0, ""))
        return location if until > time.monotonic() else None

    def remember(self, experiment_id: str, location: str) -> None:
        if len(self._known) >= LOCATIONS_MAX:
            self._known.clear()
        self._known[experiment_id] = (time.monotonic() + LOCATION_S, location)


class StreamLocks:
    """One decision at a time per stream: those of one server need not overtake each other."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, stream: str) -> asyncio.Lock:
        lock = self._locks.get(stream)
        if lock is None:
            lock = self._locks[stream] = asyncio.Lock()
        return lock


@dataclass(slots=True)
class MlflowServices:
    writers: MetricWriters
    active: ActiveRuns = field(default_factory=ActiveRuns)
    locations: Locations = field(default_factory=Locations)
    locks: StreamLocks = field(default_factory=StreamLocks)
    histories: HistoryCache = field(default_factory=HistoryCache)
    printed_runs: PrintedRuns = field(default_factory=PrintedRuns)


MLFLOW: web.AppKey[MlflowServices] = web.AppKey("mlflow", MlflowServices)


async def mlflow_services(app: web.Application) -> AsyncIterator[None]:
    """To be set up after the event store and the leases, and so closed before them."""
    writers = MetricWriters(app[EVENT_STORE], app[LEASE_BOOK], app[COUNTERS])
    app[MLFLOW] = MlflowServices(writers)
    yield
    await writers.aclose()
