"""POST experiments/search-datasets: which datasets the runs of some experiments read."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from aiohttp import web

from ingest.messages import json_answer
from ingest.mlflow.bodies import read_fields
from ingest.mlflow.entities import without_empty
from ingest.mlflow.errors import invalid
from ingest.mlflow.names import experiment_id_of
from ingest.mlflow.reading import current_runs
from projections.read_models import RunSearch, ViewType

EXPERIMENTS_MAX: Final = 20
SUMMARIES_MAX: Final = 1000
CONTEXT: Final = "mlflow.data.context"
# The newest runs are looked through, page by page; a project has few datasets and many runs.
_PAGE: Final = 500
_PAGES_MAX: Final = 40

_Summary = tuple[str, str, str, str | None]


async def search_datasets(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    experiment_ids = fields.texts("experiment_ids")
    if not experiment_ids:
        raise invalid("SearchDatasets request must specify at least one experiment_id.")
    if len(experiment_ids) > EXPERIMENTS_MAX:
        raise invalid(
            f"SearchDatasets request cannot specify more than {EXPERIMENTS_MAX}"
            f" experiment_ids. Received {len(experiment_ids)} experiment_ids."
        )
    summaries = await _summaries(request, [experiment_id_of(i) for i in experiment_ids])
    said = [
        without_empty(
            (("experiment_id", experiment_id), ("name", name), ("digest", digest))
            + ((("context", context),) if context is not None else ())
        )
        for experiment_id, name, digest, context in summaries
    ]
    return json_answer({"dataset_summaries": said} if said else {})


async def _summaries(request: web.Request, experiment_ids: list[str]) -> list[_Summary]:
    runs = await current_runs(request)
    found: dict[_Summary, None] = {}
    search = RunSearch(
        experiment_ids=experiment_ids,
        filter="datasets.name LIKE '%'",
        view=ViewType.ALL,
        max_results=_PAGE,
    )
    for _ in range(_PAGES_MAX):
        page = await runs.search_runs(search)
        for run in page.items:
            for item in run.inputs:
                found[run.experiment_id, item.name, item.digest, item.tags.get(CONTEXT)] = None
        if page.next_page_token is None or len(found) >= SUMMARIES_MAX:
            break
        search = replace(search, page_token=page.next_page_token)
    return list(found)[:SUMMARIES_MAX]
