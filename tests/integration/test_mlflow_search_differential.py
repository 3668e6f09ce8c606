"""Searches over MLflow's API answer what MLflow's own SQLite store answers."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import mlflow_searches
from tests.support.http_server import TestServer, serving
from tests.support.mlflow_reference import (
    IS_LONG,
    SEED,
    fill,
    history_of,
    normal,
    pages_of,
    reference_environment,
    running_reference,
    start_reference,
)

RUN_QUERIES = 5_000 if IS_LONG else 1_000
EXPERIMENT_QUERIES = 1_000 if IS_LONG else 60
HISTORY_QUERIES = 500 if IS_LONG else 50
RUNS = 40


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(3600 if IS_LONG else 420)
async def test_random_searches_and_histories_are_what_mlflows_own_store_answers(
    server: TestServer, tmp_path: Path
) -> None:
    """A thousand filters with orders and pages, more when told; one store each, filled alike."""
    rng = random.Random(SEED)
    data = mlflow_searches.data(rng, RUNS)
    asked: dict[str, Any] = {
        "data": data,
        "run_queries": [mlflow_searches.run_query(rng) for _ in range(RUN_QUERIES)],
        "experiment_queries": [
            mlflow_searches.experiment_query(rng) for _ in range(EXPERIMENT_QUERIES)
        ],
        "history_queries": [
            mlflow_searches.history_query(rng, data) for _ in range(HISTORY_QUERIES)
        ],
    }
    command = start_reference(tmp_path / "mlflow", asked)
    async with running_reference(command, reference_environment(tmp_path)) as reference:
        await fill(server, asked["data"])

        ours_runs = [
            await pages_of(server, "/runs", query, view="run_view_type")
            for query in asked["run_queries"]
        ]
        ours_experiments = [
            await pages_of(server, "/experiments", query, view="view_type")
            for query in asked["experiment_queries"]
        ]

        ours_histories = [await history_of(server, query) for query in asked["history_queries"]]
        output, _ = await reference.communicate()
    theirs = json.loads(output.splitlines()[-1])
    _compare(asked["run_queries"], theirs["runs"], ours_runs, at_least=0.15)
    _compare(asked["experiment_queries"], theirs["experiments"], ours_experiments, at_least=0.15)
    _compare(asked["history_queries"], theirs["histories"], ours_histories, at_least=0.15)


def _compare(
    queries: list[dict[str, Any]],
    theirs: list[dict[str, Any]],
    ours: list[dict[str, Any]],
    *,
    at_least: float,
) -> None:
    differing = [
        {"query": query, "theirs": theirs_one, "ours": ours_one}
        for query, theirs_one, ours_one in zip(queries, theirs, ours, strict=True)
        if not _agree(theirs_one, ours_one)
    ]
    shown = "\n".join(map(json.dumps, differing[:8]))
    assert not differing, f"{len(differing)} of {len(queries)} differ:\n{shown}"
    answered = [one for one in theirs if any(one.get("pages", ()))]
    assert len(answered) >= at_least * len(queries), "too few of the searches found anything"


def _agree(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    if "pages" in theirs:
        return theirs == ours
    # What MLflow's server answers with a 500, which its clients repeat for minutes, is
    # refused here at once.
    if ours.get("error_code") != "INVALID_PARAMETER_VALUE" or ours["status"] != 400:
        return False
    is_mlflows = theirs["error_code"] == "INVALID_PARAMETER_VALUE"
    return not is_mlflows or normal(theirs["message"]) == normal(ours["message"])
