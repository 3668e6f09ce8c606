"""Files and names that cannot be logged: said at the call, nothing half recorded, nothing lost."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tracker
from tests.support.recorded import isolated_sdk, recorded
from tracker import notices
from tracker.artifacts import files
from tracker.events.errors import InvalidEvent
from tracker.spool import staging


@pytest.fixture(autouse=True)
def _sdk(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setattr(notices.notices, "_warned", set())
    home = tmp_path_factory.mktemp("home")
    with isolated_sdk(home, monkeypatch):
        monkeypatch.setenv("TRACKER_QUIET", "0")
        tracker.start_run()
        yield


def logged() -> dict[str, int]:
    """path -> size of what is recorded; every record has its staged file."""
    home = Path.cwd()
    tracker.flush(0)
    events = [event for writer in recorded(home) for event in writer.events]
    found = {d["path"]: d["size"] for kind, d in events if kind == "artifact.logged"}
    staged = {path.name.partition(".")[0] for path in home.rglob("blobs/*")}
    assert {d["digest"] for kind, d in events if kind == "artifact.logged"} == staged
    return found


def dropped() -> list[str]:
    events = [event for writer in recorded(Path.cwd()) for event in writer.events]
    return [data["reason"] for kind, data in events if kind == "events.dropped"]


@pytest.mark.parametrize(
    "name",
    [
        "../out", "a/../../out", "..%2fout", "%2e%2e/out", "%252e%252e%252fout", "..%5cout",
        "..\\out", "/etc/passwd", "%2fetc/passwd", "C:/out", "\\\\host\\share", "a\0b", "nul",
        "COM1.txt", "x" * 4_000, "x/" * 2_000 + "x",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_or_cannot_be_one_is_refused_by_every_call(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("x")

    calls: tuple[Callable[[], object], ...] = (
        lambda: tracker.log_text("x", name),
        lambda: tracker.log_dict({}, name),
        lambda: tracker.log_table([{"a": 1}], name),
        lambda: tracker.log_artifact(tmp_path / "file", name),
        lambda: tracker.log_artifacts(tmp_path, name),
        lambda: tracker.log_artifact("s3://bucket/key", name, reference=True),
    )
    for call in calls:
        with pytest.raises(InvalidEvent):
            call()

    assert logged() == {}


@pytest.mark.parametrize("name", ["t", "t.csv", "t.json.txt"])
def test_a_table_whose_name_says_another_format_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent, match=r"\.json or a \.parquet"):
        tracker.log_table([{"a": 1}], name)

    assert logged() == {}


def test_one_bad_name_in_a_folder_logs_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "con.txt").write_text("no file on Windows")

    with pytest.raises(InvalidEvent, match=r"con\.txt"):
        tracker.log_artifacts(tmp_path)

    assert logged() == {}


def test_links_out_of_a_folder_and_what_is_no_file_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    (folder / "sub").mkdir(parents=True)
    secret.write_text("not for the run")
    (folder / "real.txt").write_text("real")
    (folder / "inside.txt").symlink_to("real.txt")
    (folder / "outside.txt").symlink_to(secret)
    (folder / "sub" / "up").symlink_to(tmp_path)
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "fifo")

    tracker.log_artifacts(folder)

    assert logged() == {"real.txt": 4, "inside.txt": 4}
    assert (
        "is a link out of the folder" in (said := capsys.readouterr().err) or "and 3 more" in said
    )


@pytest.mark.parametrize("fault", [errno.EACCES, errno.ENOENT, errno.EIO])
def test_a_file_that_vanishes_or_cannot_be_read_is_said_and_the_others_are_logged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: int,
) -> None:
    """The file is there when the folder is listed, and refuses to be opened afterwards."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    take = staging.Staging.take_file

    def refusing(self: staging.Staging, source: Path) -> staging.StagedFile:
        if source.name == "b":
            raise OSError(fault, os.strerror(fault), str(source))
        return take(self, source)

    monkeypatch.setattr(staging.Staging, "take_file", refusing)
    tracker.log_artifacts(tmp_path)
    with pytest.raises(OSError, match=os.strerror(fault)):
        tracker.log_artifact(tmp_path / "b")

    assert logged() == {"a": 1, "c": 1}
    assert f"b cannot be read: {os.strerror(fault)}" in capsys.readouterr().err


def test_a_missing_file_and_one_that_is_none_are_errors_of_the_call(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tracker.log_artifact(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        tracker.log_artifacts(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        tracker.log_artifact(tmp_path / "missing", reference=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidEvent, match="no folder"):
        tracker.log_artifacts(tmp_path / "file")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(InvalidEvent, match="socket"):
            tracker.log_artifact(tmp_path / "socket")

    assert logged() == {}


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_full_spool_loses_the_file_which_is_said_and_recorded_and_the_run_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    size: int,
) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("tracker.spool.copying.write_all", full)
        patch.setattr("tracker.spool.staging.write_all", full)
        tracker.log_artifact(tmp_path / "file", "lost")
        tracker.log_text("text", "lost.txt")
    tracker.log_text("kept", "kept.txt")

    assert logged() == {"kept.txt": 4}
    assert [reason.partition(" could")[0] for reason in dropped()] == [
        "artifact 'lost/file'",
        "artifact 'lost.txt'",
    ]
    assert "it is LOST" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"no HTTP at all\r\n\r\n", b"", b"HTTP/1.0 200 OK\r\n%s\r\n"])
def test_a_reference_is_recorded_whatever_the_place_answers(answer: bytes) -> None:
    if b"%s" in answer:
        answer %= b'Content-Length: many\r\nETag: "v1"\r\n'

    def answering(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answering, args=(listening,))
        thread.start()
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}/weights.pt"
        tracker.log_artifact(uri, "refs", reference=True)
        thread.join()
        wait_for_answers()

    facts = logged_facts()
    assert facts[0] == {"path": "refs/weights.pt", "uri": uri}
    assert facts[1:] == ([{**facts[0], "etag": '"v1"'}] if b"ETag" in answer else [])


def test_a_reference_needs_no_answer_to_be_recorded_and_a_late_one_replaces_nothing_newer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()

    def slow(uri: str) -> dict[str, object]:
        answers.wait(60)
        return {"etag": "late"}

    monkeypatch.setattr(files, "_asked_over_http", slow)
    tracker.log_artifact("http://host.example/a", reference=True)
    tracker.log_artifact("http://host.example/b", reference=True)
    assert [data["uri"] for data in logged_facts()] == [
        "http://host.example/a",
        "http://host.example/b",
    ]
    tracker.log_text("newer", "a")
    answers.set()
    wait_for_answers()

    assert [(d["path"], d.get("etag")) for d in logged_facts()] == [
        ("a", None), ("b", None), ("a", None), ("b", "late"),
    ]  # fmt: skip


def wait_for_answers() -> None:
    """Until what was asked about references is recorded; a run's end waits less than a test."""
    for thread in threading.enumerate():
        if thread.name == "tracker-artifacts":
            thread.join(60)


def logged_facts() -> list[dict[str, Any]]:
    return [d for w in recorded(Path.cwd()) for k, d in w.events if k == "artifact.logged"]
