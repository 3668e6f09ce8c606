"""The filters of MLflow's search of logged models."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.mlflow.errors import MlflowRefusal
from ingest.mlflow.models_search import in_order, matches, parse_filter, sort_value
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
        "metrics": (),
        "points": [
            ModelMetric("acc", 0.7, 0, 1, "r", "train", "d1"),
            ModelMetric("acc", 0.5, 1, 1, "r", "train", "d1"),
            ModelMetric("acc", 0.9, 1, 2, "r", "test", "d2"),
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


def test_datasets_without_a_metric_condition_ask_for_models_that_were_tried_on_them() -> None:
    for clauses in ([], parse_filter("params.lr = '0.1'")):
        assert matches(model(), clauses, [("test", None), ("other", None)])
        assert matches(model(), clauses, [("train", "d1")])
        assert not matches(model(), clauses, [("train", "d2")])
        assert not matches(model(), clauses, [("other", None)])
        assert not matches(model(points=()), clauses, [("test", None)])


def test_a_metric_condition_holds_for_what_ever_was() -> None:
    assert matches(model(), parse_filter("metrics.acc = 0.7"), [("train", None)])


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


def test_models_without_a_value_come_last_both_ways() -> None:
    values = {"a": 3.0, "b": None, "c": 1.0, "d": float("nan"), "e": 2.0}
    models = [
        model(
            model_id=name,
            points=[] if value is None else [ModelMetric("acc", value, 1, 1, "r", "", "")],
        )
        for name, value in values.items()
    ]
    by_value = {"field_name": "metrics.acc"}

    assert "".join(m.model_id for m in in_order(models, [by_value])) == "ceabd"
    assert (
        "".join(m.model_id for m in in_order(models, [{**by_value, "ascending": False}])) == "aecbd"
    )


def test_a_model_is_sorted_by_the_latest_point_of_a_metric() -> None:
    latest, is_ascending = sort_value({"field_name": "metrics.acc", "ascending": False})
    on_train, _ = sort_value({"field_name": "metrics.acc", "dataset_name": "train"})

    assert not is_ascending
    assert (latest(model()), on_train(model()), latest(model(points=()))) == (0.9, 0.5, None)


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"field_name": "nope"},
        {"field_name": "params.lr"},
        {"field_name": "name", "dataset_name": "x"},
    ],
)
def test_an_order_that_mlflow_does_not_know_is_refused(order: dict[str, Any]) -> None:
    with pytest.raises(MlflowRefusal):
        sort_value(order)
