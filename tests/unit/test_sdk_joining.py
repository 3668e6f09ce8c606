"""Which part a process plays in a run, by arguments, environment and rank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tests.support.recorded import isolated_sdk, recorded
from tracker import joining
from tracker.joining import Part


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with isolated_sdk(tmp_path, monkeypatch):
        yield tmp_path


def part(monkeypatch: pytest.MonkeyPatch, run_id: str | None = None, **env: str) -> Part:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return joining.part_of(run_id=run_id, is_nested=False)


def test_without_any_word_a_process_owns_a_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    own = part(monkeypatch)
    assert (own.is_owner, own.is_new, own.rank) == (True, True, None)


def test_a_child_of_the_owner_joins_whatever_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    own = part(monkeypatch, TRACKER_RUN_ID="r1", TRACKER_RUN_OWNER="1@elsewhere", RANK="0")
    assert (own.run_id, own.is_owner, own.rank) == ("r1", False, 0)


def test_a_run_id_alone_is_resumed_and_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    own = part(monkeypatch, TRACKER_RUN_ID="r1")
    assert (own.run_id, own.is_owner, own.is_new) == ("r1", True, False)


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "LOCAL_RANK"])
def test_rank_zero_owns_and_the_others_join(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert part(monkeypatch, TRACKER_RUN_ID="r1", **{name: "0"}).is_owner
    other = part(monkeypatch, TRACKER_RUN_ID="r1", **{name: "3"})
    assert (other.is_owner, other.rank) == (False, 3)
    assert not part(monkeypatch, run_id="given", **{name: "3"}).is_owner


def test_a_nested_run_below_an_inherited_one_is_owned(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_RUN_ID", "r1")
    monkeypatch.setenv("TRACKER_RUN_OWNER", "1@elsewhere")

    with tracker.start_run(nested=True) as run:
        assert run.is_owner

    (writer,) = recorded(home)
    assert writer.data_of("run.started")["parent_run_id"] == "r1"


def test_a_joined_run_says_who_joined_and_is_not_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_RUN_ID", "r1")
    monkeypatch.setenv("TRACKER_RUN_OWNER", "1@elsewhere")
    monkeypatch.setenv("RANK", "2")

    with tracker.start_run():
        tracker.log_metric("loss", 1.0)

    (writer,) = recorded(home)
    assert writer.types == ["run.joined"]
    assert writer.data_of("run.joined")["rank"] == 2
    assert writer.meta.rank == 2
    assert not writer.meta.is_owner


def test_a_run_named_by_the_environment_is_gone_on_with_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_RUN_ID", "r1")

    with tracker.start_run() as first:
        pass
    with tracker.start_run() as second:
        pass

    assert first.run_id == "r1"
    assert second.run_id != "r1"
    resumed = recorded(home)[0]
    assert resumed.types[:2] == ["run.started", "run.resumed"]
    assert resumed.data_of("run.started")["name"] == first.name


def test_children_are_told_of_the_innermost_run_and_then_of_none(home: Path) -> None:
    environ = os.environ
    with tracker.start_run() as outer:
        assert environ["TRACKER_RUN_ID"] == outer.run_id
        with tracker.start_run(nested=True) as inner:
            assert environ["TRACKER_RUN_ID"] == inner.run_id
            assert environ["TRACKER_RUN_OWNER"] == joining.owner_name()
            assert environ["TRACKER_SPOOL_DIR"] == str(home / "spool")
        assert environ["TRACKER_RUN_ID"] == outer.run_id
    assert "TRACKER_RUN_ID" not in environ
    assert "TRACKER_RUN_OWNER" not in environ
    assert "TRACKER_SPOOL_DIR" not in environ
