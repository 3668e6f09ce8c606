"""Replays that are repeated, cut short, filtered, followed, and refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.artifact_stores.open import open_artifact_store
from ingest.errors import StoreUnavailable
from ingest.event_stores.migrations import MigrationMismatch
from ingest.event_stores.postgres_reader import NoSuchWorkspace
from ingest.event_stores.sqlite import SqliteEventStore, StoreMismatch
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.replay import copying
from ingest.replay.copying import LogsDiffer
from ingest.replay.destinations import StoreDestination
from ingest.replay.job import ReplayRequest, replay
from ingest.replay.places import PlaceNotUnderstood, destination_of, source_of
from ingest.replay.selection import NothingSelected
from ingest.replay.sources import NoArchive
from projections.log import LogHead, StoredBatch
from tests.support.histories import (
    MODEL_BYTES,
    MODEL_SHA256,
    START_US,
    fill,
    make_store,
    nothing_shown,
    replayed,
)
from tests.support.http_server import batch_body, serving
from tests.support.logs import batch_to_append, event


@pytest.fixture
async def original(tmp_path: Path) -> Path:
    path = tmp_path / "original.db"
    await make_store(path)
    return path


async def rows_of(path: Path) -> list[StoredBatch]:
    reader = SqliteLogReader(path)
    rows = await reader.read(after=0, batches_max=10**9, bytes_max=10**9)
    await asyncio.to_thread(reader.close)
    return list(rows)


async def append_one(path: Path, writer_id: str = "late", seq: int = 1) -> None:
    store = await SqliteEventStore.open(path)
    records = [event("tags.set", START_US, tags={"late": str(seq)})]
    await store.append(batch_to_append("run-0", writer_id, seq, records))
    await store.aclose()


async def test_a_repeated_replay_writes_nothing(original: Path, tmp_path: Path) -> None:
    await replayed(original, tmp_path / "copy.db")

    again = await replayed(original, tmp_path / "copy.db")

    assert (again.batches, again.is_equal) == (0, True)


async def test_a_replay_goes_on_with_what_has_come_since(original: Path, tmp_path: Path) -> None:
    await replayed(original, tmp_path / "copy.db")
    await append_one(original)

    later = await replayed(original, tmp_path / "copy.db")

    assert (later.events, later.is_equal) == (1, True)
    assert await rows_of(tmp_path / "copy.db") == await rows_of(original)


async def test_a_copy_that_broke_off_goes_on_where_it_was(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "ROUND_BATCHES", 3)
    rounds = 0

    def break_off(stage: str, progress: copying.CopyProgress) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 4:
            raise RuntimeError("the power went")

    request = ReplayRequest(source_of(str(original)), destination_of(str(tmp_path / "copy.db")))
    with pytest.raises(RuntimeError):
        await replay(request, break_off)
    kept = len(await rows_of(tmp_path / "copy.db"))
    report = await replay(request, nothing_shown)

    assert 0 < kept < len(await rows_of(original))
    assert report.batches == len(await rows_of(original)) - kept
    assert await rows_of(tmp_path / "copy.db") == await rows_of(original)


async def test_until_a_position_ends_between_batches(original: Path, tmp_path: Path) -> None:
    rows = await rows_of(original)
    inside = rows[9].first_position + 1

    report = await replayed(original, tmp_path / "copy.db", until_position=inside)
    rest = await replayed(original, tmp_path / "copy.db")

    assert report.is_equal
    assert report.batches == 9
    assert (rest.batches, rest.is_equal) == (len(rows) - 9, True)


async def test_until_a_time_ends_with_what_was_there_then(original: Path, tmp_path: Path) -> None:
    rows = await rows_of(original)
    then = rows[5].received_at_us

    report = await replayed(original, tmp_path / "copy.db", until_time_us=then)

    copied = await rows_of(tmp_path / "copy.db")
    assert report.is_equal
    assert copied == [row for row in rows if row.received_at_us <= then]


@pytest.mark.parametrize("destination", ["copy.db", "parquet:tables", "duckdb:tables.duckdb"])
async def test_one_experiment_comes_alone(original: Path, tmp_path: Path, destination: str) -> None:
    scheme, _, name = destination.rpartition(":")
    there = f"{scheme}:{tmp_path / name}" if scheme else str(tmp_path / name)

    report = await replayed(original, there, experiments=["vision"])
    again = await replayed(original, there, experiments=["vision"])

    assert report.is_equal
    assert not report.keeps_positions
    assert report.comparison is not None
    assert {run for run in report.comparison.hashes if run} == {"run-0", "run-2", "run-4"}
    assert (again.events if not scheme else 0, again.is_equal) == (0, True)


async def test_one_run_comes_with_the_facts_of_the_workspace(
    original: Path, tmp_path: Path
) -> None:
    report = await replayed(original, tmp_path / "copy.db", run_ids=["run-3"])

    copied = await rows_of(tmp_path / "copy.db")
    assert {row.run_id for row in copied} == {"run-3", ""}
    assert report.notes
    assert copied[0].first_position == 1


@pytest.mark.parametrize("given", [{"run_ids": ["nobody"]}, {"experiments": ["nothing"]}])
async def test_what_is_not_there_cannot_be_selected(
    original: Path, tmp_path: Path, given: dict[str, list[str]]
) -> None:
    with pytest.raises(NothingSelected, match="the log has no"):
        await replayed(original, tmp_path / "copy.db", **given)


async def test_a_dry_run_counts_and_writes_nothing(original: Path, tmp_path: Path) -> None:
    report = await replayed(original, tmp_path / "copy.db", dry_run=True)

    assert report.batches == len(await rows_of(original))
    assert not (tmp_path / "copy.db").exists()


async def test_a_dry_run_tells_what_a_filtered_copy_lacks(original: Path, tmp_path: Path) -> None:
    await replayed(original, tmp_path / "copy.db", run_ids=["run-1"])
    await append_one(original)

    looked = await replayed(
        original, tmp_path / "copy.db", run_ids=["run-0", "run-1"], dry_run=True
    )
    done = await replayed(original, tmp_path / "copy.db", run_ids=["run-0", "run-1"])

    assert (looked.events, looked.batches) == (done.events, done.batches)
    assert looked.events > 1
    assert not looked.keeps_positions


async def test_a_dry_run_is_refused_as_the_replay_would_be(original: Path, tmp_path: Path) -> None:
    await make_store(tmp_path / "other.db", runs=2)

    with pytest.raises(LogsDiffer, match="no beginning"):
        await replayed(original, tmp_path / "other.db", dry_run=True)


@pytest.mark.parametrize("kind", ["postgres", "archive"])
async def test_a_dry_run_into_nothing_leaves_nothing(
    original: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    there = f"archive:{tmp_path / 'archive'}"
    if kind == "postgres":
        there = request.getfixturevalue("postgres_dsn")

    report = await replayed(original, there, dry_run=True)

    assert report.batches == len(await rows_of(original))
    with pytest.raises((NoSuchWorkspace, NoArchive)):
        await replayed(there, tmp_path / "copy.db")


async def test_following_an_experiment_copies_the_runs_that_it_gets(tmp_path: Path) -> None:
    """The run's first batch has been passed over when its run.started says what it is in."""
    stop = asyncio.Event()
    source = await SqliteEventStore.open(tmp_path / "live.db")
    await fill(source, runs=2)
    early, started = (
        event("tags.set", START_US, tags={"a": "b"}),
        event("run.started", START_US, experiment_name="vision"),
    )
    request = ReplayRequest(
        source_of(str(tmp_path / "live.db")),
        destination_of(str(tmp_path / "copy.db")),
        experiments=["vision"],
        follow=stop,
    )
    passed = asyncio.Event()

    def note_position(stage: str, progress: copying.CopyProgress) -> None:
        if progress.position == early_at.position:
            passed.set()

    early_at = await source.append(batch_to_append("new", "n1", 1, [early]))
    following = asyncio.create_task(replay(request, note_position))
    await passed.wait()
    await source.append(batch_to_append("new", "n2", 1, [started]))
    while not (tmp_path / "copy.db").exists() or len(await _of("new", tmp_path / "copy.db")) < 2:
        await asyncio.sleep(0.05)
    stop.set()
    report = await following
    await source.aclose()

    assert report.is_equal
    assert report.comparison is not None
    assert set(report.comparison.hashes) == {"", "run-0", "new"}


async def _of(run_id: str, path: Path) -> list[StoredBatch]:
    return [row for row in await rows_of(path) if row.run_id == run_id]


async def test_following_copies_what_comes_until_it_is_told_to_stop(
    tmp_path: Path,
) -> None:
    stop = asyncio.Event()
    source = await SqliteEventStore.open(tmp_path / "live.db")
    request = ReplayRequest(
        source_of(str(tmp_path / "live.db")),
        destination_of(str(tmp_path / "copy.db")),
        follow=stop,
    )
    following = asyncio.create_task(replay(request, nothing_shown))
    await fill(source, runs=2)
    reader = SqliteLogReader(tmp_path / "copy.db")
    stored = LogHead()
    async with asyncio.timeout(60):
        while stored != await source.head():
            await asyncio.sleep(0.05)
            with suppress(StoreUnavailable):  # nothing is there yet
                stored = await reader.head()
    stop.set()
    report = await following

    assert report.is_equal
    assert await reader.head() == await source.head()
    await asyncio.to_thread(reader.close)
    await source.aclose()


@pytest.mark.parametrize("merge", [False, True])
async def test_following_waits_for_a_destination_that_is_away(
    merge: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is away three times, the second time in the middle of what is written."""
    monkeypatch.setattr(copying, "AWAY_WAIT_S", 0.01)
    monkeypatch.setattr(copying, "ROUND_BATCHES", 3)
    name = "append" if merge else "import_batches"
    write = getattr(StoreDestination, name)
    calls = 0

    async def away(destination: StoreDestination, batches: Sequence[StoredBatch]) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            await write(destination, batches[:1])
        if calls in (2, 3, 5):
            raise StoreUnavailable("the database is away")
        await write(destination, batches)

    source = await SqliteEventStore.open(tmp_path / "live.db")
    started = event("run.started", START_US)
    await source.append(batch_to_append("r", "first", 1, [started]))
    stop, is_copied = asyncio.Event(), asyncio.Event()
    troubles: list[str] = []
    head = await source.head()

    def look(stage: str, progress: copying.CopyProgress) -> None:
        troubles.append(progress.trouble)
        if progress.position == head.next_position - 1:
            is_copied.set()

    monkeypatch.setattr(StoreDestination, name, away)
    request = ReplayRequest(
        source_of(str(tmp_path / "live.db")),
        destination_of(str(tmp_path / "copy.db")),
        merge=merge,
        follow=stop,
    )
    following = asyncio.create_task(replay(request, look))
    await is_copied.wait()
    is_copied.clear()
    await fill(source, runs=2)
    head = await source.head()
    await is_copied.wait()
    stop.set()
    report = await following
    await source.aclose()

    assert report.is_equal
    assert "the database is away" in troubles
    assert calls > 5


async def test_a_server_with_runs_of_its_own_gets_only_what_it_lacks(
    original: Path, tmp_path: Path
) -> None:
    async with serving(tmp_path / "home") as server:
        await server.append(batch_body(writer_id="own", run_id="own-run"))
        report = await replayed(original, server.url)
        again = await replayed(original, server.url)
        own = await server.ask("GET", "/api/v1/runs/own-run?min_position=1")
        there = await server.ask("GET", "/api/v1/runs/run-2")

    assert report.is_equal
    assert not report.keeps_positions
    assert (again.events, again.is_equal) == (0, True)
    assert (own.status, there.status) == (200, 200)


async def test_an_empty_server_becomes_the_log_itself(original: Path, tmp_path: Path) -> None:
    async with serving(tmp_path / "home", api_key="secret") as server:
        report = await replayed(original, server.url, destination_api_key="secret")

    assert report.keeps_positions
    assert await rows_of(tmp_path / "home" / "server" / "log.db") == await rows_of(original)


async def test_merging_adds_what_another_store_has(original: Path, tmp_path: Path) -> None:
    other = await SqliteEventStore.open(tmp_path / "other.db")
    await other.append(batch_to_append("extra", "x", 1, [event("run.started", START_US)]))
    await other.aclose()

    with pytest.raises(LogsDiffer, match="no beginning"):
        await replayed(original, tmp_path / "other.db")
    report = await replayed(original, tmp_path / "other.db", merge=True)

    assert report.is_equal
    assert {row.run_id for row in await rows_of(tmp_path / "other.db")} > {"extra", "run-0"}


async def test_a_copy_that_was_written_to_is_no_beginning_any_more(
    original: Path, tmp_path: Path
) -> None:
    await replayed(original, tmp_path / "copy.db")
    await append_one(tmp_path / "copy.db")

    with pytest.raises(LogsDiffer):
        await replayed(original, tmp_path / "copy.db")


async def test_the_comparison_tells_what_became_different(original: Path, tmp_path: Path) -> None:
    """The copy is damaged below its checksums, as no disk would do it."""
    await replayed(original, tmp_path / "copy.db")
    rows = await rows_of(tmp_path / "copy.db")
    of_run_2 = next(row for row in rows if row.run_id == "run-2")
    other = next(row for row in rows if row.run_id == "run-3" and row.n == of_run_2.n)
    with sqlite3.connect(tmp_path / "copy.db") as connection:
        connection.execute(
            "UPDATE batch SET payload = ?, payload_sha256 = ? WHERE first_position = ?",
            (other.payload, other.payload_sha256, of_run_2.first_position),
        )
    connection.close()

    report = await replayed(original, tmp_path / "copy.db")

    assert not report.is_equal
    assert report.comparison is not None
    (difference,) = report.comparison.differences
    assert "run-2" in difference


async def test_a_store_that_a_server_has_open_is_not_written_to(
    original: Path, tmp_path: Path
) -> None:
    async with serving(tmp_path / "home") as server:
        with pytest.raises(PlaceNotUnderstood, match="name that server's address"):
            await replayed(original, tmp_path / "home" / "server" / "log.db")
        assert (await server.ask("GET", "/health")).status == 200


@pytest.mark.parametrize("destination", ["original.db", "./original.db", "sqlite:///original.db"])
async def test_a_place_is_not_replayed_into_itself(
    original: Path, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(original.parent)

    with pytest.raises(PlaceNotUnderstood, match="both source and destination"):
        await replayed("original.db", destination)


async def test_another_workspace_is_refused(original: Path, tmp_path: Path) -> None:
    with pytest.raises(PlaceNotUnderstood, match="holds workspace 'default', not 'team'"):
        await replayed(original, tmp_path / "copy.db", workspace="team")
    store = await SqliteEventStore.open(tmp_path / "team.db", workspace="team")
    await store.aclose()
    with pytest.raises(StoreMismatch):
        await replayed(original, tmp_path / "team.db")


async def test_a_store_of_a_newer_version_is_refused(original: Path, tmp_path: Path) -> None:
    with sqlite3.connect(original) as connection:
        connection.execute("INSERT INTO migration VALUES (9999, 'x', 'y', 0)")
    connection.close()

    with pytest.raises(MigrationMismatch, match="newer version"):
        await replayed(original, tmp_path / "copy.db")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ftp://host/x", "no place that is known"),
        ("nothing.db", "there is no store"),
        ("parquet:x", "no event log"),
        ("sqlite:relative.db", "four slashes"),
    ],
)
def test_a_source_that_is_none_is_told(text: str, says: str) -> None:
    with pytest.raises(PlaceNotUnderstood, match=says):
        source_of(text)


async def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"hello" * 1000)

    with pytest.raises(PlaceNotUnderstood, match="is not a tracker store"):
        await replayed(tmp_path / "x.db", tmp_path / "copy.db")


async def test_artifacts_come_along_verified(original: Path, tmp_path: Path) -> None:
    async with open_artifact_store(str(tmp_path / "artifacts"), workspace="default") as store:
        await store.put_unnamed(_chunks())

    async with serving(tmp_path / "home") as server:
        to_server = await replayed(original, server.url, artifacts=True)
        found = await server.ask("GET", f"/api/v1/blobs/{MODEL_SHA256}")
        from_server = await replayed(server.url, f"archive:{tmp_path / 'archive'}", artifacts=True)

    again = await replayed(original, f"archive:{tmp_path / 'archive'}", artifacts=True)
    assert to_server.artifacts is not None
    assert (to_server.artifacts.copied, to_server.artifacts.missing) == (1, [])
    assert found.body == MODEL_BYTES
    assert from_server.artifacts is not None
    assert from_server.artifacts.copied == 1
    assert again.artifacts is not None
    assert (again.artifacts.present, again.is_equal) == (1, True)


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
async def test_artifacts_come_along_with_tables(kind: str, original: Path, tmp_path: Path) -> None:
    async with open_artifact_store(str(tmp_path / "artifacts"), workspace="default") as store:
        await store.put_unnamed(_chunks())
    shown: list[tuple[int, int]] = []

    def show(stage: str, progress: copying.CopyProgress) -> None:
        if stage.startswith("artifacts"):
            shown.append((progress.position, progress.head))

    request = ReplayRequest(
        source_of(str(original)),
        destination_of(f"{kind}:{tmp_path / 'out' / 'tables'}"),
        artifacts=True,
        run_ids=["run-1"],
    )
    report = await replay(request, show)

    assert report.artifacts is not None
    assert (report.artifacts.copied, report.artifacts.missing) == (1, [])
    (blob,) = (tmp_path / "out").rglob(MODEL_SHA256)
    assert blob.read_bytes() == MODEL_BYTES
    assert shown[-1] == (len(MODEL_BYTES), len(MODEL_BYTES))


async def test_artifacts_without_a_place_are_refused_before_anything_is_written(
    original: Path, tmp_path: Path, postgres_dsn: str
) -> None:
    with pytest.raises(PlaceNotUnderstood, match="give --dst-artifacts"):
        await replayed(original, postgres_dsn, artifacts=True)
    with pytest.raises(PlaceNotUnderstood, match="leave out --artifacts"):
        await replayed(original, tmp_path / "copy.db", artifacts=True)
    with pytest.raises(NoSuchWorkspace):
        await replayed(postgres_dsn, tmp_path / "copy.db")

    assert not (tmp_path / "copy.db").exists()


async def test_artifacts_that_the_source_has_lost_are_named(original: Path, tmp_path: Path) -> None:
    report = await replayed(original, tmp_path / "there" / "copy.db", artifacts=True)

    assert report.artifacts is not None
    assert report.artifacts.missing == [MODEL_SHA256]
    assert not report.is_equal


async def _chunks() -> AsyncIterator[bytes]:
    yield MODEL_BYTES


async def test_a_filter_and_an_archive_do_not_go_together(original: Path, tmp_path: Path) -> None:
    with pytest.raises(PlaceNotUnderstood, match="as it is"):
        await replayed(original, f"archive:{tmp_path / 'a'}", run_ids=["run-1"])


async def test_following_has_no_end(original: Path, tmp_path: Path) -> None:
    request = ReplayRequest(
        source_of(str(original)),
        destination_of(str(tmp_path / "copy.db")),
        follow=asyncio.Event(),
    )
    with pytest.raises(PlaceNotUnderstood, match="--follow has no end"):
        await replay(replace(request, until_position=3), nothing_shown)
