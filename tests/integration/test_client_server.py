"""The clients against a real server: what was logged comes back, and edits are seen."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess, running_server, start_script
from tracker.async_client import AsyncClient
from tracker.refusals import ExperimentExists, RunNotFound

FILL = """
import struct, tracker
tracker.set_experiment("digits")
for i in range(3):
    with tracker.start_run(run_name=f"run-{i}") as run:
        run.log_params({"lr": 10.0 ** -i})
        for step in range(-50, 5000):
            run.log_metric("val/loss", 99.0 if step == 3210 else 1 / (step + 100 + i), step=step)
        for step, value in enumerate((float("nan"), float("-inf"), -0.0, 5e-324)):
            run.log_metric("odd", value, step=step)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("home")
    with running_server(home) as server:
        script = start_script(home, FILL, TRACKER_URI=server.uri, TRACKER_EXIT_WAIT_S="90")
        _, errors = script.communicate(timeout=180)
        assert script.returncode == 0, errors
        yield server


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.uri) as client:
        yield client


async def run_id_of(client: AsyncClient, name: str) -> str:
    [run] = await client.search_runs(filter_string=f"name = '{name}'")
    return run.info.run_id


async def test_the_exact_series_comes_back(client: AsyncClient) -> None:
    run_id = await run_id_of(client, "run-1")

    history = await client.metric_history(run_id, "val/loss")
    some = await client.metric_history(run_id, "val/loss", start_step=3209, end_step=3211)
    odd = await client.metric_history(run_id, "odd")

    expected = [99.0 if step == 3210 else 1 / (step + 101) for step in range(-50, 5000)]
    assert history.steps.tolist() == list(range(-50, 5000))
    assert history.values.tolist() == expected
    assert some.values.tolist() == expected[3259:3262]
    assert list(map(repr, odd.values)) == ["nan", "-inf", "-0.0", "5e-324"]


async def test_a_chart_keeps_the_spike(client: AsyncClient) -> None:
    run_id = await run_id_of(client, "run-1")

    series = await client.metric_buckets(run_id, "val/loss", buckets=40)

    assert series.is_reduced
    assert len(series) <= 40
    assert max(series.max) == 99.0
    assert sum(series.count) == series.points == 5050


async def test_charts_of_many_runs_come_in_one_answer(client: AsyncClient) -> None:
    ids = [await run_id_of(client, f"run-{i}") for i in range(3)]

    found = await client.query_metrics(ids, ["val/loss", "odd"], buckets=10)

    assert [(s.run_id, s.key) for s in found] == [(i, k) for i in ids for k in ("val/loss", "odd")]
    assert math.isnan(found[1].min[0])


async def test_edits_are_seen_by_the_next_read(client: AsyncClient) -> None:
    run_id = await run_id_of(client, "run-0")

    for i in range(5):
        await client.set_tags(run_id, {"round": i, "kept": "yes"})
        run = await client.get_run(run_id)
        assert run.data.tags["round"] == str(i)
    await client.delete_tag(run_id, "round")
    await client.update_run(run_id, name="renamed")
    [found] = await client.search_runs(filter_string="tags.kept = 'yes'")

    assert "round" not in found.data.tags
    assert found.info.run_name == "renamed"
    await client.update_run(run_id, name="run-0")


async def test_a_deleted_run_is_found_among_the_deleted_only(client: AsyncClient) -> None:
    run_id = await run_id_of(client, "run-2")

    await client.delete_run(run_id)
    active = await client.search_runs()
    deleted = await client.search_runs(run_view_type=2)
    await client.restore_run(run_id)

    assert run_id not in {run.info.run_id for run in active}
    assert {run.info.run_id for run in deleted} == {run_id}
    assert (await client.get_run(run_id)).info.lifecycle_stage == "active"


async def test_an_experiment_is_found_by_name_the_active_one_first(client: AsyncClient) -> None:
    first = await client.create_experiment("cats", tags={"team": "vision"})
    with pytest.raises(ExperimentExists):
        await client.create_experiment("cats")
    await client.delete_experiment(first)
    second = await client.create_experiment("cats")
    await client.set_experiment_tag(second, "note", "again")

    found = await client.get_experiment_by_name("cats")

    assert found is not None
    assert (found.experiment_id, found.tags) == (second, {"note": "again"})
    assert (await client.get_experiment(first)).lifecycle_stage == "deleted"
    assert await client.get_experiment_by_name("dogs") is None


async def test_pages_follow_each_other_without_holes(client: AsyncClient) -> None:
    walked = [run.info.run_name async for run in client.iter_runs(page_rows=1)]

    assert sorted(walked) == ["run-0", "run-1", "run-2"]


async def test_an_unknown_run_is_a_refusal_with_its_name(client: AsyncClient) -> None:
    with pytest.raises(RunNotFound, match="nothing-like-it"):
        await client.get_run("nothing-like-it")


async def test_keys_are_found_by_prefix(client: AsyncClient) -> None:
    assert await client.search_keys("metrics", "val") == ["val/loss"]


async def test_the_server_verifies_and_rebuilds_when_asked(client: AsyncClient) -> None:
    report = await client.verify()
    builds = await client.rebuild("runs")

    assert report["is_clean"], report
    assert [build["projection"] for build in builds] == ["runs"]
    assert (await client.ready())["status"] == "ready"


async def test_events_are_read_from_a_position_to_the_end(client: AsyncClient) -> None:
    head = (await client.ready())["head"]
    run_id = await run_id_of(client, "run-1")

    every = [event["position"] async for event in client.events()]
    of_run = [event async for event in client.events(run_id=run_id, type="params.logged")]
    tail = [event["position"] async for event in client.events(after=head - 10)]

    assert every == list(range(1, head + 1))
    assert [event["data"]["params"] for event in of_run] == [{"lr": "0.1"}]
    assert tail == every[-10:]


def test_a_follower_of_the_fluent_functions_reads_what_its_process_logged(tmp_path: Path) -> None:
    script = """
import tracker
with tracker.start_run(run_name="own") as run:
    run.log_metric("loss", 0.5, step=3)
    seen = tracker.get_run(run.info.run_id)
    assert seen.data.metrics == {"loss": 0.5}, seen
    assert seen.info.liveness == "live"
    assert tracker.get_metric_history(run.info.run_id, "loss")[0].step == 3
frame = tracker.search_runs(search_all_experiments=True)
assert list(frame["metrics.loss"]) == [0.5], frame
"""
    with running_server(tmp_path) as server:
        done = start_script(tmp_path, script, TRACKER_URI=server.uri, TRACKER_EXIT_WAIT_S="90")
        _, errors = done.communicate(timeout=180)

    assert done.returncode == 0, errors
