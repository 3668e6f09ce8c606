"""/api/v1/runs: search, read, change and delete runs; /api/v1/keys: what they logged."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from ingest.errors import InvalidRequest, RunNotFound
from ingest.messages import json_answer, query_int, read_json, wait_for_position
from ingest.past_stores import AS_OF, AS_OF_NAMES, asked_stores, live_run_ids_of, stores_at
from ingest.routes.experiments import decider_of
from ingest.routes.table import QueryParameter, Route
from ingest.run_decisions import patch_run
from ingest.schemas import KeysAnswer, PatchRun, RunAnswer, RunsAnswer, SearchRuns
from ingest.state import LEASES, READ_STORES, Leases
from ingest.view_json import Columns, run_json
from projections.read_models import KeyKind, KeySearch, Page, RunSearch, RunView, ViewType

KEYS_DEFAULT: Final = 100
KEYS_MAX: Final = 10_000
# A page of more runs becomes JSON in a thread, so that others are answered meanwhile.
_RUNS_INLINE: Final = 100


async def search(request: web.Request) -> web.Response:
    command = await read_json(request, SearchRuns)
    await wait_for_position(request, command.min_position)
    columns = None if command.columns is None else Columns.of(command.columns)
    page = await _search(request, command)
    leases = request.app[LEASES]
    if len(page.items) <= _RUNS_INLINE:
        return _page_answer(page, leases, columns)
    return await asyncio.to_thread(_page_answer, page, leases, columns)


async def _search(request: web.Request, command: SearchRuns) -> Page[RunView]:
    stores = await stores_at(request, command.as_of_position, command.as_of_time)
    runs = stores.runs
    experiment_ids = list(command.experiment_ids)
    for name in command.experiment_names:
        found = await runs.get_experiment_by_name(name)
        if found is not None:
            experiment_ids.append(found.experiment_id)
    if command.experiment_names and not experiment_ids:
        return Page([], None, await runs.position())
    return await runs.search_runs(
        RunSearch(
            experiment_ids=experiment_ids,
            filter=command.filter,
            order_by=command.order_by,
            view=ViewType(command.view),
            max_results=command.max_results,
            page_token=command.page_token,
            live_run_ids=live_run_ids_of(request, stores),
        )
    )


def _page_answer(page: Page[RunView], leases: Leases, columns: Columns | None) -> web.Response:
    runs = page.items if columns is None else [columns.cut(run) for run in page.items]
    answer: dict[str, Any] = {
        "runs": [run_json(run, position=page.position, leases=leases) for run in runs],
        "next_page_token": page.next_page_token,
        "position": page.position,
    }
    return json_answer(answer)


async def get(request: web.Request) -> web.Response:
    await wait_for_position(request, query_int(request, "min_position"))
    if AS_OF_NAMES.isdisjoint(request.query):
        return await _answer(request)
    return await _past_answer(request)


async def _past_answer(request: web.Request) -> web.Response:
    run_id = request.match_info["run_id"]
    now = await request.app[READ_STORES].runs.get_run(run_id, live_run_ids=frozenset())
    if now is None:
        raise RunNotFound(f"there is no run {run_id[:64]!r}")
    stores = await asked_stores(request, run_id=run_id)
    run = await stores.runs.get_run(run_id, live_run_ids=live_run_ids_of(request, stores))
    if run is None:
        raise RunNotFound(f"run {run_id} had no events then")
    # A run stays in the experiment it was born into; only the whole log tells its id.
    run = replace(run, experiment_id=now.experiment_id)
    position = await stores.runs.position()
    return json_answer(run_json(run, position=position, leases=request.app[LEASES]))


async def patch(request: web.Request) -> web.Response:
    command = await read_json(request, PatchRun)
    position = await patch_run(decider_of(request), request.match_info["run_id"], command)
    return await _answer(request, position)


async def delete(request: web.Request) -> web.Response:
    command = PatchRun(lifecycle_stage="deleted")
    position = await patch_run(decider_of(request), request.match_info["run_id"], command)
    return await _answer(request, position)


async def _answer(request: web.Request, position: int | None = None) -> web.Response:
    run_id = request.match_info["run_id"]
    runs, leases = request.app[READ_STORES].runs, request.app[LEASES]
    # Asked first, so that the run is never older than the position it is given out with.
    at = await runs.position() if position is None else position
    run = await runs.get_run(run_id, live_run_ids=leases.live_run_ids())
    if run is None:
        raise RunNotFound(f"there is no run {run_id[:64]!r}")
    return json_answer(run_json(run, position=at, leases=leases))


async def keys(request: web.Request) -> web.Response:
    await wait_for_position(request, query_int(request, "min_position"))
    kind = request.query.get("kind", "")
    if kind not in set(KeyKind):
        raise InvalidRequest(f"kind: {kind[:40]!r} is none of {', '.join(KeyKind)}", field="kind")
    max_results = query_int(request, "max_results")
    if max_results is not None and not 1 <= max_results <= KEYS_MAX:
        raise InvalidRequest(
            f"max_results: {max_results} is not from 1 to {KEYS_MAX}", field="max_results"
        )
    listed = ",".join(request.query.getall("experiment_ids", []))
    page = await request.app[READ_STORES].runs.keys(
        KeySearch(
            kind=KeyKind(kind),
            experiment_ids=[part for part in listed.split(",") if part],
            prefix=request.query.get("prefix", ""),
            max_results=max_results or KEYS_DEFAULT,
        )
    )
    return json_answer(
        KeysAnswer(keys=list(page.keys), is_reduced=page.is_reduced, position=page.position)
    )


_POSITION: Final = QueryParameter(
    "min_position", "answer no older than this position", type="integer"
)

ROUTES = (
    Route(
        "POST",
        "/api/v1/runs/search",
        search,
        "Search runs in the search language; a page may end early, with a token",
        request=SearchRuns,
        answer=RunsAnswer,
        errors=(400, 413, 503),
    ),
    Route(
        "GET",
        "/api/v1/runs/{run_id}",
        get,
        "One run: params, tags, metric summaries, conflicts and writers",
        answer=RunAnswer,
        query=(_POSITION, *AS_OF),
        errors=(400, 404, 503),
    ),
    Route(
        "PATCH",
        "/api/v1/runs/{run_id}",
        patch,
        "Rename, tag, end, delete or restore a run",
        request=PatchRun,
        answer=RunAnswer,
        errors=(400, 404, 409, 413, 422, 503),
    ),
    Route(
        "DELETE",
        "/api/v1/runs/{run_id}",
        delete,
        "Delete a run; it can be restored",
        answer=RunAnswer,
        errors=(400, 404, 503),
    ),
    Route(
        "GET",
        "/api/v1/keys",
        keys,
        "Keys of params, metrics or tags, for completion",
        answer=KeysAnswer,
        query=(
            QueryParameter("kind", "params, metrics or tags", is_required=True),
            QueryParameter(
                "experiment_ids", "ids between commas; the keys of their 1000 latest runs"
            ),
            QueryParameter("prefix", "what the keys begin with"),
            QueryParameter("max_results", "1 to 10000, default 100", type="integer"),
            _POSITION,
        ),
        errors=(400, 503),
    ),
)
