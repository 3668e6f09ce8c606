"""Bad requests, asked of this server and of MLflow's own; {names} are filled in by each side.

`run` is active and has the param lr=1, `deleted` is a deleted run, `model` a logged model.
"""

from __future__ import annotations

from typing import Any, Final

Request = tuple[str, str, dict[str, Any]]

LONG: Final = "x" * 300
METRIC: Final = {"key": "loss", "value": 1.0, "timestamp": 1, "step": 1}
IN_0: Final = {"experiment_ids": ["0"]}
POINT: Final = {"run_id": "{run}", **METRIC}


def _batch(**said: Any) -> dict[str, Any]:
    return {"run_id": "{run}", **said}


def _params(n: int) -> list[dict[str, str]]:
    return [{"key": f"p{i}", "value": "v"} for i in range(n)]


_POSTED: Final[dict[str, list[dict[str, Any]]]] = {
    "experiments/create": [
        {},
        {"name": None},
        {"name": 5},
        {"name": ""},
        {"name": "Default"},
        {"name": "there"},
        {"name": "gone"},
        {"name": "n" * 501},
        {"name": "a", "artifact_location": 9.0},
        {"name": "a", "tags": "5"},
        {"name": "a", "artifact_location": "s3://b/x?y=1"},
        {"name": "a", "artifact_location": "s3://b/x#y"},
    ],
    "experiments/update": [
        {},
        {"experiment_id": "77", "new_name": "b"},
        {"experiment_id": "0", "new_name": 5},
    ],
    "experiments/delete": [{}, {"experiment_id": "77"}, {"experiment_id": 5}],
    "experiments/restore": [{}, {"experiment_id": "77"}, {"experiment_id": "0"}],
    "experiments/set-experiment-tag": [
        {},
        {"experiment_id": "0"},
        {"experiment_id": "0", "key": "k"},
        {"experiment_id": "77", "key": "k", "value": "v"},
        {"experiment_id": "0", "key": LONG, "value": "v"},
        {"experiment_id": "0", "key": "k", "value": "v" * 5001},
        {"experiment_id": "0", "key": 5, "value": "v"},
    ],
    "experiments/search": [
        {"max_results": 0},
        {"max_results": -1},
        {"max_results": 50_001},
        {"max_results": "many"},
        {"max_results": 5, "filter": "name"},
        {"max_results": 5, "filter": "name = x"},
        {"max_results": 5, "filter": "nope = 'x'"},
        {"max_results": 5, "filter": 5},
        {"max_results": 5, "order_by": ["nope"]},
        {"max_results": 5, "order_by": ["name SIDEWAYS"]},
    ],
    "runs/create": [
        {"experiment_id": "77"},
        {"experiment_id": 5},
        {"start_time": "soon"},
        {"run_name": 5},
    ],
    "runs/update": [
        {},
        {"run_id": "gone"},
        {"run_id": "{run}", "run_name": 5},
        {"run_id": "{run}", "end_time": "late"},
        {"run_id": "{deleted}", "status": "FINISHED"},
    ],
    "runs/delete": [{}, {"run_id": "gone"}, {"run_id": 5}],
    "runs/restore": [{}, {"run_id": "gone"}],
    "runs/log-metric": [
        {},
        {"run_id": "gone", **METRIC},
        {"run_id": "{deleted}", **METRIC},
        {"run_id": 31, **METRIC},
        {**POINT, "key": 31},
        {**POINT, "key": None},
        {**POINT, "key": LONG},
        {**POINT, "key": "a//b"},
        {**POINT, "key": "../b"},
        {**POINT, "key": "/b"},
        {**POINT, "key": "a#b"},
        {**POINT, "value": "high"},
        {**POINT, "value": None},
        {**POINT, "timestamp": "foo"},
        {**POINT, "timestamp": None},
        {**POINT, "step": "foo"},
    ],
    "runs/log-parameter": [
        {},
        {"run_id": "{run}"},
        {"run_id": "{run}", "key": 31, "value": "v"},
        {"run_id": "{run}", "key": "k", "value": 5},
        {"run_id": "{run}", "key": LONG, "value": "v"},
        {"run_id": "{run}", "key": "lr", "value": "2"},
        {"run_id": "gone", "key": "lr", "value": "2"},
        {"run_id": "{deleted}", "key": "k", "value": "v"},
    ],
    "runs/set-tag": [
        {},
        {"run_id": "{run}"},
        {"run_id": "{run}", "key": 31, "value": "v"},
        {"run_id": "{run}", "key": "k", "value": 5},
        {"run_id": "{run}", "key": LONG, "value": "v"},
        {"run_id": "gone", "key": "k", "value": "v"},
        {"run_id": "{deleted}", "key": "k", "value": "v"},
    ],
    "runs/delete-tag": [
        {},
        {"run_id": "{run}", "key": "nope"},
        {"run_id": "gone", "key": "k"},
        {"run_id": "{deleted}", "key": "k"},
    ],
    "runs/log-batch": [
        {},
        {"run_id": "gone", "metrics": [METRIC]},
        {"run_id": "{deleted}", "metrics": [METRIC]},
        _batch(metrics="x"),
        _batch(metrics=[{"key": "a"}]),
        _batch(metrics=[{**METRIC, "key": LONG}]),
        _batch(metrics=[{**METRIC, "key": "a//b"}]),
        _batch(metrics=[METRIC] * 1001),
        _batch(params=_params(101)),
        _batch(tags=_params(101)),
        _batch(metrics=[METRIC] * 1000, tags=_params(1)),
        _batch(params=[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]),
        _batch(params=[{"key": "lr", "value": "2"}]),
        _batch(params=[{"value": "2"}]),
        _batch(tags=[{"key": LONG, "value": "2"}]),
        _batch(tags=5),
    ],
    "runs/log-inputs": [
        {},
        {"run_id": "gone", "datasets": []},
    ],
    "runs/outputs": [{}, {"run_id": "gone", "models": []}],
    "runs/search": [
        {**IN_0, "filter": "metrics.loss"},
        {**IN_0, "filter": "metrics.loss > 'high'"},
        {**IN_0, "filter": "params.lr = 1"},
        {**IN_0, "filter": "params.lr > '1'"},
        {**IN_0, "filter": "nope.x = '1'"},
        {**IN_0, "filter": "status = 1"},
        {**IN_0, "filter": "metrics.a > 1 OR metrics.b > 1"},
        {**IN_0, "filter": 5},
        {**IN_0, "order_by": ["metrics.loss SIDEWAYS"]},
        {**IN_0, "order_by": ["nope"]},
        {**IN_0, "order_by": ["params"]},
        {**IN_0, "max_results": 0},
        {**IN_0, "max_results": -5},
        {**IN_0, "max_results": 50_001},
        {**IN_0, "max_results": "x"},
    ],
    "logged-models": [
        {},
        {"experiment_id": "77"},
        {"experiment_id": "0", "name": "a/b"},
        {"experiment_id": "0", "name": "a:b"},
    ],
    "logged-models/search": [
        {},
        {"experiment_ids": ["0"], "filter": "nope.x = '1'"},
        {"experiment_ids": ["0"], "filter": "metrics.a LIKE '1'"},
        {"experiment_ids": ["0"], "filter": "params.a"},
        {"experiment_ids": ["0"], "order_by": [{"field_name": "nope"}]},
        {"experiment_ids": ["0"], "order_by": [{"field_name": "params.a"}]},
    ],
}
_GOT: Final[dict[str, list[dict[str, Any]]]] = {
    "experiments/get": [{}, {"experiment_id": "77"}, {"experiment_id": "x"}],
    "experiments/get-by-name": [{}, {"experiment_name": "nope"}],
    "runs/get": [{}, {"run_id": "gone"}],
    "metrics/get-history": [
        {},
        {"run_id": "{run}"},
        {"run_id": "gone", "metric_key": "loss", "max_results": "5"},
    ],
    "metrics/get-history-bulk-interval": [
        {},
        {"run_ids": "{run}"},
        {"run_ids": "{run}", "metric_key": "loss", "start_step": "1"},
        {"run_ids": "{run}", "metric_key": "loss", "start_step": "5", "end_step": "1"},
        {"run_ids": "{run}", "metric_key": "loss", "max_results": "0"},
        {"run_ids": "{run}", "metric_key": "loss", "max_results": "2501"},
    ],
    "artifacts/list": [
        {},
        {"run_id": "gone"},
        {"run_id": "{run}", "path": "../x"},
        {"run_id": "{run}", "path": "/etc"},
    ],
    "logged-models/m-nope": [{}],
}

REQUESTS: Final[list[Request]] = [
    *(("POST", path, body) for path, bodies in _POSTED.items() for body in bodies),
    *(("GET", path, query) for path, queries in _GOT.items() for query in queries),
    ("PATCH", "logged-models/m-no", {"model_id": "m-no", "status": "LOGGED_MODEL_READY"}),
    ("PATCH", "logged-models/{model}", {"model_id": "{model}"}),
    ("PATCH", "logged-models/m-nope/tags", {"tags": []}),
    ("DELETE", "logged-models/m-nope", {}),
    ("DELETE", "logged-models/{model}/tags/nope", {}),
]
# MLflow takes these and records something else, answers 500, or blames another field; and its
# page tokens are made otherwise.
STRICTER: Final[list[Request]] = [
    ("POST", "runs/create", {"experiment_id": "0", "tags": "x"}),
    ("POST", "runs/create", {"experiment_id": "0", "tags": [{"key": LONG, "value": "v"}]}),
    ("POST", "runs/search", {**IN_0, "page_token": "x"}),
    ("POST", "runs/log-metric", {**POINT, "step": 1.5}),
    ("POST", "runs/log-batch", _batch(metrics=[5])),
    ("POST", "runs/log-batch", _batch(metrics=[{**METRIC, "value": "high"}])),
    ("POST", "runs/log-batch", _batch(metrics=[{**METRIC, "value": True}])),
    ("POST", "runs/log-batch", _batch(params=[{"key": "a", "value": 2}])),
    ("POST", "runs/log-inputs", {"run_id": "{run}", "datasets": [{}]}),
    ("POST", "runs/log-inputs", {"run_id": "{run}", "datasets": [{"dataset": {"name": "d"}}]}),
    ("POST", "experiments/search-datasets", {}),
    ("POST", "experiments/search-datasets", {"experiment_ids": ["0"] * 21}),
    (
        "GET",
        "metrics/get-history",
        {"run_id": "{run}", "metric_key": "loss", "max_results": "x"},
    ),
]


def filled(value: Any, names: dict[str, str]) -> Any:
    """The value with {run} and the like as this server has them."""
    if isinstance(value, str):
        for name, said in names.items():
            value = value.replace(f"{{{name}}}", said)
        return value
    if isinstance(value, dict):
        return {key: filled(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    return value
