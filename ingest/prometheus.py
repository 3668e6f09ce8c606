"""The server's numbers in Prometheus' text format. Imported at the first scrape."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ingest.artifact_probe import is_answering
from ingest.blob_bodies import BLOB_TRANSFERS
from ingest.components import COUNTERS, LEASE_BOOK, READ_SIDE
from ingest.counters import ServerCounters
from ingest.event_stores.statistics import (
    COMMIT_S_BUCKETS,
    GROUP_SIZE_BUCKETS,
    CommitStatistics,
    Measured,
)
from ingest.state import EVENT_STORE


async def exposition(app: web.Application) -> tuple[bytes, str]:
    """(body, content type) of one scrape."""
    store = app.get(EVENT_STORE)
    head = (await store.head()).next_position - 1 if store is not None else 0
    artifacts_up = await is_answering(app)
    side = app.get(READ_SIDE)
    lags = {state.name: state.lag for state in await side.projections()} if side else {}
    registry = CollectorRegistry()
    registry.register(_Snapshot(app, head=head, lags=lags, artifacts_up=artifacts_up))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Snapshot:
    """A collector of what the counters say now."""

    def __init__(
        self, app: web.Application, *, head: int, lags: Mapping[str, int], artifacts_up: bool
    ) -> None:
        self._artifacts_up = artifacts_up
        self._app = app
        self._head = head
        self._lags = lags

    def collect(self) -> Iterator[Metric]:
        counters = self._app[COUNTERS]
        yield from _of_counters(counters)
        yield _gauge(
            "tracker_artifact_store_up", "Whether the artifact store answered just now.",
            int(self._artifacts_up),
        )  # fmt: skip
        yield _gauge(
            "tracker_blob_transfers", "Blobs on their way now.",
            self._app[BLOB_TRANSFERS].under_way,
        )  # fmt: skip
        if EVENT_STORE not in self._app:
            return
        yield _gauge("tracker_log_position", "The last position of the event log.", self._head)
        lag = GaugeMetricFamily(
            "tracker_projection_lag_events", "Events not folded yet.", labels=["projection"]
        )
        for name, value in self._lags.items():
            lag.add_metric([name], value)
        yield lag
        live = len(self._app[LEASE_BOOK].live_run_ids())
        yield _gauge("tracker_live_runs", "Runs with a writer that reports.", live)
        store = self._app[EVENT_STORE]
        if isinstance(store, Measured):
            yield _gauge(
                "tracker_commit_queue_batches", "Appends waiting to be committed.",
                store.queue_length,
            )  # fmt: skip
            yield from _of_commits(store.statistics)


def _of_counters(counters: ServerCounters) -> Iterator[Metric]:
    requests = CounterMetricFamily("tracker_http_requests", "Requests answered.", labels=["status"])
    for status, count in counters.requests.items():
        requests.add_metric([str(status)], count)
    yield requests
    refusals = CounterMetricFamily("tracker_refusals", "Requests refused.", labels=["code"])
    for code, count in counters.refusals.items():
        refusals.add_metric([code], count)
    yield refusals
    appends = CounterMetricFamily("tracker_appends", "Batches acknowledged.", labels=["outcome"])
    for outcome, count in counters.appends.items():
        appends.add_metric([outcome], count)
    yield appends
    for name, about, value in (
        ("tracker_appended_records", "Records appended.", counters.records),
        ("tracker_appended_points", "Metric points appended.", counters.points),
        ("tracker_appended_bytes", "Payload bytes appended.", counters.bytes),
        ("tracker_blob_bytes_in", "Bytes of blobs received.", counters.blob_bytes_in),
        ("tracker_blob_bytes_out", "Bytes of blobs sent.", counters.blob_bytes_out),
    ):
        yield CounterMetricFamily(name, about, value=value)
    yield _gauge("tracker_in_flight_bytes", "Bodies held in memory now.", counters.in_flight_bytes)
    yield _gauge("tracker_open_streams", "Long polls and SSE streams.", counters.open_streams)
    yield _gauge("tracker_uptime_seconds", "Since start.", time.monotonic() - counters.started_at)


def _of_commits(statistics: CommitStatistics) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "tracker_commit_failures", "Transactions that failed.", value=statistics.failures
    )
    yield CounterMetricFamily(
        "tracker_checkpoints", "WAL checkpoints.", value=statistics.checkpoints
    )
    yield _histogram(
        "tracker_commit_seconds", "From a group's first decision to its commit on disk.",
        COMMIT_S_BUCKETS, dict(statistics.commit_s_counts), statistics.commit_s_total,
    )  # fmt: skip
    yield _histogram(
        "tracker_commit_group_batches", "Batches per transaction.",
        GROUP_SIZE_BUCKETS, dict(statistics.group_size_counts), statistics.batches,
    )  # fmt: skip


_Bounds = tuple[float, ...] | tuple[int, ...]


def _histogram(
    name: str, about: str, bounds: _Bounds, counts: Mapping[float, int], total: float
) -> HistogramMetricFamily:
    cumulated, buckets = 0, []
    for bound in bounds:
        cumulated += counts.get(bound, 0)
        buckets.append((str(bound), float(cumulated)))
    buckets.append(("+Inf", float(sum(counts.values()))))
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=total)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=value)
