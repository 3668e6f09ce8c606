"""MLflow's REST API at its own level: what is read after a write, and that its runs and the
native ones are one world. Real clients are in e2e."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.state import EVENT_STORE
from projections.columns import decode_payload
from tests.support.http_server import TestServer, events_body, serving
from tests.support.mlflow_rest import (
    API,
    KEY,
    count_of,
    create_run,
    entries,
    get,
    log_batch,
    metric,
    post,
    run_of,
)
from tracker.events import wire
from tracker.events.types import Event, EventType


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


# -- reading what was written --------------------------------------------------------------------


async def test_a_client_reads_what_it_has_just_written(server: TestServer) -> None:
    experiment_id = (await post(server, "experiments/create", {"name": "mine"})).json[
        "experiment_id"
    ]
    run_id = await create_run(server, experiment_id=experiment_id, run_name="one")
    for step in range(20):
        assert (await log_batch(server, run_id, metrics=[metric(step, step / 2)])).json == {}
        data = (await run_of(server, run_id))["data"]
        assert data["metrics"] == [
            {"key": "loss", "value": step / 2, "timestamp": 1000, "step": step}
        ]

    info = (await run_of(server, run_id))["info"]

    assert info["artifact_uri"] == f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts"
    assert (info["run_name"], info["status"], info["start_time"]) == ("one", "RUNNING", 5)
    found = await get(server, "experiments/get-by-name", experiment_name="mine")
    assert found.json["experiment"]["artifact_location"] == f"mlflow-artifacts:/{experiment_id}"


async def test_a_param_that_changes_is_refused_and_nothing_of_its_batch_is_kept(
    server: TestServer,
) -> None:
    run_id = await create_run(server)
    assert (await log_batch(server, run_id, params=[{"key": "lr", "value": "1"}])).status == 200
    again = await post(server, "runs/log-parameter", {"run_id": run_id, "key": "lr", "value": "1"})
    assert again.status == 200

    batch = await log_batch(
        server, run_id, params=[{"key": "lr", "value": "2"}], metrics=[metric(1)]
    )
    single = await post(server, "runs/log-parameter", {"run_id": run_id, "key": "lr", "value": "2"})

    for answer in (batch, single):
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "Changing param values is not allowed" in answer.json["message"]
    data = (await run_of(server, run_id))["data"]
    assert entries(data["params"]) == {"lr": "1"}
    assert "metrics" not in data


async def test_two_who_log_a_param_at_once_are_told_apart(server: TestServer) -> None:
    run_id = await create_run(server)

    answers = await asyncio.gather(
        *(
            post(server, "runs/log-parameter", {"run_id": run_id, "key": "lr", "value": str(i)})
            for i in range(8)
        )
    )

    assert sorted(answer.status for answer in answers) == [200] + [400] * 7
    winner = next(i for i, answer in enumerate(answers) if answer.status == 200)
    assert entries((await run_of(server, run_id))["data"]["params"]) == {"lr": str(winner)}


async def test_of_two_who_create_an_experiment_one_is_told_that_it_exists(
    server: TestServer,
) -> None:
    answers = await asyncio.gather(
        *(post(server, "experiments/create", {"name": "raced"}) for _ in range(5))
    )

    codes = [answer.json.get("error_code", "") for answer in answers]
    assert sorted(codes) == ["", *["RESOURCE_ALREADY_EXISTS"] * 4]


async def test_infinities_are_clipped_for_mlflow_and_exact_for_everybody_else(
    server: TestServer,
) -> None:
    run_id = await create_run(server)
    values = {"up": "Infinity", "down": "-Infinity", "nan": "NaN", "text": "1.5"}
    metrics = [metric(0, value, key=key) for key, value in values.items()]
    assert (await log_batch(server, run_id, metrics=metrics)).status == 200

    mangled = entries((await run_of(server, run_id))["data"]["metrics"])
    native = (await server.ask("GET", f"/api/v1/runs/{run_id}")).json["metrics"]

    largest = 1.7976931348623157e308
    assert mangled == {"up": largest, "down": -largest, "nan": "NaN", "text": 1.5}
    assert {key: native[key]["last"]["value"] for key in native} == {
        "up": "Infinity",
        "down": "-Infinity",
        "nan": "NaN",
        "text": 1.5,
    }
    history = await get(server, "metrics/get-history", run_id=run_id, metric_key="up")
    assert history.json["metrics"] == [metric(0, largest, key="up")]


async def test_the_same_request_again_is_recorded_once(server: TestServer) -> None:
    run_id = await create_run(server)
    batch = [metric(i, i / 7) for i in range(10)]

    for _ in range(3):
        assert (await log_batch(server, run_id, metrics=batch)).status == 200
    await asyncio.gather(*(log_batch(server, run_id, metrics=batch) for _ in range(5)))

    assert await count_of(server, run_id) == 10


async def test_a_point_that_was_recorded_twice_is_one_point_to_mlflow(server: TestServer) -> None:
    run_id = await create_run(server)
    for batch in ([metric(1)], [metric(1), metric(2)], [metric(1, "NaN")], [metric(1, "NaN")]):
        assert (await log_batch(server, run_id, metrics=batch)).status == 200

    history = await get(server, "metrics/get-history", run_id=run_id, metric_key="loss")

    assert [(m["step"], m["value"]) for m in history.json["metrics"]] == [
        (1, "NaN"),
        (1, 0.5),
        (2, 0.5),
    ]


# -- one log, one world --------------------------------------------------------------------------


async def test_a_native_run_is_a_run_of_mlflows_and_the_other_way_round(server: TestServer) -> None:
    parent = await create_run(server, run_name="parent")
    started = {"name": "native", "parent_run_id": parent, "user": "me"}
    event = Event(EventType.RUN_STARTED, 1_700_000_000_000_000, started)
    assert (await server.append(events_body(1, event, run_id="native-1"))).status == 200

    native = await run_of(server, "native-1")
    tagged = await post(server, "runs/set-tag", {"run_id": "native-1", "key": "k", "value": "v"})
    seen = (await server.ask("GET", f"/api/v1/runs/{parent}")).json

    assert native["info"]["run_name"] == "native"
    assert native["info"]["start_time"] == 1_700_000_000_000
    tags = entries(native["data"]["tags"])
    assert tags == {"mlflow.runName": "native", "mlflow.parentRunId": parent}
    assert tagged.status == 200
    assert (await server.ask("GET", "/api/v1/runs/native-1")).json["tags"]["k"] == "v"
    assert (seen["name"], seen["status"]) == ("parent", "RUNNING")


async def test_a_name_is_the_tag_and_the_tag_is_the_name(server: TestServer) -> None:
    run_id = await create_run(server, tags=[{"key": "mlflow.runName", "value": "by tag"}])
    assert (await run_of(server, run_id))["info"]["run_name"] == "by tag"
    both = {"run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}
    refused = await post(server, "runs/create", both)
    assert "different values" in refused.json["message"]

    await post(server, "runs/set-tag", {"run_id": run_id, "key": "mlflow.runName", "value": "2nd"})
    assert (await run_of(server, run_id))["info"]["run_name"] == "2nd"
    updated = await post(server, "runs/update", {"run_id": run_id, "run_name": "3rd"})

    assert updated.json["run_info"]["run_name"] == "3rd"
    run = await run_of(server, run_id)
    assert entries(run["data"]["tags"])["mlflow.runName"] == "3rd"
    assert (await server.ask("GET", f"/api/v1/runs/{run_id}")).json["name"] == "3rd"


async def test_a_run_ends_is_resumed_deleted_and_restored(server: TestServer) -> None:
    run_id = await create_run(server)
    ended = {"run_id": run_id, "status": "FINISHED", "end_time": 9}
    assert (await post(server, "runs/update", ended)).json["run_info"]["end_time"] == 9
    resumed = await post(server, "runs/update", {"run_id": run_id, "status": "RUNNING"})
    assert resumed.json["run_info"]["status"] == "RUNNING"

    for _ in range(2):
        assert (await post(server, "runs/delete", {"run_id": run_id})).status == 200
    requests: dict[str, dict[str, Any]] = {
        "runs/log-batch": {"metrics": [metric(1)]},
        "runs/set-tag": {"key": "k", "value": "v"},
        "runs/log-parameter": {"key": "k", "value": "v"},
        "runs/update": {"status": "FAILED"},
    }
    for path, said in requests.items():
        refused = await post(server, path, {"run_id": run_id, **said})
        assert refused.status == 400, path
        assert "must be in the 'active' state" in refused.json["message"]

    for _ in range(2):
        assert (await post(server, "runs/restore", {"run_id": run_id})).status == 200
    assert (await log_batch(server, run_id, metrics=[metric(1)])).status == 200


async def test_runs_go_and_come_back_with_their_experiment(server: TestServer) -> None:
    created = await post(server, "experiments/create", {"name": "trash"})
    experiment = {"experiment_id": created.json["experiment_id"]}
    kept, gone = [await create_run(server, **experiment) for _ in range(2)]
    await post(server, "runs/delete", {"run_id": gone})

    await post(server, "experiments/delete", experiment)

    assert (await run_of(server, kept))["info"]["lifecycle_stage"] == "deleted"
    refused = await post(server, "runs/create", experiment)
    assert "must be in the 'active' state" in refused.json["message"]
    taken = await post(server, "experiments/create", {"name": "trash"})
    assert taken.json["error_code"] == "RESOURCE_ALREADY_EXISTS"
    renamed = await post(server, "experiments/update", {**experiment, "new_name": "other"})
    assert (renamed.status, renamed.json["error_code"]) == (500, "INVALID_STATE")
    assert (await post(server, "experiments/delete", experiment)).status == 404
    single = await post(server, "runs/restore", {"run_id": kept})
    assert "restore that one" in single.json["message"]

    await post(server, "experiments/restore", experiment)

    assert (await run_of(server, kept))["info"]["lifecycle_stage"] == "active"
    assert (await run_of(server, gone))["info"]["lifecycle_stage"] == "deleted"


# -- histories -----------------------------------------------------------------------------------


async def test_pages_of_a_history_make_the_history(server: TestServer) -> None:
    run_id = await create_run(server)
    chance = random.Random(4)
    points = [
        metric(
            chance.randint(-5, 5), chance.choice([0.0, 1.5, "NaN"]), timestamp=chance.randint(0, 9)
        )
        for _ in range(300)
    ]
    for start in range(0, 300, 100):
        await log_batch(server, run_id, metrics=points[start : start + 100])

    whole = await get(server, "metrics/get-history", run_id=run_id, metric_key="loss")
    pages, token = [], None
    while True:
        asked = {"run_id": run_id, "metric_key": "loss", "max_results": 7}
        page = await get(
            server, "metrics/get-history", **asked, **({"page_token": token} if token else {})
        )
        pages += page.json["metrics"]
        token = page.json.get("next_page_token")
        if token is None:
            break

    def order(point: dict[str, Any]) -> tuple[int, int, float, bool]:
        is_nan = point["value"] == "NaN"
        return (point["timestamp"], point["step"], 0.0 if is_nan else point["value"], is_nan)

    unique = [dict(items) for items in {tuple(sorted(point.items())) for point in points}]
    assert pages == whole.json["metrics"] == sorted(unique, key=order)
    none = await get(server, "metrics/get-history", run_id=run_id, metric_key="other")
    assert none.json == {}
    for wrong in ({"max_results": 0}, {"page_token": "%%"}, {"max_results": "x"}):
        asked = {"run_id": run_id, "metric_key": "loss", **wrong}
        assert (await get(server, "metrics/get-history", **asked)).status == 400


async def test_histories_of_many_runs_come_by_run_and_charts_by_step(server: TestServer) -> None:
    runs = sorted([await create_run(server) for _ in range(3)])
    for i, run_id in enumerate(runs):
        points = [metric(step, float(i), timestamp=100 - step) for step in range(10)]
        await log_batch(server, run_id, metrics=points)

    bulk = await get(
        server, "metrics/get-history-bulk", run_id=runs[::-1], metric_key="loss", max_results=25
    )
    chart = await get(
        server,
        "metrics/get-history-bulk-interval",
        run_ids=runs,
        metric_key="loss",
        start_step=2,
        end_step=8,
        max_results=3,
    )

    by_time = [(run_id, step) for run_id in runs for step in range(9, -1, -1)]
    assert [(m["run_id"], m["step"]) for m in bulk.json["metrics"]] == by_time[:25]
    assert [(m["run_id"], m["step"]) for m in chart.json["metrics"]] == [
        (run_id, step) for run_id in runs for step in (2, 5, 8)
    ]


# -- exactly once, durable -----------------------------------------------------------------------


async def test_many_at_once_make_one_dense_sequence(server: TestServer) -> None:
    run_id = await create_run(server)

    answers = await asyncio.gather(
        *(log_batch(server, run_id, metrics=[metric(i), metric(i, key="b")]) for i in range(200))
    )

    assert {answer.status for answer in answers} == {200}
    store = server.app[EVENT_STORE]
    batches = [
        batch
        for batch in await store.read(after=0, batches_max=1000, bytes_max=10**8, run_id=run_id)
        if batch.writer_id.startswith("mlflow-")
    ]
    assert len({batch.writer_id for batch in batches}) == 1
    assert [batch.first_seq for batch in batches] == [
        1 + sum(earlier.n for earlier in batches[:i]) for i in range(len(batches))
    ]
    assert sum(batch.n for batch in batches) == 200
    # What waits is gathered: two hundred requests cost far fewer appends.
    assert len(batches) < 100
    steps = [
        step
        for batch in batches
        for frame in decode_payload(batch.payload, n=batch.n).metrics
        for step in frame.steps.tolist()
    ]
    assert sorted(steps) == list(range(200))


async def test_what_failed_to_be_stored_can_be_sent_again(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await create_run(server)
    assert (await log_batch(server, run_id, metrics=[metric(0)])).status == 200
    encode, failures = wire.encode_payload, [OSError("no"), OSError("no")]

    def failing(frames: Any) -> Any:
        if failures:
            raise failures.pop()
        return encode(frames)

    monkeypatch.setattr(wire, "encode_payload", failing)
    for _ in range(2):
        assert (await log_batch(server, run_id, metrics=[metric(1)])).status == 500
    assert (await log_batch(server, run_id, metrics=[metric(1)])).status == 200

    assert await count_of(server, run_id) == 2


async def test_a_restart_begins_a_writer_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        run_id = await create_run(server)
        await log_batch(server, run_id, metrics=[metric(i) for i in range(5)])
    async with serving(tmp_path) as server:
        await log_batch(server, run_id, metrics=[metric(i) for i in range(3, 9)])
        history = await get(server, "metrics/get-history", run_id=run_id, metric_key="loss")

    assert [m["step"] for m in history.json["metrics"]] == list(range(9))


# -- who may ask ---------------------------------------------------------------------------------


async def test_a_key_is_taken_as_token_and_as_password(tmp_path: Path) -> None:
    basic = base64.b64encode(f"anyone:{KEY}".encode()).decode()
    wrong = base64.b64encode(b"anyone:other").decode()
    async with serving(tmp_path, api_key=KEY) as server:
        answers = {}
        for given in (f"Bearer {KEY}", f"Basic {basic}", f"Basic {wrong}", "Basic %", "", "Bearer"):
            answers[given] = await server.ask(
                "GET",
                f"{API}/experiments/get?experiment_id=0",
                headers={"Authorization": given} if given else {},
            )

    assert [answer.status for answer in answers.values()] == [200, 200, 401, 401, 401, 401]
    assert answers[""].json["error_code"] == "UNAUTHENTICATED"


async def test_a_page_of_another_site_may_not_log(server: TestServer) -> None:
    answer = await server.ask(
        "POST", f"{API}/runs/create", json={}, headers={"Origin": "https://evil.example"}
    )

    assert (answer.status, answer.json["error_code"]) == (403, "PERMISSION_DENIED")


# -- inputs --------------------------------------------------------------------------------------


async def test_inputs_are_kept_once(server: TestServer) -> None:
    run_id = await create_run(server)
    dataset = {"name": "d", "digest": "x", "source_type": "local", "source": "s", "schema": "{}"}
    tag = {"key": "mlflow.data.context", "value": "train"}
    said = {"run_id": run_id, "datasets": [{"dataset": dataset, "tags": [tag]}]}
    for _ in range(2):
        assert (await post(server, "runs/log-inputs", said)).json == {}

    inputs = (await run_of(server, run_id))["inputs"]

    assert inputs["dataset_inputs"] == [{"dataset": dataset, "tags": [tag]}]
    for change, message in (
        ({"name": None}, "Dataset name cannot be None"),
        ({"digest": "d" * 37}, "'digest' exceeds the maximum length of 36"),
        ({"source": 5}, "Invalid value 5"),
    ):
        wrong = {"run_id": run_id, "datasets": [{"dataset": dataset | change}]}
        refused = await post(server, "runs/log-inputs", wrong)
        assert (refused.status, message in refused.json["message"]) == (400, True)


async def test_datasets_of_experiments_are_summed_up(server: TestServer) -> None:
    for digest in ("x", "x", "y"):
        run_id = await create_run(server)
        dataset = {"name": "d", "digest": digest, "source_type": "local", "source": "s"}
        tags = [{"key": "mlflow.data.context", "value": "train"}] if digest == "x" else []
        said = {"run_id": run_id, "datasets": [{"dataset": dataset, "tags": tags}]}
        await post(server, "runs/log-inputs", said)

    found = await post(server, "experiments/search-datasets", {"experiment_ids": ["0"]})

    assert sorted(found.json["dataset_summaries"], key=lambda s: s["digest"]) == [
        {"experiment_id": "0", "name": "d", "digest": "x", "context": "train"},
        {"experiment_id": "0", "name": "d", "digest": "y"},
    ]
    none = await post(server, "experiments/search-datasets", {"experiment_ids": []})
    assert "must specify at least one experiment_id" in none.json["message"]


async def test_old_clients_models_are_a_tag(server: TestServer) -> None:
    run_id = await create_run(server)
    model = '{"artifact_path": "m", "flavors": {"f": {"config": 1, "v": 2}}, "run_id": "r"'
    said = {"run_id": run_id, "model_json": model + "}"}
    missing = await post(server, "runs/log-model", said)
    assert "missing mandatory fields: {'utc_time_created'}" in missing.json["message"]

    said["model_json"] = model + ', "utc_time_created": "t"}'
    for _ in range(2):
        assert (await post(server, "runs/log-model", said)).status == 200

    tag = entries((await run_of(server, run_id))["data"]["tags"])["mlflow.log-model.history"]
    assert tag.count('"flavors": {"f": {"v": 2}}') == 2
