"""The chain of places that may name a destination, and how a wrong one is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tests.support.recorded import isolated_sdk
from tracker import config, destination
from tracker.errors import InvalidSetting, InvalidUri


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with isolated_sdk(tmp_path, monkeypatch):
        yield tmp_path


def write_project(folder: Path, **values: str) -> None:
    lines = [f'{name} = "{value}"' for name, value in values.items()]
    (folder / "pyproject.toml").write_text("[tool.tracker]\n" + "\n".join(lines))


def test_every_link_of_the_chain_gives_way_to_the_one_before(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert destination.destination() == ("local", "default")
    write_project(home, uri="https://project.example")
    assert tracker.get_tracking_uri() == "https://project.example"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000/")
    assert tracker.get_tracking_uri() == "http://mlflow.example:5000"
    monkeypatch.setenv("TRACKER_URI", "http://env.example")
    assert tracker.get_tracking_uri() == "http://env.example"
    tracker.set_tracking_uri("http://called.example/prefix/")
    assert tracker.get_tracking_uri() == "http://called.example/prefix"


def test_the_chain_describes_itself_with_one_winner(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlruns.db")
    write_project(home, uri="https://project.example")

    links = destination.describe_chain()

    assert [link.won for link in links] == [False, False, False, True, False]
    assert links[2].note == "ignored: not http(s)"
    assert (links[3].value, links[4].value) == ("https://project.example", "local")


def test_a_wrong_link_is_described_and_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_URI", "ftp://host")

    (winner,) = [link for link in destination.describe_chain() if link.won]

    assert "TRACKER_URI" in winner.note
    with pytest.raises(InvalidUri):
        tracker.get_tracking_uri()


def test_children_inherit_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker.set_tracking_uri("http://host:1")

    assert os.environ["TRACKER_URI"] == "http://host:1"
    assert [link.source for link in destination.describe_chain() if link.won] == [
        "set_tracking_uri()"
    ]


@pytest.mark.parametrize(
    "uri",
    ["ftp://host", "http://", "http:///path", "host:5000", "sqlite:///x.db", "./mlruns",
     "http://host:99999", "http://user:secret@host", "http://host?x=1", "http://host#x",
     "http://[::1", "http://ho st", "databricks"],
)  # fmt: skip
def test_what_no_shipper_could_reach_is_refused(uri: str) -> None:
    with pytest.raises(InvalidUri) as error:
        tracker.set_tracking_uri(uri)

    assert "secret" not in str(error.value)
    assert tracker.get_tracking_uri() == "local"


@pytest.mark.parametrize(
    ("uri", "plain"),
    [("LOCAL", "local"), (" http://h ", "http://h"), ("https://h:1/a/b//", "https://h:1/a/b"),
     ("http://[::1]:5000", "http://[::1]:5000")],
)  # fmt: skip
def test_a_destination_is_kept_in_its_plain_form(uri: str, plain: str) -> None:
    tracker.set_tracking_uri(uri)
    assert tracker.get_tracking_uri() == plain


def test_a_project_sets_spool_mode_and_experiment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKER_MODE")
    write_project(home, spool_dir="data/spool", mode="offline", experiment="digits")
    (home / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(home / "deep" / "er")

    assert config.spool_dir() == home / "data" / "spool"
    assert config.mode() == "offline"
    assert config.experiment() == ("digits", None)


def test_a_project_that_cannot_be_followed_is_refused_by_name(home: Path) -> None:
    write_project(home, url="http://host")
    with pytest.raises(InvalidSetting, match=r"no key 'url'.*uri"):
        tracker.get_tracking_uri()


def test_a_broken_project_file_does_not_stop_training(home: Path) -> None:
    (home / "pyproject.toml").write_text("[tool.tracker\nuri = ")

    assert tracker.get_tracking_uri() == "local"
    assert any("cannot be parsed" in link.note for link in destination.describe_chain())


@pytest.mark.parametrize(
    ("name", "value"),
    [("TRACKER_MODE", "sometimes"), ("TRACKER_EXIT_WAIT_S", "long"), ("TRACKER_SHIPPER", "x"),
     ("TRACKER_DURABILITY", "ram"), ("TRACKER_QUIET", "maybe"), ("TRACKER_WORKSPACE", "../x"),
     ("TRACKER_RUN_ID", "../../etc")],
)  # fmt: skip
def test_a_variable_that_cannot_be_followed_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=name):
        tracker.start_run()


def test_what_is_handed_down_is_taken_back_and_not_read_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKER_EXPERIMENT_NAME", "mine")

    config.hand_down({"TRACKER_EXPERIMENT_NAME": "theirs", "TRACKER_RUN_ID": "r1"})

    assert os.environ["TRACKER_EXPERIMENT_NAME"] == "theirs"
    assert config.experiment() == ("mine", None)
    assert config.inherited_run() == (None, None)
    config.hand_down({})
    assert os.environ["TRACKER_EXPERIMENT_NAME"] == "mine"
    assert "TRACKER_RUN_ID" not in os.environ
