"""The filters of MLflow's search of logged models."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.mlflow.errors import MlflowRefusal
from ingest.mlflow.models_search import matches, parse_filter, sort_key
from projections.models_queries import ModelMetric, ModelView


def model(**changes: Any) -> ModelView:
    given: dict[str, Any] = {
        "model_id": "m-1",
        "experiment_id": "0",
        "name": "it's",
        "source_run_id": None,
        "model_type": None,
        "status": "READY",
        "status_message": None,
        "created_time_us": 5_000_000,
        "updated_time_us": 6_000_000,
        "is_deleted": False,
        "params": {"lr": "0.1"},
        "tags": {"a b": "Blue"},
        "metrics": [
            ModelMetric("acc", 0.5, 1, 1, "r", "train", "d1"),
            ModelMetric("acc", 0.9, 1, 1, "r", "test", "d2"),
            ModelMetric("odd", float("nan"), 1, 1, "r", "", ""),
        ],
        "order_us": 1,
    }
    return ModelView(**{**given, **changes})


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        ("", True),
        ("params.lr = '0.1'", True),
        ("params.lr = '0.1' AND tags.`a b` LIKE 'Bl%'", True),
        ("tags.`a b` LIKE 'bl%'", False),
        ("tags.`a b` ilike 'bl%'", True),
        ("params.missing != 'x'", False),
        ("metrics.acc > 0.8", True),
        ("metrics.acc > 0.8 AND metrics.acc < 0.6", True),
        ("metrics.odd > 0", False),
        ("creation_timestamp >= 5000 AND last_updated_timestamp < 7000", True),
        ("model_id IN ('m-1', 'm-2')", True),
        ("status NOT IN ('READY')", False),
        ("source_run_id = 'r'", False),
    ],
)
def test_conditions_mean_what_mlflow_means(text: str, is_match: bool) -> None:
    assert matches(model(), parse_filter(text), ()) is is_match


def test_metric_conditions_may_be_about_datasets() -> None:
    clauses = parse_filter("metrics.acc > 0.8")
    assert matches(model(), clauses, [("test", None)])
    assert matches(model(), clauses, [("test", "d2")])
    assert not matches(model(), clauses, [("train", None)])
    assert not matches(model(), clauses, [("test", "d1")])


@pytest.mark.parametrize(
    "text",
    [
        "params.lr > '0.1'",
        "metrics.acc LIKE 'x'",
        "metrics.acc > high",
        "runs.x = '1'",
        "unknown = '1'",
        "params.lr = '0.1' OR params.lr = '0.2'",
        "params.lr",
        "status IN (READY)",
        "x" * 20_001,
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(MlflowRefusal):
        parse_filter(text)


def test_models_without_a_value_have_none_to_sort_by() -> None:
    key, is_ascending = sort_key({"field_name": "metrics.acc", "ascending": False})
    assert not is_ascending
    assert key(model()) == (0.9,)
    assert key(model(metrics=()))[0] is None
    for wrong in ({}, {"field_name": "nope"}, {"field_name": "name", "dataset_name": "x"}):
        with pytest.raises(MlflowRefusal):
            sort_key(wrong)
