"""What MLflow's clients log: metrics, params and tags, one by one or in a batch.

Metrics need no decision and go to the run's writer. Params and tags are decided on: a param
must not change, and the last one to set a tag must win whatever the clocks say. A batch is
checked whole before any of it is recorded; params and tags come first, since only they can
be refused by what is stored.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ingest.messages import json_answer
from ingest.mlflow import names
from ingest.mlflow.bodies import Fields, pairs, read_fields
from ingest.mlflow.metric_points import metric_batch
from ingest.mlflow.run_changes import (
    Change,
    change_run,
    check_run_takes,
    param_changes,
    tag_changes,
)
from ingest.mlflow.services import MLFLOW
from projections.read_models import RunView


async def log_batch(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    metrics, given_params, given_tags = (
        fields.array("metrics"),
        pairs(fields.array("params"), "params"),
        pairs(fields.array("tags"), "tags"),
    )
    names.check_run_id(run_id)
    names.check_batch_limits(len(metrics), len(given_params), len(given_tags))
    batch = metric_batch(metrics, run_id)
    params = [names.param(k, v, path=f"params[{i}].") for i, (k, v) in enumerate(given_params)]
    tags = [names.tag(k, v, path=f"tags[{i}].") for i, (k, v) in enumerate(given_tags)]
    names.check_unique([key for key, _ in params])
    if params or tags:

        def changes(view: RunView) -> list[Change]:
            said = dict(tags)
            return param_changes(view, dict(params), is_batch=True) + tag_changes(view, said)

        await change_run(request, run_id, changes)
    else:
        await check_run_takes(request, run_id)
    await request.app[MLFLOW].writers.append(run_id, batch)
    return json_answer({})


async def log_metric(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    item = _metric(fields)
    await check_run_takes(request, run_id)
    batch = metric_batch([item], run_id, path="")
    await request.app[MLFLOW].writers.append(run_id, batch)
    return json_answer({})


def _metric(fields: Fields) -> dict[str, Any]:
    """The fields of one metric, of the right types."""
    item: dict[str, Any] = {
        "key": fields.text("key", is_required=True),
        "value": fields.number("value"),
        "timestamp": fields.integer("timestamp", is_required=True),
        "step": fields.integer("step") or 0,
    }
    for name in ("model_id", "dataset_name", "dataset_digest"):
        text = fields.text(name)
        if text:
            item[name] = text
    return item


async def log_param(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    key = fields.text("key", is_required=True) or ""
    param = dict([names.param(key, fields.text("value") or "")])
    await change_run(request, run_id, lambda view: param_changes(view, param, is_batch=False))
    return json_answer({})


async def set_tag(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    key = fields.text("key", is_required=True) or ""
    tag = dict([names.tag(key, fields.text("value") or "")])
    await change_run(request, run_id, lambda view: tag_changes(view, tag))
    return json_answer({})
