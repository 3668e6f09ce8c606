"""The commands against a real server, as a person types them."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.support.processes import ServerProcess, environment, running_server, start_script
from tracker.cli.main import tracker

FILL = """
import math, tracker
tracker.set_experiment("digits")
with tracker.start_run(run_name="sweep"):
    for lr in (0.1, 0.01, 0.001):
        with tracker.start_run(run_name=f"lr-{lr}", nested=True) as run:
            run.log_params({"lr": lr, "optimizer": "adam"})
            run.set_tag("team", "vision")
            for step in range(2000):
                run.log_metric("loss", 50.0 if step == 1234 else math.exp(-step * lr), step=step)
            run.log_metric("odd", float("nan"), step=1)
            run.log_metric("odd", 1.5, step=2)
tracker.set_experiment("other")
with tracker.start_run(run_name="twin"): pass
with tracker.start_run(run_name="twin"): pass
try:
    with tracker.start_run(run_name="broken"):
        raise RuntimeError("boom")
except RuntimeError:
    pass
"""

Tracker = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("home")
    with running_server(home) as server:
        script = start_script(home, FILL, TRACKER_URI=server.uri, TRACKER_EXIT_WAIT_S="90")
        _, errors = script.communicate(timeout=180)
        assert script.returncode == 0, errors
        yield server


@pytest.fixture
def cli(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    for name in [name for name in os.environ if name.startswith(("TRACKER_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKER_HOME", str(server.home))
    monkeypatch.setenv("TRACKER_URI", server.uri)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(tracker, list(arguments))

    return run


def parsed(done: Result) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def found_id(cli: Tracker, name: str) -> str:
    run_id: str = parsed(cli("runs", "show", name, "--json"))["info"]["run_id"]
    return run_id


def test_runs_are_searched_ordered_and_counted_on_stderr(cli: Tracker) -> None:
    done = cli("runs", "search", "-e", "digits", "--order-by", "params.lr DESC")

    lines = click.unstyle(done.stdout).splitlines()
    assert done.exit_code == 0
    assert lines[0].split()[:5] == ["RUN", "NAME", "STATUS", "STARTED", "TOOK"]
    assert [line.split()[1] for line in lines[1:]] == ["lr-0.1", "lr-0.01", "lr-0.001", "sweep"]
    assert done.stderr == "4 runs\n"


def test_columns_are_chosen(cli: Tracker) -> None:
    done = cli(
        "runs", "search", "--filter", "metrics.loss.max > 40 AND params.lr = '0.01'",
        "--columns", "name,metrics.loss.max,params.lr,tags.team",
    )  # fmt: skip

    assert click.unstyle(done.stdout).splitlines()[1].split() == ["lr-0.01", "50", "0.01", "vision"]


def test_json_has_every_run_with_all_it_knows(cli: Tracker) -> None:
    runs = parsed(cli("runs", "search", "-e", "digits", "--json"))

    by_name = {run["info"]["run_name"]: run for run in runs}
    assert by_name["lr-0.1"]["data"]["summaries"]["odd"]["nan_count"] == 1
    assert by_name["lr-0.1"]["info"]["parent_run_id"] == by_name["sweep"]["info"]["run_id"]


def test_a_wrong_filter_is_shown_with_the_place(cli: Tracker) -> None:
    done = cli("runs", "search", "--filter", "metrics.loss ~ 3")

    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == "^")
    assert lines[at - 1][lines[at].index("^")] == "~"


def test_a_run_is_named_by_id_prefix_or_name(cli: Tracker) -> None:
    run_id = found_id(cli, "lr-0.1")

    for text in (run_id, run_id[:10], "lr-0.1"):
        assert run_id in cli("runs", "show", text).stdout


def test_a_name_of_two_runs_is_not_guessed(cli: Tracker) -> None:
    done = cli("runs", "show", "twin")

    assert done.exit_code == 1
    assert "means 2 runs" in done.stderr


def test_an_unknown_run_is_answered_with_the_nearest(cli: Tracker) -> None:
    done = cli("runs", "show", "lr-0.11")

    assert done.exit_code == 1
    assert "there is no run 'lr-0.11'" in done.stderr
    assert "Did you mean lr-0" in done.stderr


def test_show_tells_how_a_run_ended_and_who_wrote_it(cli: Tracker) -> None:
    text = click.unstyle(cli("runs", "show", "broken").stdout)

    assert "broken  FAILED" in text
    assert "RuntimeError" in text
    assert "Writers (1)" in text


def test_compare_shows_what_differs_only(cli: Tracker) -> None:
    done = cli("runs", "compare", "lr-0.1", "lr-0.001", "--only-different", "--json")

    fields = {(f["section"], f["key"]): f["values"] for f in parsed(done)["fields"]}
    assert fields[("params", "lr")] == ["0.1", "0.001"]
    assert ("params", "optimizer") not in fields


def test_deleted_runs_leave_the_search_and_come_back(cli: Tracker) -> None:
    run_id = found_id(cli, "sweep")

    assert "undo: tracker runs restore" in cli("runs", "delete", "sweep").stderr
    names = [r["info"]["run_name"] for r in parsed(cli("runs", "search", "--json"))]
    deleted = parsed(cli("runs", "search", "--view", "deleted_only", "--json"))
    cli("runs", "restore", run_id[:12])

    assert "sweep" not in names
    assert [run["info"]["run_id"] for run in deleted] == [run_id]
    assert parsed(cli("runs", "show", "sweep", "--json"))["info"]["lifecycle_stage"] == "active"


def test_an_experiment_lives_from_creation_to_restoration(cli: Tracker) -> None:
    experiment_id = cli("experiments", "create", "birds", "--tag", "team=vision").stdout.strip()
    again = cli("experiments", "create", "birds")
    cli("experiments", "rename", "birds", "finches")
    cli("experiments", "delete", experiment_id)
    deleted = parsed(cli("experiments", "search", "--view", "deleted_only", "--json"))
    cli("experiments", "restore", "finches")
    active = parsed(cli("experiments", "search", "--json"))

    assert (again.exit_code, "birds" in again.stderr) == (1, True)
    assert [e["name"] for e in deleted] == ["finches"]
    assert {e["experiment_id"]: e["tags"] for e in active}[experiment_id] == {"team": "vision"}


def test_experiments_are_listed_with_their_runs(cli: Tracker) -> None:
    lines = click.unstyle(cli("experiments", "search").stdout).splitlines()

    assert any(line.split()[1:3] == ["digits", "4"] for line in lines)


def test_an_unknown_experiment_is_answered_with_the_nearest(cli: Tracker) -> None:
    done = cli("runs", "search", "-e", "digitz")

    assert done.exit_code == 1
    assert "Did you mean 'digits'" in done.stderr


def test_a_metric_is_plotted_with_its_spike(cli: Tracker) -> None:
    done = cli("metrics", "lr-0.1", "loss", "--width", "80", "--height", "16")

    lines = click.unstyle(done.stdout).splitlines()
    assert done.exit_code == 0, done.output
    assert "2,000 points" in lines[0]
    assert "max 50 at 1,234" in lines[1]
    assert "⡇" in lines[2] or "⢸" in lines[2] or "⡀" in lines[2]
    assert any(line.rstrip().endswith("1,999") for line in lines)


def test_metrics_are_listed_and_an_unknown_key_is_answered_with_the_nearest(cli: Tracker) -> None:
    listed = click.unstyle(cli("metrics", "lr-0.1").stdout)
    wrong = cli("metrics", "lr-0.1", "los")

    assert [line.split()[0] for line in listed.splitlines()] == ["KEY", "loss", "odd"]
    assert wrong.exit_code == 1
    assert "Did you mean loss" in wrong.stderr


def test_csv_and_json_are_exact(cli: Tracker) -> None:
    done = cli("metrics", "lr-0.01", "loss", "--csv", "--start-step", "3", "--end-step", "5")
    odd = parsed(cli("metrics", "lr-0.01", "odd", "--json"))

    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [float(row["value"]) for row in rows] == [math.exp(-s * 0.01) for s in (3, 4, 5)]
    assert [point["value"] for point in odd["points"]] == ["NaN", 1.5]


def test_events_of_a_run_are_printed_in_order(cli: Tracker) -> None:
    done = cli("events", "lr-0.1", "--json")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    positions = [event["position"] for event in events]
    assert positions == sorted(positions)
    assert events[0]["type"] == "run.started"
    assert events[-1]["type"] == "run.ended"
    assert len(events) > 2000


def test_events_are_filtered_and_readable(cli: Tracker) -> None:
    done = cli("events", "--type", "run.ended")

    lines = click.unstyle(done.stdout).splitlines()
    assert len(lines) == 7
    assert sum("FAILED" in line for line in lines) == 1


def test_events_are_followed_as_they_come(cli: Tracker, server: ServerProcess) -> None:
    head = server.get("/ready")["head"]

    def log_later() -> None:
        time.sleep(0.5)
        server.post(
            "/api/v1/append",
            {
                "run_id": "late", "writer_id": "w-late", "first_seq": 1,
                "events": [{"type": "run.started", "time_us": 1, "data": {"name": "late"}}],
            },
        )  # fmt: skip

    thread = threading.Thread(target=log_later)
    thread.start()
    done = cli("events", "--follow", "--after", str(head), "--limit", "1", "--json")
    thread.join()

    assert json.loads(done.stdout)["data"] == {"name": "late"}


def test_doctor_is_content_with_a_server_that_answers(cli: Tracker, server: ServerProcess) -> None:
    findings = parsed(cli("doctor", "--json"))

    assert findings["ok"]
    texts = {f["name"]: f["text"] for f in findings["findings"]}
    assert server.uri in texts["server"]
    assert "counts" in texts["destination"]


def test_a_server_that_is_away_is_told_with_what_to_do(cli: Tracker) -> None:
    done = cli("runs", "search", "--uri", "http://127.0.0.1:9")
    doctor = cli("doctor", "--uri", "http://127.0.0.1:9")

    assert done.exit_code == 3
    assert "tracker server" in done.stderr
    assert doctor.exit_code == 1


def test_doctor_counts_what_the_spool_still_holds(
    cli: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = start_script(
        tmp_path,
        "import tracker\nwith tracker.start_run(mode='offline') as run:\n"
        "    for i in range(10): run.log_metric('x', i)",
    )
    assert script.wait(180) == 0
    script.communicate()
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))

    findings = parsed(cli("doctor", "--json"))["findings"]

    [spool] = [f for f in findings if f["name"] == "spool"]
    assert "not confirmed" in spool["text"]
    assert "tracker sync" in spool["advice"]


def test_following_outlives_a_restart_of_the_server_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    def start_of_run(run_id: str) -> dict[str, Any]:
        event = {"type": "run.started", "time_us": 1, "data": {"name": run_id}}
        return {"run_id": run_id, "writer_id": run_id, "first_seq": 1, "events": [event]}

    with running_server(tmp_path) as server:
        following = subprocess.Popen(
            [sys.executable, "-m", "tracker", "events", "--follow", "--json"],
            env=environment(tmp_path, TRACKER_URI=server.uri, PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert following.stdout is not None
        server.post("/api/v1/append", start_of_run("first"))
        seen = [json.loads(following.stdout.readline())]
        server.stop()
        server.start()
        server.post("/api/v1/append", start_of_run("second"))
        seen.append(json.loads(following.stdout.readline()))
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=90)

    assert [event["run_id"] for event in seen] == ["first", "second"]
    assert (following.returncode, errors) == (0, "")


def test_a_run_is_shown_as_it_was(cli: Tracker) -> None:
    events = [json.loads(line) for line in cli("events", "lr-0.1", "--json").stdout.splitlines()]
    middle = next(e["position"] for e in events if e["data"].get("step") == 100)

    past = parsed(cli("runs", "show", "lr-0.1", "--as-of-position", str(middle), "--json"))
    before = cli("runs", "show", "lr-0.1", "--as-of-time", "2020-01-01")

    assert past["info"]["status"] == "RUNNING"
    assert past["data"]["summaries"]["loss"]["count"] == 101
    assert before.exit_code == 1
