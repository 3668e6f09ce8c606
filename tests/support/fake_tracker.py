"""A tracking server that is told what to answer: for the faults a real one will not commit.

It runs on a thread, answers with the models of ingest.schemas, and remembers what it was
asked. `faults` are given, one per request, before any answer of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ingest.schemas import (
    ErrorAnswer,
    ErrorBody,
    ExperimentAnswer,
    ExperimentsAnswer,
    HistoryAnswer,
    MetricAnswer,
    PointAnswer,
    RunAnswer,
    RunsAnswer,
)

Fault = Callable[[web.Request], web.StreamResponse]


def a_run(run_id: str = "a" * 32, **changes: Any) -> RunAnswer:
    """A finished run with one metric, one param and one tag."""
    point = PointAnswer(value=0.5, step=9, time_us=1_700_000_001_000_000)
    given: dict[str, Any] = {
        "run_id": run_id,
        "name": "quiet-otter-1",
        "experiment_id": "0",
        "user_id": "anna",
        "status": "FINISHED",
        "liveness": "ended",
        "lifecycle_stage": "active",
        "start_time_us": 1_700_000_000_123_456,
        "end_time_us": 1_700_000_002_000_000,
        "end_reason": None,
        "end_detail": None,
        "parent_run_id": None,
        "dropped": 0,
        "last_position": 5,
        "params": {"lr": "0.01"},
        "tags": {"team": "vision"},
        "metrics": {"loss": a_metric(last=point)},
        "conflicts": [],
        "inputs": [],
        "model_inputs": [],
        "model_outputs": [],
        "writers": [],
        "position": 5,
    }
    return RunAnswer(**(given | changes))


def a_metric(**changes: Any) -> MetricAnswer:
    point = PointAnswer(value=1.0, step=0, time_us=1_700_000_000_500_000)
    given: dict[str, Any] = {
        "last": point, "first": point, "min": 0.5, "min_step": 9, "max": 1.0, "max_step": 0,
        "count": 10, "nan_count": 0,
    }  # fmt: skip
    return MetricAnswer(**(given | changes))


def an_experiment(**changes: Any) -> ExperimentAnswer:
    given: dict[str, Any] = {
        "experiment_id": "7",
        "name": "digits",
        "lifecycle_stage": "active",
        "artifact_location": None,
        "created_time_us": 1_700_000_000_000_999,
        "updated_time_us": 1_700_000_000_000_999,
        "tags": {},
        "run_count": 0,
        "last_run_time_us": None,
        "position": 3,
    }
    return ExperimentAnswer(**(given | changes))


def refusing(status: int, code: str, *, retry_after: str = "", **details: Any) -> Fault:
    """An error as the API gives it."""

    def answer(request: web.Request) -> web.Response:
        body = ErrorAnswer(error=ErrorBody(code=code, message=f"no: {code}", details=details))
        headers = {"Retry-After": retry_after} if retry_after else {}
        return web.json_response(text=body.model_dump_json(), status=status, headers=headers)

    return answer


def saying(text: str, *, status: int = 200, content_type: str = "text/html") -> Fault:
    """An answer that is not the API's: a proxy's page, garbage."""
    return lambda request: web.Response(text=text, status=status, content_type=content_type)


def cutting(request: web.Request) -> web.Response:
    """The connection is gone before any answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass
class FakeTracker:
    """Runs and experiments to answer with, faults to commit, and the requests that came."""

    uri: str = ""
    runs: list[RunAnswer] = field(default_factory=list)
    experiments: list[ExperimentAnswer] = field(default_factory=list)
    history: HistoryAnswer | None = None
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        self.queries.append(dict(request.query))
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.json() if request.can_read_body else None)
        if self.faults:
            return self.faults.pop(0)(request)
        return self._own_answer(request)

    def _own_answer(self, request: web.Request) -> web.StreamResponse:
        match [request.method, *request.path.strip("/").split("/")]:
            case ["GET", "health"]:
                return web.json_response({"status": "ok"})
            case ["GET", "version"]:
                return web.json_response({"version": "0.1.0", "api": "v1"})
            case ["GET", "ready"]:
                return web.json_response({"status": "ready", "head": 5, "projections": []})
            case ["POST", "api", "v1", "runs", "search"]:
                return self._page_of_runs(self.bodies[-1])
            case ["GET", "api", "v1", "runs", run_id]:
                return self._run(run_id)
            case ["PATCH", "api", "v1", "runs", run_id]:
                return self._run(run_id)
            case ["GET", "api", "v1", "runs", _, "metrics", _] if self.history:
                return web.json_response(text=self.history.model_dump_json())
            case ["GET", "api", "v1", "experiments"]:
                found = ExperimentsAnswer(
                    experiments=self.experiments, next_page_token=None, position=5
                )
                return web.json_response(text=found.model_dump_json())
            case [_, "api", "v1", "experiments", *_]:
                return web.json_response(text=self.experiments[0].model_dump_json(), status=201)
            case _:
                return refusing(404, "not_found")(request)

    def _run(self, run_id: str) -> web.Response:
        for run in self.runs:
            if run.run_id == run_id:
                return web.json_response(text=run.model_dump_json())
        body = ErrorAnswer(error=ErrorBody(code="run_not_found", message=f"no run {run_id}"))
        return web.json_response(text=body.model_dump_json(), status=404)

    def _page_of_runs(self, search: dict[str, Any]) -> web.Response:
        start = int(search.get("page_token") or 0)
        end = start + search["max_results"]
        token = str(end) if end < len(self.runs) else None
        page = RunsAnswer(runs=self.runs[start:end], next_page_token=token, position=5)
        return web.json_response(text=page.model_dump_json())


@contextmanager
def fake_tracker(**given: Any) -> Iterator[FakeTracker]:
    """A FakeTracker that listens on loopback for the length of the block."""
    fake = FakeTracker(**given)
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.uri = f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
