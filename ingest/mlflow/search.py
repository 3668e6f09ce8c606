"""Searches of runs and of experiments, with MLflow's filters, orders and pages.

The texts are read as MLflow reads them (`filter_grammar`), said as trees (`filter_trees`),
and searched like any other search. Page tokens are this server's own: they hold the place
behind the last run, so that runs which arrive meanwhile neither repeat nor hide others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web

from ingest.messages import json_answer
from ingest.mlflow.bodies import Fields, query_list, read_fields, wrong_type
from ingest.mlflow.entities import experiment_json
from ingest.mlflow.errors import invalid
from ingest.mlflow.filter_grammar import EXPERIMENTS, RUNS, parse_filter
from ingest.mlflow.filter_trees import (
    experiment_filter,
    experiment_order,
    run_filter,
    run_order,
)
from ingest.mlflow.names import experiment_id_of
from ingest.mlflow.printed_runs import PrintedRuns
from ingest.mlflow.reading import current_runs, locations_of
from ingest.mlflow.services import MLFLOW
from projections.read_models import (
    ExperimentView,
    Filter,
    LatestRun,
    Order,
    Page,
    RunSearch,
    ViewType,
)
from projections.search.errors import InvalidQuery

RESULTS_MAX: Final = 50_000
RUNS_DEFAULT: Final = 1000
# A page of very wide runs ends early in the store; so many parts of one are put together.
PARTS_MAX: Final = 8
# Longer texts are read, and pages of more entries are printed, beside the event loop:
# both take a millisecond or two.
_LONG: Final = 2_000
_MANY: Final = 4_000

_VIEWS: Final[Mapping[Any, ViewType]] = {
    1: ViewType.ACTIVE_ONLY,
    2: ViewType.DELETED_ONLY,
    3: ViewType.ALL,
    "ACTIVE_ONLY": ViewType.ACTIVE_ONLY,
    "DELETED_ONLY": ViewType.DELETED_ONLY,
    "ALL": ViewType.ALL,
}
T = TypeVar("T")


async def search_runs(request: web.Request) -> web.Response:
    fields = await _fields_of(request, lists=("experiment_ids", "order_by"))
    experiment_ids = [experiment_id_of(i or "?") for i in fields.texts("experiment_ids")]
    text = fields.text("filter") or ""
    orders = fields.texts("order_by")
    view = _view(fields, "run_view_type")
    token = fields.text("page_token")
    max_results = _max_results(fields, default=RUNS_DEFAULT)
    if max_results > RESULTS_MAX:
        raise wrong_type("max_results", max_results)
    condition, order = await _read(text, orders, _runs_query)
    if not experiment_ids:
        return json_answer({})
    runs = await current_runs(request)
    search = RunSearch(
        experiment_ids=experiment_ids,
        filter=condition,
        order_by=order,
        view=view,
        max_results=max_results,
        page_token=token,
    )
    found: list[LatestRun] = []
    for _ in range(PARTS_MAX):
        part = await _page(runs.search_latest_runs(search))
        found.extend(part.items)
        token = part.next_page_token
        if token is None or len(found) >= max_results:
            break
        search = replace(search, page_token=token, max_results=max_results - len(found))
    locations = await locations_of(request, {run.experiment_id for run in found})
    printed = request.app[MLFLOW].printed_runs
    if sum(printed.work_of(run) for run in found) > _MANY:
        body = await asyncio.to_thread(_runs_body, found, locations, token, printed)
    else:
        body = _runs_body(found, locations, token, printed)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _runs_body(
    runs: Sequence[LatestRun],
    locations: Mapping[str, str],
    token: str | None,
    printed: PrintedRuns,
) -> bytes:
    answer: dict[str, Any] = {}
    if runs:
        answer["runs"] = [printed.json_of(run, locations[run.experiment_id]) for run in runs]
    if token is not None:
        answer["next_page_token"] = token
    return orjson.dumps(answer)


async def search_experiments(request: web.Request) -> web.Response:
    fields = await _fields_of(request, lists=("order_by",))
    text = fields.text("filter") or ""
    orders = fields.texts("order_by")
    view = _view(fields, "view_type")
    token = fields.text("page_token")
    max_results = _max_results(fields, default=0)
    if max_results > RESULTS_MAX:
        raise invalid(
            f"Invalid value {max_results} for parameter 'max_results' supplied. "
            f"It must be at most {RESULTS_MAX}"
        )
    condition, order = await _read(text, orders, _experiments_query)
    page: Page[ExperimentView] = await _page(
        (await current_runs(request)).search_experiments(
            filter=condition, order_by=order, view=view, max_results=max_results, page_token=token
        )
    )
    answer: dict[str, Any] = {}
    if page.items:
        answer["experiments"] = [experiment_json(item) for item in page.items]
    if page.next_page_token is not None:
        answer["next_page_token"] = page.next_page_token
    return json_answer(answer)


def _runs_query(text: str, orders: Sequence[str]) -> tuple[Filter, Order]:
    clauses = parse_filter(text, RUNS)
    order = run_order(orders)
    return run_filter(clauses) or "", order


def _experiments_query(text: str, orders: Sequence[str]) -> tuple[Filter, Order]:
    condition = experiment_filter(parse_filter(text, EXPERIMENTS))
    return condition or "", experiment_order(orders)


async def _read(
    text: str, orders: Sequence[str], query: Callable[[str, Sequence[str]], tuple[Filter, Order]]
) -> tuple[Filter, Order]:
    if len(text) + sum(map(len, orders)) > _LONG:
        return await asyncio.to_thread(query, text, orders)
    return query(text, orders)


async def _page(searching: Any) -> Any:
    """What a search answers; what it refuses, in MLflow's terms."""
    try:
        return await searching
    except InvalidQuery as error:
        what = "Invalid page token: " if "page token" in error.message else ""
        raise invalid(f"{what}{error}") from None


async def _fields_of(request: web.Request, *, lists: Sequence[str]) -> Fields:
    """A repeated key of a query is a list."""
    fields = await read_fields(request)
    if request.method != "GET" or not request.query:
        return fields
    given = dict(fields.values)
    given.update({name: query_list(request, name) for name in lists if name in given})
    return Fields(given)


def _view(fields: Fields, name: str) -> ViewType:
    value = fields.values.get(name)
    if value is None:
        return ViewType.ACTIVE_ONLY
    if isinstance(value, str) and value.isdigit() and len(value) == 1:
        value = int(value)
    if isinstance(value, bool | list | dict) or value not in _VIEWS:
        raise wrong_type(name, value)
    return _VIEWS[value]


def _max_results(fields: Fields, *, default: int) -> int:
    """At least 1; a search of experiments must say it. The most is refused in two wordings."""
    found = fields.integer("max_results")
    number = default if found is None else found
    if number < 1:
        raise invalid(
            f"Invalid value {number} for parameter 'max_results' supplied. "
            "It must be a positive integer"
        )
    return number
