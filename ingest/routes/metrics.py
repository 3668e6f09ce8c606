"""/api/v1/runs/{run_id}/metrics and /api/v1/metrics/query: exact series, and charts of them."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import web

from ingest.arrow import CONTENT_TYPE as ARROW
from ingest.arrow import END_OF_STREAM, batch_message, schema_message
from ingest.errors import InvalidRequest, MetricNotFound, RunNotFound
from ingest.messages import json_answer, query_int, read_json, wait_for_position
from ingest.past_stores import AS_OF, asked_stores, live_run_ids_of, stores_at
from ingest.routes.table import QueryParameter, Route
from ingest.schemas import (
    HistoryAnswer,
    MetricsAnswer,
    MetricsQuery,
    MetricsQueryAnswer,
)
from ingest.series_json import buckets_json, history_json
from ingest.series_pages import PageStart, read_page
from ingest.state import READ_STORES, ReadStores
from ingest.view_json import metrics_json
from projections.read_models import RunView, SeriesPage, SeriesReadStore

BUCKETS_MAX: Final = 20_000
POINTS_DEFAULT: Final = 10_000
POINTS_MAX: Final = 100_000
# One query answers that many series, in that many buckets together: some 200 MB of JSON.
SERIES_PER_QUERY_MAX: Final = 10_000
BUCKETS_PER_QUERY_MAX: Final = 2_000_000
_SERIES_AT_ONCE: Final = 4
# An answer of more rows becomes JSON in a thread, so that others are answered meanwhile.
_ROWS_INLINE: Final = 4_000
POSITION_HEADER: Final = "X-Tracker-Position"


async def keys(request: web.Request) -> web.Response:
    await wait_for_position(request, query_int(request, "min_position"))
    position = await (await _stores(request)).runs.position()
    run = await _run(request)
    answer = {"run_id": run.run_id, "metrics": metrics_json(run), "position": position}
    if len(run.metrics) <= _ROWS_INLINE:
        return json_answer(answer)
    return await asyncio.to_thread(json_answer, answer)


async def series(request: web.Request) -> web.StreamResponse:
    await wait_for_position(request, query_int(request, "min_position"))
    buckets = query_int(request, "buckets")
    if buckets is not None:
        return await _chart(request, buckets)
    if ARROW in request.headers.get("Accept", ""):
        return await _stream(request)
    return await _page(request)


async def query(request: web.Request) -> web.Response:
    asked = await read_json(request, MetricsQuery)
    pairs = [(run_id, key) for run_id in asked.run_ids for key in asked.keys]
    most = min(SERIES_PER_QUERY_MAX, BUCKETS_PER_QUERY_MAX // asked.buckets)
    if len(pairs) > most:
        raise InvalidRequest(
            f"{len(asked.run_ids)} runs × {len(asked.keys)} keys are {len(pairs)} series; at most "
            f"{most} of {asked.buckets} buckets fit one answer (series_per_query_max, "
            "buckets_per_query_max)"
        )
    await wait_for_position(request, asked.min_position)
    store = (await stores_at(request, asked.as_of_position, asked.as_of_time)).series
    turn = asyncio.Semaphore(_SERIES_AT_ONCE)

    async def one(run_id: str, key: str) -> dict[str, Any]:
        async with turn:
            return await _buckets(
                store, run_id, key, asked.buckets, asked.start_step, asked.end_step
            )

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(run_id, key)) for run_id, key in pairs]
    except ExceptionGroup as several:  # of which a client can read one
        raise several.exceptions[0] from None
    return await asyncio.to_thread(json_answer, {"series": [task.result() for task in tasks]})


async def _chart(request: web.Request, buckets: int) -> web.Response:
    if not 1 <= buckets <= BUCKETS_MAX:
        raise InvalidRequest(f"buckets: 1 to {BUCKETS_MAX} are allowed", field="buckets")
    run_id, key, start_step, end_step = _asked(request)
    store = (await _stores(request)).series
    answer = await _buckets(store, run_id, key, buckets, start_step, end_step)
    if answer["points"] == 0:
        await _check_metric(request, key)
    if len(answer["count"]) <= _ROWS_INLINE:
        return json_answer(answer)
    return await asyncio.to_thread(json_answer, answer)


async def _buckets(
    store: SeriesReadStore,
    run_id: str,
    key: str,
    buckets: int,
    start_step: int | None,
    end_step: int | None,
) -> dict[str, Any]:
    found = await store.buckets(
        run_id, key, start_step=start_step, end_step=end_step, buckets_max=buckets
    )
    return buckets_json(run_id, key, found)


async def _page(request: web.Request) -> web.Response:
    run_id, key, start_step, end_step = _asked(request)
    limit = query_int(request, "limit")
    limit = POINTS_DEFAULT if limit is None else limit
    if not 1 <= limit <= POINTS_MAX:
        raise InvalidRequest(f"limit: 1 to {POINTS_MAX} are allowed", field="limit")
    token = request.query.get("page_token")
    start = PageStart.of_token(token) if token else PageStart(start_step)
    store = (await _stores(request)).series
    position = await store.position()
    page, following = await read_page(
        store, run_id, key, start=start, end_step=end_step, limit=limit
    )
    if len(page.steps) == 0:
        await _check_metric(request, key)
    next_page_token = following.token() if following else None

    def answer() -> web.Response:
        return json_answer(
            history_json(run_id, key, page, next_page_token=next_page_token, position=position)
        )

    return answer() if len(page.steps) <= _ROWS_INLINE else await asyncio.to_thread(answer)


async def _stream(request: web.Request) -> web.StreamResponse:
    """The whole range as Arrow record batches, as fast as the client reads them."""
    run_id, key, start_step, end_step = _asked(request)
    store = (await _stores(request)).series
    headers = {"Content-Type": ARROW, POSITION_HEADER: str(await store.position())}
    pages = await store.history(run_id, key, start_step=start_step, end_step=end_step)
    first = await anext(pages, None)
    if first is None:
        await _check_metric(request, key)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        await response.write(schema_message())
        if first is not None:
            await _write_batches(response, first, pages)
        await response.write(END_OF_STREAM)
    except Exception:  # counted by the middleware, as every handler's
        # The status is out already: a cut connection is all that can still be said.
        if request.transport is not None:
            request.transport.abort()
        raise
    await response.write_eof()
    return response


async def _write_batches(
    response: web.StreamResponse, first: SeriesPage, pages: AsyncIterator[SeriesPage]
) -> None:
    page: SeriesPage | None = first
    while page is not None:
        await response.write(b"".join(batch_message(page)))
        page = await anext(pages, None)


def _asked(request: web.Request) -> tuple[str, str, int | None, int | None]:
    match = request.match_info
    start_step, end_step = query_int(request, "start_step"), query_int(request, "end_step")
    return match["run_id"], match["key"], start_step, end_step


async def _check_metric(request: web.Request, key: str) -> None:
    """Tell an empty range from a run or metric that does not exist."""
    run = await _run(request)
    if key not in run.metrics:
        near = await asyncio.to_thread(difflib.get_close_matches, key, list(run.metrics)[:5_000])
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise MetricNotFound(
            f"run {run.run_id!r} has logged no metric {key[:250]!r}{hint}", near=near
        )


async def _run(request: web.Request) -> RunView:
    run_id = request.match_info["run_id"]
    stores = await _stores(request)
    live = live_run_ids_of(request, stores)
    run = await stores.runs.get_run(run_id, live_run_ids=live)
    if run is None:
        is_then = stores is not request.app[READ_STORES]
        raise RunNotFound(
            f"there is no run {run_id[:64]!r}" + (", or it had no events then" if is_then else "")
        )
    return run


async def _stores(request: web.Request) -> ReadStores:
    """Those of the time asked for; of the past only the one run is put together."""
    return await asked_stores(request, run_id=request.match_info["run_id"])


_POSITION: Final = QueryParameter(
    "min_position", "answer no older than this position", type="integer"
)

ROUTES = (
    Route(
        "GET",
        "/api/v1/runs/{run_id}/metrics",
        keys,
        "The metrics of a run, each with its last, first, least and greatest value",
        answer=MetricsAnswer,
        query=(_POSITION, *AS_OF),
        errors=(400, 404, 503),
    ),
    Route(
        "GET",
        "/api/v1/runs/{run_id}/metrics/{key:.+}",
        series,
        "The exact series, in pages or as an Arrow stream; with buckets, a chart of it",
        answer=HistoryAnswer,
        answer_media_types=("application/json", ARROW),
        query=(
            QueryParameter("start_step", "the first step wanted", type="integer"),
            QueryParameter("end_step", "the last step wanted", type="integer"),
            QueryParameter(
                "buckets", f"1 to {BUCKETS_MAX}: answer a BucketsAnswer instead", type="integer"
            ),
            QueryParameter("limit", f"points a page, 1 to {POINTS_MAX}", type="integer"),
            QueryParameter("page_token", "next_page_token of the page before"),
            _POSITION,
            *AS_OF,
        ),
        errors=(400, 404, 503),
    ),
    Route(
        "POST",
        "/api/v1/metrics/query",
        query,
        "Charts of many metrics of many runs; a series that does not exist has no points",
        request=MetricsQuery,
        answer=MetricsQueryAnswer,
        errors=(400, 413, 503),
    ),
)
