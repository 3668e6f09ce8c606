"""Reads that show what was written before: MLflow's clients know no positions.

Every read waits until the projections have folded the log as it was when the read came in.
That is a few milliseconds at most, unless the server is flooded; then the answer is 503.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import web

from ingest.errors import ProjectionBehind
from ingest.mlflow.entities import artifact_location, default_location
from ingest.mlflow.errors import no_such
from ingest.mlflow.names import experiment_id_of
from ingest.mlflow.services import MLFLOW
from ingest.state import EVENT_STORE, READ_STORES
from projections.read_models import ExperimentView, RunsReadStore, RunView

FOLD_TIMEOUT_S: Final = 10.0


async def current_runs(request: web.Request) -> RunsReadStore:
    """The runs' read store, as far as the log is now."""
    await catch_up(request)
    return request.app[READ_STORES].runs


async def catch_up(request: web.Request) -> None:
    head = (await request.app[EVENT_STORE].head()).next_position - 1
    if not await request.app[READ_STORES].wait_for(head, timeout_s=FOLD_TIMEOUT_S):
        raise ProjectionBehind("the server is busy folding its log; try again", retry_after_s=1.0)


async def run_view(request: web.Request, run_id: str) -> RunView:
    """The run now. Raises RESOURCE_DOES_NOT_EXIST."""
    runs = await current_runs(request)
    view = await runs.get_run(run_id, live_run_ids=frozenset())  # MLflow knows no liveness
    if view is None:
        raise run_not_found(run_id)
    return view


def run_not_found(run_id: str) -> Exception:
    return no_such(f"Run with id={run_id[:256]} not found")


async def experiment_view(request: web.Request, experiment_id: str | None) -> ExperimentView:
    """The experiment now, of any stage. Raises RESOURCE_DOES_NOT_EXIST."""
    found_id = experiment_id_of(experiment_id)
    view = await (await current_runs(request)).get_experiment(found_id)
    if view is None:
        raise experiment_not_found(found_id)
    return view


def experiment_not_found(experiment_id: str) -> Exception:
    return no_such(f"No Experiment with id={experiment_id} exists")


async def location_of(request: web.Request, experiment_id: str) -> str:
    return (await locations_of(request, [experiment_id]))[experiment_id]


async def locations_of(request: web.Request, experiment_ids: Iterable[str]) -> Mapping[str, str]:
    """Where the artifacts of these experiments' runs lie."""
    known = request.app[MLFLOW].locations
    found = {}
    for experiment_id in dict.fromkeys(experiment_ids):
        location = known.get(experiment_id)
        if location is None:
            view = await request.app[READ_STORES].runs.get_experiment(experiment_id)
            location = default_location(experiment_id) if view is None else artifact_location(view)
            known.remember(experiment_id, location)
        found[experiment_id] = location
    return found
