"""Questions to a tracking server, and the edits that are not logging: the async client.

`AsyncClient` has the method names and arguments of MLflow's MlflowClient where MLflow has
them; every method is one request, or one per page. A client reads its own writes: it
remembers the position of the latest edit that it made, or that `saw_position` was told
about, and asks to be answered no older than that.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import quote

from tracker import event_feed, history
from tracker.artifacts import trees
from tracker.artifacts.trees import ArtifactInfo
from tracker.connection import API, Connection
from tracker.entities import Experiment, Metric, PagedList, RunRecord, Writer
from tracker.history import MetricBuckets, MetricHistory
from tracker.refusals import ArtifactElsewhere, QueryFailed
from tracker.transport import Query
from tracker.views import ViewType, view_name

# Pages large enough to cost little and small enough to be answered at once.
PAGE_ROWS: Final = 1_000
RETRY_FOR_S: Final = 10.0
HEALTH_TIMEOUT_S: Final = 2.0
POLL_FIRST_S: Final = 0.05
POLL_LAST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ServerProbe:
    """`clock_ahead_s`: how far this machine's clock is ahead of the server's, ± 0.5 s."""

    uri: str
    version: str
    latency_s: float
    clock_ahead_s: float


class AsyncClient:
    """A connection to one server, to be used and closed on one event loop.

    `uri` None asks the destination chain (see `tracker doctor`); "local" finds the server of
    this machine or starts one. `retry_for_s` bounds how long a request is repeated. Every
    method raises a QueryFailed of tracker.refusals when it is not answered as asked.
    """

    def __init__(
        self,
        uri: str | None = None,
        api_key: str | None = None,
        *,
        workspace: str | None = None,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self._connection = Connection(
            uri, api_key=api_key, workspace=workspace, retry_for_s=retry_for_s
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. A closed client opens new ones when it is used again."""
        await self._connection.aclose()

    @property
    def uri(self) -> str:
        """The destination: an address, or "local"."""
        return self._connection.uri

    @property
    def position(self) -> int:
        """Answers include everything up to here."""
        return self._connection.position

    def saw_position(self, position: int) -> None:
        """Answers must from now on include everything up to `position`."""
        self._connection.saw_position(position)

    # -- artifacts ---------------------------------------------------------------------

    async def list_artifacts(
        self,
        run_id: str | None = None,
        path: str | None = None,
        *,
        recursive: bool = False,
        model_id: str | None = None,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> list[ArtifactInfo]:
        """What lies in a folder of a run's artifacts (or a logged model's), in order of path.

        `as_of_…`: what lay there at a position of the log, or at a time of arrival.
        """
        found = trees.entries(
            self._connection,
            trees.tree_of(run_id, model_id),
            (path or "").strip("/"),
            recursive=recursive,
            then=_params_of(_then(as_of_position, as_of_time_us)),
        )
        return [entry async for entry in found]

    async def download_artifacts(
        self,
        run_id: str | None = None,
        path: str = "",
        dst_path: str | os.PathLike[str] | None = None,
        *,
        model_id: str | None = None,
        progress: trees.Progress | None = None,
    ) -> str:
        """Download a file or folder, verified by its SHA-256; return where it is.

        Raises ArtifactNotFound, ArtifactDamaged and ArtifactElsewhere.
        """
        tree = trees.tree_of(run_id, model_id)
        return await trees.download(self._connection, tree, path, dst_path, progress=progress)

    async def read_artifact(
        self, run_id: str | None, path: str, *, model_id: str | None = None
    ) -> bytes:
        """The verified bytes of one file."""
        tree = trees.tree_of(run_id, model_id)
        found = await trees.find_files(self._connection, tree, path)
        if found[0].path != path.strip("/") or found[0].digest is None:
            raise ArtifactElsewhere(path, found[0].uri or f"a folder of {len(found)} files")
        return await trees.read(self._connection, tree, found[0])

    # -- experiments ------------------------------------------------------------------

    async def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Create an experiment and return its id. Raises ExperimentExists."""
        body = {"name": name, "artifact_location": artifact_location, "tags": dict(tags or {})}
        return Experiment.from_json(
            await self._connection.command("POST", f"{API}/experiments", body)
        ).experiment_id

    async def get_experiment(
        self,
        experiment_id: str,
        *,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> Experiment:
        params = _params_of(_then(as_of_position, as_of_time_us))
        return Experiment.from_json(await self._connection.read(_experiment(experiment_id), params))

    async def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The active experiment of this name, else a deleted one, else None."""
        found = await self._connection.read(f"{API}/experiments", [("name", name), ("view", "all")])
        return next(map(Experiment.from_json, found["experiments"]), None)

    async def search_experiments(
        self,
        view_type: str | int = ViewType.ACTIVE_ONLY,
        max_results: int | None = PAGE_ROWS,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
        *,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> PagedList[Experiment]:
        """At most `max_results` experiments (None: all); `.token` asks for what follows.

        `as_of_…`: as they were at a position of the log, or at a time of arrival.
        """
        then = _params_of(_then(as_of_position, as_of_time_us))
        found: list[Experiment] = []
        while True:
            rows = PAGE_ROWS if max_results is None else min(max_results - len(found), PAGE_ROWS)
            params = [("view", view_name(view_type)), ("max_results", str(rows)), *then]
            params += [("filter", filter_string)] if filter_string else []
            params += [("order_by", order) for order in order_by or ()]
            params += [("page_token", page_token)] if page_token else []
            answer = await self._connection.read(f"{API}/experiments", params)
            found += map(Experiment.from_json, answer["experiments"])
            page_token = answer["next_page_token"]
            if page_token is None or len(found) == max_results:
                return PagedList(found, page_token)

    async def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        await self._connection.patch(_experiment(experiment_id), name=new_name)

    async def set_experiment_tag(self, experiment_id: str, key: str, value: object) -> None:
        await self._connection.patch(_experiment(experiment_id), tags={key: str(value)})

    async def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        await self._connection.patch(_experiment(experiment_id), tags={key: None})

    async def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment; it can be restored, and its name may be used again."""
        await self._connection.patch(_experiment(experiment_id), lifecycle_stage="deleted")

    async def restore_experiment(self, experiment_id: str) -> None:
        await self._connection.patch(_experiment(experiment_id), lifecycle_stage="active")

    # -- runs -------------------------------------------------------------------------

    async def get_run(
        self,
        run_id: str,
        *,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> RunRecord:
        """Everything about one run but its series; or what was known of it at some point.

        `as_of_time_us` is the server's time of arrival. Raises RunNotFound.
        """
        params = _params_of(_then(as_of_position, as_of_time_us))
        return RunRecord.from_json(await self._connection.read(_run(run_id), params))

    async def search_runs(
        self,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str = "",
        run_view_type: str | int = ViewType.ACTIVE_ONLY,
        max_results: int | None = PAGE_ROWS,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
        *,
        experiment_names: Sequence[str] | None = None,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> PagedList[RunRecord]:
        """At most `max_results` runs (None: all), newest first unless `order_by` says else.

        No experiments named means all of them. `as_of_…`: the runs as they were at a position
        of the log, or at a time of arrival. Raises InvalidQuery.
        """
        search: dict[str, Any] = {
            "experiment_ids": [str(given) for given in experiment_ids or ()],
            "experiment_names": list(experiment_names or ()),
            "filter": filter_string or "",
            "order_by": list(order_by or ()),
            "view": view_name(run_view_type),
            **_then(as_of_position, as_of_time_us),
        }
        found: list[RunRecord] = []
        while True:
            rows = PAGE_ROWS if max_results is None else min(max_results - len(found), PAGE_ROWS)
            page = {**search, "max_results": rows, "page_token": page_token}
            answer = await self._connection.search(
                f"{API}/runs/search", {**page, **self._min_position()}
            )
            found += map(RunRecord.from_json, answer["runs"])
            page_token = answer["next_page_token"]
            if page_token is None or len(found) == max_results:
                return PagedList(found, page_token)

    async def iter_runs(
        self,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str = "",
        run_view_type: str | int = ViewType.ACTIVE_ONLY,
        order_by: Sequence[str] | None = None,
        *,
        experiment_names: Sequence[str] | None = None,
        page_rows: int = PAGE_ROWS,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> AsyncIterator[RunRecord]:
        """Every run that matches, holding one page in memory at a time."""
        token: str | None = None
        while True:
            page = await self.search_runs(
                experiment_ids, filter_string, run_view_type, page_rows, order_by, token,
                experiment_names=experiment_names, as_of_position=as_of_position,
                as_of_time_us=as_of_time_us,
            )  # fmt: skip
            for run in page:
                yield run
            token = page.token
            if token is None:
                return

    async def update_run(
        self, run_id: str, status: str | None = None, name: str | None = None
    ) -> None:
        await self._connection.patch(_run(run_id), status=status, name=name)

    async def set_terminated(
        self, run_id: str, status: str = "FINISHED", end_time: int | None = None
    ) -> None:
        """End a run from outside; `end_time` is in milliseconds, as MLflow's."""
        end_time_us = None if end_time is None else end_time * 1000
        await self._connection.patch(_run(run_id), status=status, end_time_us=end_time_us)

    async def set_tag(self, run_id: str, key: str, value: object) -> None:
        await self._connection.patch(_run(run_id), tags={key: str(value)})

    async def set_tags(self, run_id: str, tags: Mapping[str, object]) -> None:
        await self._connection.patch(
            _run(run_id), tags={key: str(value) for key, value in tags.items()}
        )

    async def delete_tag(self, run_id: str, key: str) -> None:
        await self._connection.patch(_run(run_id), tags={key: None})

    async def delete_run(self, run_id: str) -> None:
        """Delete a run; it can be restored."""
        await self._connection.patch(_run(run_id), lifecycle_stage="deleted")

    async def restore_run(self, run_id: str) -> None:
        await self._connection.patch(_run(run_id), lifecycle_stage="active")

    # -- metrics ----------------------------------------------------------------------

    async def search_keys(
        self,
        kind: str,
        prefix: str = "",
        *,
        experiment_ids: Sequence[str] | None = None,
        max_results: int = 100,
    ) -> list[str]:
        """Keys that runs have logged, of one kind: metrics, params or tags."""
        params = [("kind", kind), ("prefix", prefix), ("max_results", str(max_results))]
        params += [("experiment_ids", str(given)) for given in experiment_ids or ()]
        answer = await self._connection.read(f"{API}/keys", params)
        return list(answer["keys"])

    async def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        """Every point as an object. `metric_history` gives columns, which are far lighter."""
        return list(await self.metric_history(run_id, key))

    async def metric_history(
        self,
        run_id: str,
        key: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> MetricHistory:
        """The exact series, or its steps from start_step to end_step, both included."""
        pages = [
            page
            async for page in self.iter_metric_history(
                run_id,
                key,
                start_step=start_step,
                end_step=end_step,
                as_of_position=as_of_position,
                as_of_time_us=as_of_time_us,
            )
        ]
        return history.joined(run_id, key, pages)

    async def iter_metric_history(
        self,
        run_id: str,
        key: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> AsyncIterator[MetricHistory]:
        """The exact series in pages of bounded memory; `as_of_…` as in search_runs."""
        then = _params_of(_then(as_of_position, as_of_time_us))
        params = self._connection.at_position([*_step_range(start_step, end_step), *then])
        transport = await self._connection.opened()
        path = _metric(run_id, key)
        async for page in history.read_pages(transport, path, params, run_id=run_id, key=key):
            yield page

    async def metric_buckets(
        self,
        run_id: str,
        key: str,
        *,
        buckets: int = 1_000,
        start_step: int | None = None,
        end_step: int | None = None,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> MetricBuckets:
        """The series in at most `buckets` buckets with true min and max, for a chart."""
        params = [*_step_range(start_step, end_step), ("buckets", str(buckets))]
        params += _params_of(_then(as_of_position, as_of_time_us))
        return MetricBuckets.from_json(await self._connection.read(_metric(run_id, key), params))

    async def query_metrics(
        self,
        run_ids: Sequence[str],
        keys: Sequence[str],
        *,
        buckets: int = 1_000,
        start_step: int | None = None,
        end_step: int | None = None,
        as_of_position: int | None = None,
        as_of_time_us: int | None = None,
    ) -> list[MetricBuckets]:
        """Buckets of many metrics of many runs in one request."""
        query = {"run_ids": list(run_ids), "keys": list(keys), "buckets": buckets}
        steps = {"start_step": start_step, "end_step": end_step}
        then = _then(as_of_position, as_of_time_us)
        body = {**query, **steps, **then, **self._min_position()}
        answer = await self._connection.search(f"{API}/metrics/query", body)
        return [MetricBuckets.from_json(series) for series in answer["series"]]

    # -- the log ----------------------------------------------------------------------

    async def events(
        self, *, after: int = 0, run_id: str | None = None, type: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Every event after a position, as the server prints it, to the log's present end."""
        transport = await self._connection.opened()
        async for event in event_feed.read(transport, after=after, run_id=run_id, type=type):
            yield event

    async def follow_events(
        self, *, after: int = 0, run_id: str | None = None, type: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Every event after a position, then new ones as they come, for ever."""
        transport = await self._connection.opened()
        async for event in event_feed.follow(transport, after=after, run_id=run_id, type=type):
            yield event

    async def get_writer(self, writer_id: str) -> Writer:
        """What the server has of a writer. Raises WriterNotFound."""
        answer = await self._connection.read(f"{API}/writers/{quote(writer_id, safe='')}")
        return Writer.from_json({"about": {}, "last_position": answer["position"], **answer})

    # -- the server -------------------------------------------------------------------

    async def verify(self) -> dict[str, Any]:
        """Have the server prove its log and its projections; return its report."""
        await self._connection.search(f"{API}/verify", {})
        answer = await self._when(lambda a: a["state"] != "running", f"{API}/verify")
        if answer["report"] is None:
            raise QueryFailed(f"the server could not verify: {answer['error'] or answer['state']}")
        report: dict[str, Any] = answer["report"]
        return report

    async def rebuild(self, projection: str = "all") -> list[dict[str, Any]]:
        """Have projections ("runs", "series", "all") built anew; return when they serve."""
        await self._connection.search(f"{API}/rebuild", {"projection": projection})
        answer = await self._when(
            lambda a: all(build["state"] != "running" for build in a["rebuilds"]),
            f"{API}/rebuild",
        )
        for build in answer["rebuilds"]:
            if build["state"] == "failed":
                raise QueryFailed(f"{build['projection']} was not rebuilt: {build['error']}")
        builds: list[dict[str, Any]] = answer["rebuilds"]
        return builds

    async def _when(self, is_over: Callable[[Any], bool], path: str) -> Any:
        """Ask again and again until it is over; the first seconds more often."""
        pause_s = POLL_FIRST_S
        while not is_over(answer := await self._connection.read(path)):
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, POLL_LAST_S)
        return answer

    async def is_healthy(self) -> bool:
        """Whether the server answers now, without retries and within two seconds."""
        transport = await self._connection.opened()
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                (await transport.once(Query("GET", "/health", is_read=True))).release()
        except (QueryFailed, TimeoutError):
            return False
        return True

    async def ready(self) -> dict[str, Any]:
        """The server's stores: status, head of the log, and each projection's lag."""
        answer: dict[str, Any] = await self._connection.read("/ready")
        return answer

    async def version(self) -> str:
        return str((await self._connection.read("/version"))["version"])

    async def probe(self) -> ServerProbe:
        """How well the server answers, measured with one request on an open connection."""
        transport = await self._connection.opened()
        await transport.json(Query("GET", "/version", is_read=True))
        start = time.perf_counter()
        async with transport.answer(Query("GET", "/version", is_read=True)) as response:
            answer = await transport.decoded(response)
            latency_s = time.perf_counter() - start
            date = response.headers.get("Date")
        # The header has whole seconds, so half a second is the best guess for the rest.
        here = time.time() - latency_s / 2
        server = parsedate_to_datetime(date).timestamp() + 0.5 if date else here
        return ServerProbe(transport.uri, str(answer["version"]), latency_s, here - server)

    def _min_position(self) -> dict[str, int]:
        return {"min_position": self.position} if self.position else {}


def quoted(text: str) -> str:
    """`text` as a value of the search language."""
    return "'" + text.replace("'", "''") + "'"


def _then(as_of_position: int | None, as_of_time_us: int | None) -> dict[str, int]:
    """What a question about an earlier state says besides."""
    then = {"as_of_position": as_of_position, "as_of_time": as_of_time_us}
    return {name: value for name, value in then.items() if value is not None}


def _params_of(then: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in then.items()]


def _experiment(experiment_id: str) -> str:
    return f"{API}/experiments/{quote(str(experiment_id), safe='')}"


def _run(run_id: str) -> str:
    return f"{API}/runs/{quote(run_id, safe='')}"


def _metric(run_id: str, key: str) -> str:
    return f"{_run(run_id)}/metrics/{quote(key, safe='')}"


def _step_range(start_step: int | None, end_step: int | None) -> list[tuple[str, str]]:
    steps = {"start_step": start_step, "end_step": end_step}
    return [(name, str(step)) for name, step in steps.items() if step is not None]
