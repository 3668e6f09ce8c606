"""Archiving and detaching: nothing is lost wherever it stops, and everything is read as before."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.archive import log as archive_module
from ingest.archive.archiving import ArchiveReport, archive_log, detach_archived
from ingest.archive.log import ArchiveLog, open_archive
from ingest.archive.manifest import ArchiveMismatch, ArchiveTaken, add_segment
from ingest.archive.segments import encode_segment
from ingest.errors import StreamMoved
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.event_stores.sqlite import SqliteEventStore
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.state import EVENT_STORE
from projections.builds import Builds
from projections.file_builds import FileBuilds
from projections.findings import Fault, VerifyReport
from projections.kinds import KINDS
from projections.log import EventLogReader, LogDamaged, StoredBatch
from projections.rebuild import rebuild
from projections.verify_log import LogToVerify, verify_log
from tests.support.histories import START_US, fill, make_store, replayed
from tests.support.http_server import TestServer, serving
from tests.support.logs import batch_to_append, event
from tests.support.processes import run_cli
from tests.support.s3_server import BUCKET, S3Server, running_s3

EVERYTHING = 10**9


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def location(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    if request.param == "folder":
        return str(tmp_path / "archive")
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults: dict[str, Any] = archive_module.SegmentBuffer.__init__.__kwdefaults__  # type: ignore[assignment]  # typed as maybe None
    monkeypatch.setitem(defaults, "segment_bytes", 1_500)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteEventStore]:
    opened = await SqliteEventStore.open(tmp_path / "log.db")
    await fill(opened)
    yield opened
    await opened.aclose()


def quietly(stage: str, done: int, total: int) -> None:
    pass


async def rows_of(log: EventLogReader, run_id: str | None = None) -> list[StoredBatch]:
    found: list[StoredBatch] = []
    after = 0
    while rows := await log.read(after=after, batches_max=7, bytes_max=EVERYTHING, run_id=run_id):
        found += rows
        after = rows[-1].last_position
    return found


async def archived(
    store: Any, location: str, *, detach: bool, keep: int = 0, workspace: str = "default"
) -> ArchiveReport:
    async with open_archive(location, workspace=workspace) as archive:
        report = await archive_log(
            store, archive, location=location, keep=keep, is_to_detach=detach, on_progress=quietly
        )
        if detach:
            await detach_archived(store, archive, report, keep=keep, on_progress=quietly)
        return report


async def findings_of(log: LogToVerify) -> list[Fault]:
    report = VerifyReport()
    await verify_log(log, report, lambda progress: None)
    return [finding.fault for finding in report.findings]


def batches_in(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        count: int = connection.execute("SELECT count(*) FROM batch").fetchone()[0]
    connection.close()
    return count


async def test_an_archive_is_the_log(store: SqliteEventStore, location: str) -> None:
    report = await archived(store, location, detach=False)

    async with open_archive(location, workspace="default") as archive:
        assert await rows_of(archive) == await rows_of(store)
        assert await rows_of(archive, "run-3") == await rows_of(store, "run-3")
        assert await archive.head() == await store.head()
    assert report.segments > 3


async def test_what_is_detached_is_read_as_before(
    store: SqliteEventStore, location: str, tmp_path: Path
) -> None:
    before, of_run = await rows_of(store), await rows_of(store, "run-2")

    report = await archived(store, location, detach=True)

    assert await rows_of(store) == before
    assert await rows_of(store, "run-2") == of_run
    assert await rows_of(store, "nobody") == []
    assert report.detached == report.archived > 0
    assert batches_in(tmp_path / "log.db") == 1
    for position in (0, 1, 17, before[5].last_position, report.detached - 1, report.detached):
        (row, *_) = await store.read(after=position, batches_max=1, bytes_max=1)
        assert row == next(each for each in before if each.last_position > position)
    cut = await store.read(after=0, batches_max=EVERYTHING, bytes_max=EVERYTHING, until=20)
    assert list(cut) == [each for each in before if each.first_position <= 20]


async def test_a_detached_log_goes_on_and_is_archived_further(
    store: SqliteEventStore, location: str
) -> None:
    await archived(store, location, detach=True)
    records = [event("tags.set", START_US, tags={"later": "yes"})]
    answer = await store.append(batch_to_append("run-0", "later", 1, records))
    duplicate = await store.append(batch_to_append("run-0", "later", 1, records))
    before = await rows_of(store)

    report = await archived(store, location, detach=True)

    assert duplicate.position == answer.position
    assert await rows_of(store) == before
    assert report.segments_written == 1


async def test_a_detached_log_is_verified_rebuilt_and_replayed(
    store: SqliteEventStore, location: str, tmp_path: Path
) -> None:
    await replayed(tmp_path / "log.db", tmp_path / "whole.db")
    await archived(store, location, detach=True)
    await store.aclose()

    reader = SqliteLogReader(tmp_path / "log.db")
    faults = await findings_of(reader)
    hashes = [await _state(path, tmp_path) for path in ("log.db", "whole.db")]
    report = await replayed(tmp_path / "log.db", tmp_path / "copy.db")
    await asyncio.to_thread(reader.close)

    assert faults == []
    assert hashes[0] == hashes[1]
    assert report.is_equal


async def _state(name: str, folder: Path) -> list[object]:
    reader = SqliteLogReader(folder / name)
    builds = Builds.beside(folder / name)
    states = []
    for kind in KINDS:
        build = await rebuild(kind, FileBuilds(builds), reader, on_position=lambda position: None)
        projection = kind.open(Path(build.label), reader)
        states.append(dict(await projection.state_hash()))
        await projection.aclose()
    await asyncio.to_thread(reader.close)
    return list(states)


@pytest.mark.parametrize("where", ["object", "check", "manifest", "detach"])
async def test_a_crash_at_any_step_loses_nothing_and_the_next_call_goes_on(
    store: SqliteEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = await rows_of(store)
    location = str(tmp_path / "archive")
    calls = 0

    def crash_third(function: Any) -> Any:
        async def crashing(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == (1 if where == "detach" else 3):
                raise RuntimeError("the power went")
            return await function(*arguments, **named)

        return crashing

    with monkeypatch.context() as patch:
        match where:
            case "object":
                from ingest.archive.objects import FolderObjects

                patch.setattr(FolderObjects, "create", crash_third(FolderObjects.create))
            case "check":
                patch.setattr(ArchiveLog, "check", crash_third(ArchiveLog.check))
            case "manifest":
                patch.setattr(archive_module, "add_segment", crash_third(add_segment))
            case "detach":
                original = SqliteEventStore.detach_below
                patch.setattr(SqliteEventStore, "detach_below", crash_third(original))
        with pytest.raises(RuntimeError):
            await archived(store, location, detach=True)
        assert await rows_of(store) == before

    await archived(store, location, detach=True)

    assert await rows_of(store) == before
    assert batches_in(tmp_path / "log.db") == 1


async def test_rows_left_by_a_crash_in_mid_detach_are_removed_by_the_next(
    store: SqliteEventStore, tmp_path: Path
) -> None:
    """The note is there and no row was removed: what a crash between the two leaves."""
    before = await rows_of(store)
    location = str(tmp_path / "archive")
    report = await archived(store, location, detach=False)
    last = before[-2]
    assert report.archived > last.last_position
    await archived(store, str(tmp_path / "other"), detach=True)
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute(
            "INSERT INTO batch SELECT ?, 'default', n, run_id, 'x', epoch, 77, records_crc, 0,"
            " schema, payload_sha256, chain_sha256, payload FROM batch",
            (5,),
        )
    connection.close()

    assert await rows_of(store) == before
    again = await archived(store, str(tmp_path / "other"), detach=True)

    assert again.batches_removed == 1
    assert await rows_of(store) == before


@pytest.mark.parametrize("damage", ["removed", "changed", "shortened"])
async def test_a_damaged_object_is_named_and_reported(
    store: SqliteEventStore, tmp_path: Path, damage: str
) -> None:
    before = await rows_of(store)
    await archived(store, str(tmp_path / "archive"), detach=True)
    segments = sorted((tmp_path / "archive" / "default" / "log" / "segments").iterdir())
    await store.aclose()
    victim = segments[1]
    data = victim.read_bytes()
    if damage == "removed":
        victim.unlink()
    else:
        middle = len(data) // 3
        changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        victim.write_bytes(changed if damage == "changed" else data[:middle])

    log = SqliteLogReader(tmp_path / "log.db")
    with pytest.raises(LogDamaged, match=victim.name):
        await rows_of(log)
    faults = await findings_of(log)
    later = await log.read(
        after=before[-3].last_position, batches_max=EVERYTHING, bytes_max=EVERYTHING
    )
    await asyncio.to_thread(log.close)

    assert faults == [Fault.ARCHIVE_DAMAGED]
    assert [row.first_position for row in later]


async def test_a_segment_is_not_detached_unless_its_object_is_right(
    store: SqliteEventStore, tmp_path: Path
) -> None:
    before = await rows_of(store)
    location = str(tmp_path / "archive")
    await archived(store, location, detach=False)
    # The first: the last one holds the log's last batch, which is not detached.
    victim = sorted((tmp_path / "archive").rglob("*.trklog"))[0]
    victim.write_bytes(victim.read_bytes()[:-1])

    with pytest.raises(LogDamaged):
        await archived(store, location, detach=True)

    assert batches_in(tmp_path / "log.db") == len(before)


async def test_an_archive_of_another_log_is_refused(
    store: SqliteEventStore, tmp_path: Path
) -> None:
    await make_store(tmp_path / "other.db", runs=2)
    await replayed(tmp_path / "other.db", f"archive:{tmp_path / 'archive'}")

    with pytest.raises(ArchiveMismatch, match="no beginning of this log"):
        await archived(store, str(tmp_path / "archive"), detach=True)


async def test_of_two_who_archive_at_once_one_is_told(
    store: SqliteEventStore, location: str
) -> None:
    rows = await rows_of(store)
    async with (
        open_archive(location, workspace="default") as first,
        open_archive(location, workspace="default") as second,
    ):
        await first.add(rows[:3])
        with pytest.raises(ArchiveTaken):
            await second.add(rows[:4])
        await second.refresh()
        await second.add(rows[3:5])

    async with open_archive(location, workspace="default") as archive:
        assert await rows_of(archive) == rows[:5]


async def test_old_manifests_are_removed_but_two(store: SqliteEventStore, location: str) -> None:
    rows = await rows_of(store)
    async with open_archive(location, workspace="default") as archive:
        for row in rows[:6]:
            await archive.add([row])
        keys = await archive._objects.keys("manifest/")

    assert [key[-13:] for key in keys] == ["00000004.json", "00000005.json", "00000006.json"]


async def finished(server: TestServer, path: str, body: dict[str, Any]) -> Any:
    """What a job that was begun there answers in the end."""
    answer = await server.ask("POST", path, json=body)
    while "running" in answer.body.decode():
        await asyncio.sleep(0.05)
        answer = await server.ask("GET", path)
    return answer.json


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_server_archives_and_serves_on(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    given: dict[str, Any] = {"artifacts_destination": str(tmp_path / "artifacts")}
    if kind == "postgres":
        given["backend_store_uri"] = dsn = request.getfixturevalue("postgres_dsn")
        made = await PostgresEventStore.open(PostgresOptions(dsn), partition_positions=100)
        await made.aclose()
    async with serving(tmp_path, **given) as server:
        await fill(server.app[EVENT_STORE])
        head = (await server.ask("GET", "/api/v1/log/head")).json["position"]

        async def answers() -> list[Any]:
            paths = (
                f"events?limit=10000&min_position={head}", "events?limit=10000&run_id=run-2",
                f"runs/run-1?min_position={head}", "runs/run-1/metrics/loss?limit=1000",
                "runs/run-1?as_of_position=20", "experiments?as_of_position=400",
            )  # fmt: skip
            return [(await server.ask("GET", f"/api/v1/{path}")).body for path in paths]

        before = await answers()
        archived = await finished(server, "/api/v1/archive", {"detach": True})
        after = await answers()
        rebuilds = await finished(server, "/api/v1/rebuild", {"projection": "all"})
        rebuilt = await answers()
        verified = await finished(server, "/api/v1/verify", {})

    assert archived["state"] == "done", archived
    assert archived["report"]["batches_removed"] > 0
    assert after == before
    assert {each["state"] for each in rebuilds["rebuilds"]} == {"done"}
    assert rebuilt == before
    assert verified["report"]["findings"] == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_decision_prepared_before_a_detach_is_taken_again(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As by a server that was paused for so long."""
    store: SqliteEventStore | PostgresEventStore
    if kind == "sqlite":
        store = await SqliteEventStore.open(tmp_path / "log.db")
    else:
        options = PostgresOptions(request.getfixturevalue("postgres_dsn"))
        store = await PostgresEventStore.open(options, partition_positions=100)
    tagged = [event("tags.set", START_US, tags={"a": "b"})]
    begun = await store.append(batch_to_append("early", "e", 1, tagged))
    await store.append(batch_to_append("early", "e", 2, tagged))
    await fill(store)
    head = await store.head()
    await archived(store, str(tmp_path / "archive"), detach=True)

    with pytest.raises(StreamMoved):
        await store.append_decision(run_id="early", events=tagged, decided_at=begun.position)
    await store.append_decision(run_id="early", events=tagged, decided_at=head.next_position - 1)
    await store.aclose()


async def test_a_request_that_needs_a_damaged_object_is_told_which(tmp_path: Path) -> None:
    async with serving(tmp_path, artifacts_destination=str(tmp_path / "artifacts")) as server:
        await fill(server.app[EVENT_STORE])
        answer = await server.ask("POST", "/api/v1/archive", json={"detach": True})
        while answer.json["state"] == "running":
            await asyncio.sleep(0.05)
            answer = await server.ask("GET", "/api/v1/archive")
        victim = next(iter((tmp_path / "artifacts").rglob("*.trklog")))
        victim.unlink()
        refused = await server.ask("GET", "/api/v1/events?limit=10000")
        alive = await server.ask("GET", "/api/v1/runs/run-1")

    assert (refused.status, refused.code) == (500, "log_damaged")
    assert victim.name in refused.json["error"]["message"]
    assert alive.status == 200


async def test_a_memory_log_is_not_archived(tmp_path: Path) -> None:
    async with serving(tmp_path, backend_store_uri="memory://") as server:
        answer = await server.ask("POST", "/api/v1/archive", json={})

    assert (answer.status, answer.code) == (409, "nothing_to_archive")


async def test_sealed_partitions_of_postgres_are_detached(postgres_dsn: str, location: str) -> None:
    store = await PostgresEventStore.open(PostgresOptions(postgres_dsn), partition_positions=100)
    await fill(store)
    before, of_run = await rows_of(store), await rows_of(store, "run-4")

    report = await archived(store, location, detach=True)
    partitions = await store.partitions()
    append = await store.append(
        batch_to_append("run-0", "later", 1, [event("tags.set", START_US, tags={"a": "b"})])
    )
    after = await rows_of(store)
    faults = await findings_of(store)

    assert report.detached >= 500
    assert report.batches_removed > 0
    assert partitions[0].first_position > 400
    assert after[:-1] == before
    assert await rows_of(store, "run-4") == of_run
    assert append.position == after[-1].last_position
    assert faults == []
    await store.aclose()


async def test_the_command_archives_detaches_and_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_store(path, runs=20, batches=12)
    size = path.stat().st_size

    done = run_cli(tmp_path, "archive", str(path), "--detach", "--shrink", "--keep", "10")
    clean = run_cli(tmp_path, "verify", str(path))
    again = run_cli(tmp_path, "archive", str(path), "--detach", "--json")

    assert done.returncode == 0, done.stderr
    assert "detached up to position" in done.stdout
    assert path.stat().st_size < size / 2
    assert clean.stdout.startswith("clean:"), clean.stdout
    assert again.returncode == 0


async def test_a_store_in_use_is_archived_by_its_server_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        path = tmp_path / "server" / "log.db"
        refused = await asyncio.to_thread(run_cli, tmp_path, "archive", str(path))
        asked = await asyncio.to_thread(run_cli, tmp_path, "archive", server.url, "--detach")

    assert refused.returncode == 1
    assert "name that server's address" in refused.stderr
    assert asked.returncode == 0, asked.stderr


def test_a_segment_has_its_magic_at_both_ends(tmp_path: Path) -> None:
    async def made() -> bytes:
        await make_store(tmp_path / "log.db", runs=1)
        reader = SqliteLogReader(tmp_path / "log.db")
        rows = await rows_of(reader)
        await reader.aclose()
        return encode_segment(rows, workspace="default", previous_chain=bytes(32))[0]

    data = asyncio.run(made())

    assert data[:8] == data[-8:] == b"TRKLOG01"


async def test_a_bucket_is_source_and_destination_of_replays(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    await make_store(tmp_path / "log.db")
    there = f"s3://{BUCKET}/{tmp_path.name}"

    out = await replayed(tmp_path / "log.db", there)
    back = await replayed(there, tmp_path / "back.db")
    tables = await replayed(there, f"parquet:{there}/tables")
    again = await replayed(there, f"parquet:{there}/tables")

    assert (out.is_equal, back.is_equal, tables.is_equal) == (True, True, True)
    assert (again.events, again.is_equal) == (0, True)
