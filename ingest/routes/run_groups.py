"""POST /api/v1/runs/groups: how many runs match, by what they have in common."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ingest.errors import StoreUnavailable
from ingest.group_schemas import GroupRuns, GroupsAnswer
from ingest.messages import json_answer, json_float, read_json
from ingest.routes.table import Route
from ingest.state import LEASES, READ_STORES
from projections.read_models import RunSearch, ViewType
from projections.run_groups import GroupSearch, MetricGroup, RunGroupStore


async def groups(request: web.Request) -> web.Response:
    command = await read_json(request, GroupRuns)
    store = request.app[READ_STORES].runs
    if not isinstance(store, RunGroupStore):
        raise StoreUnavailable("the store behind this server does not group runs")
    page = await store.group_runs(
        GroupSearch(
            RunSearch(
                experiment_ids=command.experiment_ids,
                filter=command.filter,
                view=ViewType(command.view),
                live_run_ids=request.app[LEASES].live_run_ids(),
            ),
            fields=command.group_by,
            metrics=command.metrics,
            max_results=command.max_results,
        )
    )
    answer = {
        "groups": [
            {
                "values": group.values,
                "count": group.count,
                "metrics": {key: _metric(metric) for key, metric in group.metrics.items()},
            }
            for group in page.groups
        ],
        "runs": page.runs,
        "is_reduced": page.is_reduced,
        "position": page.position,
    }
    return json_answer(answer)


def _metric(metric: MetricGroup) -> dict[str, Any]:
    values = {"mean": metric.mean, "min": metric.min, "max": metric.max}
    floats = {name: None if v is None else json_float(v) for name, v in values.items()}
    return {"count": metric.count, **floats}


ROUTES = (
    Route(
        "POST",
        "/api/v1/runs/groups",
        groups,
        "Count the runs that match, by params, tags or attributes, and aggregate their metrics",
        request=GroupRuns,
        answer=GroupsAnswer,
        errors=(400, 413, 503),
    ),
)
