"""`tracker artifacts upload`, `list` and `download` against a server, and how they count."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.processes import ServerProcess, running_server
from tracker.cli.artifacts import command

RUN = "cli-artifacts"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        body = {"experiment_id": "0", "run_name": RUN}
        running.post("/api/2.0/mlflow/runs/create", body)
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> Path:
    monkeypatch.setenv("TRACKER_URI", server.uri)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    monkeypatch.setenv("TRACKER_SPOOL_DIR", str(tmp_path / "spool"))
    return tmp_path


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(command, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def upload(source: Path, *paths: str) -> Result:
    """Sent, and folded: the answers of a crowded server may be behind."""
    done = run("upload", RUN, source)
    deadline = time.monotonic() + 60
    while not all(f'"{path}"' in run("list", RUN, "-r", "--json").stdout for path in paths):
        assert time.monotonic() < deadline, "the tree was not folded in a minute"
        time.sleep(0.1)
    return done


@pytest.mark.parametrize(("number", "said"), [(1, "1 file, 5 B"), (2, "2 files, 10 B")])
def test_files_that_are_sent_and_fetched_are_counted_in_words(
    home: Path, number: int, said: str
) -> None:
    folder = home / f"of-{number}"
    folder.mkdir()
    for each in range(number):
        (folder / f"{each}.txt").write_text(f"{number} {each}\n\n")

    sent = upload(folder, *(f"{folder.name}/{each}.txt" for each in range(number)))
    listed = run("list", RUN)
    fetched = run("download", RUN, folder.name, "-o", home / "got")

    assert sent.stdout.startswith(f"{said} uploaded to run ")
    assert f"{said.partition(',')[0]} " in listed.stdout
    assert f"{said}, verified" in fetched.stderr
    assert sorted(p.name for p in (home / "got" / folder.name).iterdir()) == [
        f"{each}.txt" for each in range(number)
    ]


@pytest.mark.parametrize("path", ["a.txt", "/a.txt"])
def test_a_folder_that_cannot_be_written_is_told_in_one_line(home: Path, path: str) -> None:
    (home / "a.txt").write_text("x")
    upload(home / "a.txt", "a.txt")

    fetched = run("download", RUN, path, "-o", home / "got")
    refused = CliRunner().invoke(command, ["download", RUN, path, "-o", str(home / "a.txt" / "b")])

    assert "1 file, 1 B, verified" in fetched.stderr
    assert (refused.exit_code, "cannot be written: Not a directory" in refused.stderr) == (1, True)
