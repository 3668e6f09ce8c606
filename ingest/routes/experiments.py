"""/api/v1/experiments: create, search, read, change and delete experiments."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ingest.decisions import Decider
from ingest.errors import ExperimentNotFound, InvalidRequest
from ingest.experiment_decisions import create_experiment, patch_experiment
from ingest.messages import json_answer, query_int, read_json, wait_for_position
from ingest.past_stores import AS_OF, asked_stores
from ingest.routes.table import QueryParameter, Route
from ingest.schemas import (
    CreateExperiment,
    ExperimentAnswer,
    ExperimentsAnswer,
    PatchExperiment,
)
from ingest.state import EVENT_STORE, READ_STORES
from ingest.view_json import experiment_json
from projections.read_models import ExperimentView, Page, ViewType

PAGE_DEFAULT: Final = 1000
_POSITION: Final = QueryParameter(
    "min_position", "answer no older than this position", type="integer"
)


def decider_of(request: web.Request) -> Decider:
    return Decider(request.app[EVENT_STORE], request.app[READ_STORES])


def view_of(request: web.Request) -> ViewType | None:
    text = request.query.get("view")
    if not text:
        return None
    try:
        return ViewType(text)
    except ValueError:
        raise InvalidRequest(
            f"view: {text[:40]!r} is none of {', '.join(ViewType)}", field="view"
        ) from None


async def search(request: web.Request) -> web.Response:
    await wait_for_position(request, query_int(request, "min_position"))
    name = request.query.get("name")
    page = await (_search(request) if name is None else _named(request, name))
    return json_answer(
        {
            "experiments": [experiment_json(e, position=page.position) for e in page.items],
            "next_page_token": page.next_page_token,
            "position": page.position,
        }
    )


async def _search(request: web.Request) -> Page[ExperimentView]:
    max_results = query_int(request, "max_results")
    return await (await asked_stores(request)).runs.search_experiments(
        filter=request.query.get("filter", ""),
        order_by=request.query.getall("order_by", []),
        view=view_of(request) or ViewType.ACTIVE_ONLY,
        max_results=PAGE_DEFAULT if max_results is None else max_results,
        page_token=request.query.get("page_token"),
    )


async def _named(request: web.Request, name: str) -> Page[ExperimentView]:
    """The active experiment of a name, else the one deleted last, if the view shows it."""
    runs = (await asked_stores(request)).runs
    found = await runs.get_experiment_by_name(name)
    view = view_of(request)
    if found is not None and view not in (None, ViewType.ALL):
        is_shown = (view is ViewType.ACTIVE_ONLY) == (found.lifecycle_stage == "active")
        found = found if is_shown else None
    return Page([] if found is None else [found], None, await runs.position())


async def create(request: web.Request) -> web.Response:
    command = await read_json(request, CreateExperiment)
    created, position = await create_experiment(decider_of(request), command)
    found = await request.app[READ_STORES].runs.get_experiment(created.experiment_id)
    is_folded = found is not None and found.name == created.name
    shown = found if found is not None and is_folded else created
    return json_answer(experiment_json(shown, position=position), status=201)


async def get(request: web.Request) -> web.Response:
    await wait_for_position(request, query_int(request, "min_position"))
    return await _answer(request, request.match_info["experiment_id"])


async def patch(request: web.Request) -> web.Response:
    command = await read_json(request, PatchExperiment)
    experiment_id = request.match_info["experiment_id"]
    position = await patch_experiment(decider_of(request), experiment_id, command)
    return await _answer(request, experiment_id, position)


async def delete(request: web.Request) -> web.Response:
    experiment_id = request.match_info["experiment_id"]
    command = PatchExperiment(lifecycle_stage="deleted")
    position = await patch_experiment(decider_of(request), experiment_id, command)
    return await _answer(request, experiment_id, position)


async def _answer(
    request: web.Request, experiment_id: str, position: int | None = None
) -> web.Response:
    stores = request.app[READ_STORES] if position is not None else await asked_stores(request)
    runs = stores.runs
    at = await runs.position() if position is None else position
    experiment = await runs.get_experiment(experiment_id)
    if experiment is None:
        raise ExperimentNotFound(f"there is no experiment {experiment_id[:64]!r}")
    return json_answer(experiment_json(experiment, position=at))


ROUTES = (
    Route(
        "GET",
        "/api/v1/experiments",
        search,
        "Search experiments, or find one by its name",
        answer=ExperimentsAnswer,
        query=(
            QueryParameter("filter", "a condition, such as name LIKE 'vision%'"),
            QueryParameter("order_by", "a field and ASC or DESC; may be repeated"),
            QueryParameter("view", "active_only (default), deleted_only or all"),
            QueryParameter("max_results", "1 to 50000, default 1000", type="integer"),
            QueryParameter("page_token", "next_page_token of the page before"),
            QueryParameter("name", "exactly this name; the active one, else the deleted last"),
            _POSITION,
            *AS_OF,
        ),
        errors=(400, 503),
    ),
    Route(
        "POST",
        "/api/v1/experiments",
        create,
        "Create an experiment; its name must not be that of an active one",
        request=CreateExperiment,
        answer=ExperimentAnswer,
        status=201,
        errors=(400, 409, 413, 422, 503),
    ),
    Route(
        "GET",
        "/api/v1/experiments/{experiment_id}",
        get,
        "One experiment",
        answer=ExperimentAnswer,
        query=(_POSITION, *AS_OF),
        errors=(400, 404, 503),
    ),
    Route(
        "PATCH",
        "/api/v1/experiments/{experiment_id}",
        patch,
        "Rename, tag, delete or restore an experiment",
        request=PatchExperiment,
        answer=ExperimentAnswer,
        errors=(400, 404, 409, 413, 422, 503),
    ),
    Route(
        "DELETE",
        "/api/v1/experiments/{experiment_id}",
        delete,
        "Delete an experiment with its runs; both can be restored",
        answer=ExperimentAnswer,
        errors=(400, 404, 503),
    ),
)
