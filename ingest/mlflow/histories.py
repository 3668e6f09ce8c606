"""Metric histories: whole, in pages, of many runs at once, and thinned out for charts."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from ingest.middleware import SECURITY_HEADERS
from ingest.mlflow.bodies import (
    SEE_DOCS,
    as_int64,
    missing,
    query_list,
    read_fields,
    wrong_type,
)
from ingest.mlflow.errors import invalid
from ingest.mlflow.history_columns import History, by_time, history_of, sampled
from ingest.mlflow.history_json import points_json
from ingest.mlflow.reading import catch_up
from ingest.mlflow.services import MLFLOW
from ingest.state import READ_STORES

BULK_POINTS_MAX: Final = 25_000
RUNS_MAX: Final = 100
INTERVAL_POINTS_MAX: Final = 2_500
# An answer without max_results is sent in parts of so many points.
POINTS_PER_PART: Final = 50_000


async def get_history(request: web.Request) -> web.StreamResponse:
    """All points in order of (timestamp, step, value); with max_results, a page of them."""
    fields = await read_fields(request)
    run_id = fields.run_id()
    key = fields.text("metric_key", is_required=True) or ""
    token = fields.text("page_token")
    max_results = fields.integer("max_results")
    if max_results is not None and max_results <= 0:
        raise invalid(
            f"Invalid value {max_results} for parameter 'max_results' supplied. "
            "It must be a positive integer."
        )
    start = _offset_of(token)
    histories = request.app[MLFLOW].histories
    history = histories.get(run_id, key) if start else None
    if history is None:
        history = await _history_by_time(request, run_id, key)
    if max_results is None:
        return await _send_all(request, key, history.cut(start, len(history)))
    stop = start + max_results
    page = history.cut(start, stop)
    more = len(history) > stop
    if more:
        histories.keep(run_id, key, history)
    else:
        histories.drop(run_id, key)
    body = await asyncio.to_thread(points_json, key, page)
    parts = [b'"metrics":[%b]' % body] if body else []
    if more:
        parts.append(b'"next_page_token":"%b"' % _token_of(stop))
    return _json_bytes(b"{%b}" % b",".join(parts))


async def _history_by_time(request: web.Request, run_id: str, key: str) -> History:
    await catch_up(request)
    history = await history_of(request.app[READ_STORES].series, run_id, key)
    return await asyncio.to_thread(by_time, history)


async def _send_all(request: web.Request, key: str, history: History) -> web.StreamResponse:
    if len(history) <= POINTS_PER_PART:
        body = await asyncio.to_thread(points_json, key, history)
        return _json_bytes(b'{"metrics":[%b]}' % body if body else b"{}")
    response = web.StreamResponse(headers={**SECURITY_HEADERS, "Content-Type": "application/json"})
    await response.prepare(request)
    opening = b'{"metrics":['
    for start in range(0, len(history), POINTS_PER_PART):
        part = history.cut(start, start + POINTS_PER_PART)
        await response.write(opening + await asyncio.to_thread(points_json, key, part))
        opening = b","
    await response.write(b"]}")
    await response.write_eof()
    return response


async def get_history_bulk(request: web.Request) -> web.Response:
    """The points of many runs, by run id and time; cut at 25,000 in all, as MLflow does."""
    run_ids = query_list(request, "run_id")
    if not run_ids:
        raise invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(run_ids) > RUNS_MAX:
        raise invalid(
            f"GetMetricHistoryBulk request cannot specify more than {RUNS_MAX}"
            f" run_ids. Received {len(run_ids)} run_ids."
        )
    key = request.query.get("metric_key")
    if key is None:
        raise invalid("GetMetricHistoryBulk request must specify a metric_key.")
    asked = as_int64(request.query.get("max_results", BULK_POINTS_MAX))
    if asked is None or asked < 0:
        raise wrong_type("max_results", request.query.get("max_results"))
    left = min(asked, BULK_POINTS_MAX)
    parts = []
    for run_id in sorted(set(run_ids)):
        if left <= 0:
            break
        page = (await _history_by_time(request, run_id, key)).cut(0, left)
        left -= len(page)
        parts.append(await asyncio.to_thread(points_json, key, page, run_id=run_id))
    return _json_bytes(b'{"metrics":[%b]}' % b",".join(filter(None, parts)))


async def get_history_bulk_interval(request: web.Request) -> web.Response:
    """A chart: of each run at most max_results points, the first and the last among them."""
    run_ids, key, start_step, end_step, max_results = await _chart_asked_for(request)
    await catch_up(request)
    series = request.app[READ_STORES].series
    parts = []
    for run_id in run_ids:
        history = await history_of(series, run_id, key, start_step=start_step, end_step=end_step)
        chosen = sampled(history, max_results)
        parts.append(await asyncio.to_thread(points_json, key, chosen, run_id=run_id))
    body = b",".join(filter(None, parts))
    return _json_bytes(b'{"metrics":[%b]}' % body if body else b"{}")


async def _chart_asked_for(
    request: web.Request,
) -> tuple[Sequence[str], str, int | None, int | None, int]:
    fields = await read_fields(request)
    run_ids = query_list(request, "run_ids")
    if not run_ids:
        raise invalid(missing("run_ids") + SEE_DOCS)
    if len(run_ids) > RUNS_MAX:
        raise invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {RUNS_MAX} run_ids. "
            f"Received {len(run_ids)} run_ids.{SEE_DOCS}"
        )
    key = fields.text("metric_key", is_required=True) or ""
    start_step, end_step = fields.integer("start_step"), fields.integer("end_step")
    max_results = fields.integer("max_results")
    if max_results is None:
        max_results = INTERVAL_POINTS_MAX
    if not 1 <= max_results <= INTERVAL_POINTS_MAX:
        raise invalid(f"max_results must be between 1 and {INTERVAL_POINTS_MAX}.{SEE_DOCS}")
    if (start_step is None) != (end_step is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if start_step is not None and end_step is not None and start_step > end_step:
        raise invalid(
            "end_step must be greater than start_step. "
            f"Found start_step={start_step} and end_step={end_step}."
        )
    return list(dict.fromkeys(run_ids)), key, start_step, end_step, max_results


def _offset_of(token: str | None) -> int:
    """The place in the history where a page begins. Raises for what is no token."""
    if not token:
        return 0
    try:
        offset = json.loads(base64.b64decode(token, validate=True))["offset"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        offset = None
    if type(offset) is not int or not 0 <= offset < 2**53:
        raise invalid(f"Invalid page token {token[:100]!r}; use next_page_token as it was given.")
    return offset


def _token_of(offset: int) -> bytes:
    return base64.b64encode(json.dumps({"offset": offset}).encode())


def _json_bytes(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")
