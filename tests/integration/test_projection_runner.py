"""The projection runner over a real log: current, lagging, failing, rebuilt, restarted."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest import read_side
from ingest.event_stores.sqlite import SqliteEventStore
from ingest.read_side import ReadSide, open_read_side
from projections.builds import Builds
from projections.findings import VerifyReport
from projections.kinds import KINDS
from projections.projection import DecodedBatch, ProjectionStoreFailed
from projections.runs_store import RUNS_VERSION, RunsProjection
from tests.support.logs import Metrics, Record, batch_to_append, event

NOBODY: frozenset[str] = frozenset()


class Server:
    """A store with its read side, as a server has them; can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tracker.db"
        self.builds = Builds.beside(self.path)
        self._next_seq: dict[str, int] = {}
        self._stack = AsyncExitStack()
        self.store: SqliteEventStore
        self.side: ReadSide

    async def start(self) -> None:
        self.store = await SqliteEventStore.open(self.path)
        self._stack.push_async_callback(self.store.aclose)
        self.side = await self._stack.enter_async_context(
            open_read_side(self.store, self.path, retire_s=0.05)
        )

    async def stop(self) -> None:
        await self._stack.aclose()

    async def append(self, *records: Record, run: str = "run", writer: str = "w") -> int:
        first_seq = self._next_seq.get(writer, 1)
        batch = batch_to_append(run, writer, first_seq, records)
        result = await self.store.append(batch)
        self._next_seq[writer] = result.next_seq
        return result.position

    async def append_and_see(self, *records: Record, **where: str) -> int:
        position = await self.append(*records, **where)
        assert await self.side.wait_for(position, timeout_s=60)
        return position

    async def tag(self, key: str, run: str = "run") -> str | None:
        view = await self.side.runs.get_run(run, live_run_ids=NOBODY)
        return None if view is None else view.tags.get(key)

    async def rebuilt(self, name: str = "runs") -> None:
        self.side.rebuild(name)
        await until(lambda: all(p.is_over for p in self.side.rebuilds()))
        assert [p.error for p in self.side.rebuilds()] == [None]

    async def verified(self) -> VerifyReport:
        verification = self.side.verify()
        await until(lambda: not verification.is_running)
        assert verification.error is None
        assert verification.report is not None
        return verification.report

    def build_files(self, name: str = "runs") -> list[str]:
        return sorted(p.name for p in self.builds.folder.glob(f"{name}-*.sqlite"))


async def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    await server.start()
    yield server
    await server.stop()


def tagged(value: object) -> Record:
    return event("tags.set", tags={"n": str(value)})


async def test_what_was_appended_is_read_once_its_position_was_waited_for(
    server: Server,
) -> None:
    for n in range(20):
        await server.append_and_see(tagged(n), Metrics({"loss": n}, n, n))
        assert await server.tag("n") == str(n)

    view = await server.side.runs.get_run("run", live_run_ids=NOBODY)
    assert view is not None
    assert view.metrics["loss"].count == 20
    pages = await server.side.series.history("run", "loss", start_step=None, end_step=None)
    assert [value async for page in pages for value in page.values.tolist()] == list(range(20))


async def test_waiting_for_a_position_that_never_comes_ends_in_time(server: Server) -> None:
    await server.append_and_see(tagged(1))

    assert not await server.side.wait_for(1_000, timeout_s=0.05)


async def test_a_restarted_server_goes_on_from_its_checkpoint(server: Server) -> None:
    await server.append_and_see(tagged(1))
    await server.stop()
    await server.start()

    assert await server.tag("n") == "1"
    await server.append_and_see(tagged(2))
    assert await server.tag("n") == "2"
    assert server.build_files() == ["runs-1.sqlite"]


async def test_a_rebuild_goes_on_beside_appends_and_is_switched_to_whole(
    server: Server,
) -> None:
    await server.append_and_see(*[tagged(n) for n in range(500)])
    stop = asyncio.Event()
    seen: list[int] = []

    async def append_and_read() -> None:
        n = 500
        while not stop.is_set():
            n += 1
            await server.append_and_see(tagged(n), Metrics({"m": n}, n, n))
            value = await server.tag("n")
            assert value is not None
            seen.append(int(value))
            assert seen[-1] == n

    async with asyncio.TaskGroup() as group:
        group.create_task(append_and_read())
        for rebuilds in range(1, 4):
            await server.rebuilt()
            enough = 5 * rebuilds
            await until(lambda: len(seen) >= enough)  # noqa: B023 - awaited right here
        stop.set()

    assert seen == sorted(seen)
    report = await server.verified()
    assert report.is_clean, report.findings
    await until(lambda: server.build_files() == ["runs-4.sqlite"])


async def test_the_series_projection_is_rebuilt_and_switched_too(server: Server) -> None:
    await server.append_and_see(*[Metrics({"m": n}, n, n) for n in range(9_000)])
    await server.rebuilt("series")

    buckets = await server.side.series.buckets(
        "run", "m", start_step=None, end_step=None, buckets_max=10
    )

    assert (buckets.points, buckets.max.max()) == (9_000, 8_999.0)
    assert (await server.verified()).is_clean


async def test_requests_that_began_before_a_switch_are_answered_from_the_old_build(
    server: Server,
) -> None:
    await server.append_and_see(tagged(1))
    before = server.side.runs

    await server.rebuilt()

    assert server.side.runs is not before
    old = await before.get_run("run", live_run_ids=NOBODY)
    assert old is not None
    assert old.tags == {"n": "1"}


async def test_a_batch_that_cannot_be_folded_becomes_a_dead_letter_and_the_rest_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = RunsProjection.apply

    async def fails_on_poison(self: RunsProjection, batches: Sequence[DecodedBatch]) -> None:
        events = [e.event for _, columns in batches for e in columns.events]
        if any(e.data.get("tags") == {"n": "poison"} for e in events):
            raise ZeroDivisionError("a bug of the fold")
        await apply(self, batches)

    monkeypatch.setattr(RunsProjection, "apply", fails_on_poison)
    await server.append(tagged(1))
    position = await server.append(tagged("poison"))
    await server.append_and_see(event("tags.set", tags={"other": "x"}))

    assert (await server.tag("n"), await server.tag("other")) == ("1", "x")
    assert [(p, r) for p, _, r in dead_letters(server)] == [
        (position, "runs: ZeroDivisionError: a bug of the fold")
    ]

    monkeypatch.undo()
    await server.rebuilt()

    assert await server.tag("n") == "poison"
    assert dead_letters(server) == []


async def test_a_payload_that_rots_in_the_log_costs_its_own_batch_only(server: Server) -> None:
    await server.append_and_see(tagged(1))
    await server.append_and_see(event("tags.set", tags={"b": "x"}))
    await server.stop()
    with sqlite3.connect(server.path) as log:
        log.execute("UPDATE batch SET payload = zeroblob(9) WHERE first_position = 1")
    log.close()
    (server.builds.folder / "current.json").unlink()
    await server.start()
    assert await server.side.wait_for(2, timeout_s=60)

    assert (await server.tag("n"), await server.tag("b")) == (None, "x")
    assert [p for p, _, _ in dead_letters(server)] == [1]
    server.side.rebuild("runs")
    await until(lambda: server.side.rebuilds()[0].is_over)
    assert "DigestMismatch" in str(server.side.rebuilds()[0].error)
    assert await server.tag("b") == "x"


async def test_trouble_with_the_file_is_waited_out_and_nothing_is_skipped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.runner.RETRY_S", 0.01)
    failures = 3
    apply = RunsProjection.apply

    async def full_disk(self: RunsProjection, batches: Sequence[DecodedBatch]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ProjectionStoreFailed("database or disk is full")
        await apply(self, batches)

    monkeypatch.setattr(RunsProjection, "apply", full_disk)
    await server.append_and_see(tagged(1))

    assert await server.tag("n") == "1"
    assert server.side.runner.failures == 3
    assert dead_letters(server) == []


async def test_an_older_version_serves_until_its_rebuild_has_caught_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.append_and_see(*[tagged(n) for n in range(50)])
    await server.stop()
    newer = tuple(replace(k, version=k.version + 1) if k.name == "runs" else k for k in KINDS)
    monkeypatch.setattr(read_side, "KINDS", newer)

    await server.start()

    assert await server.tag("n") == "49"
    assert await server.side.wait_for(50, timeout_s=60)
    await server.append_and_see(tagged("new"))
    assert await server.tag("n") == "new"
    current = server.builds.current("runs")
    assert current is not None
    assert (current.version, current.path.name) == (RUNS_VERSION + 1, "runs-2.sqlite")


async def test_leftovers_of_crashed_builds_are_removed_at_the_start(server: Server) -> None:
    await server.append_and_see(tagged(1))
    await server.stop()
    folder = server.builds.folder
    for name in ("runs-7.sqlite", "runs-7.sqlite-wal", "current.json.tmp"):
        (folder / name).write_bytes(b"half a build")
    (folder / "verify-999999999-x").mkdir()
    (folder / "notes.txt").write_text("not ours")

    await server.start()

    assert server.build_files() == ["runs-1.sqlite"]
    assert not list(folder.glob("verify-*"))
    assert not (folder / "current.json.tmp").exists()
    assert (folder / "notes.txt").exists()


async def test_a_projection_ahead_of_its_log_is_made_anew(server: Server) -> None:
    await server.append_and_see(tagged(1))
    await server.append_and_see(tagged(2))
    await server.stop()
    with sqlite3.connect(server.path) as log:
        log.execute("DELETE FROM batch WHERE first_position = 2")
        log.execute("UPDATE head SET next_position = 2")
        log.execute("UPDATE head SET chain_sha256 = (SELECT chain_sha256 FROM batch)")
        log.execute("UPDATE writer SET next_seq = 2, position = 1")
    log.close()

    await server.start()

    assert await server.side.wait_for(1, timeout_s=60)
    assert await server.tag("n") == "1"
    assert (await server.verified()).is_clean


async def test_a_file_that_is_no_database_is_made_anew(server: Server) -> None:
    await server.append_and_see(tagged(1))
    await server.stop()
    for path in server.builds.folder.glob("runs-1.sqlite*"):
        path.write_bytes(b"garbage" * 1000)

    await server.start()

    assert await server.side.wait_for(1, timeout_s=60)
    assert await server.tag("n") == "1"


async def test_the_pointer_names_a_complete_build_at_every_moment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(20):
        await server.append_and_see(*[tagged(n) for n in range(turn * 100, turn * 100 + 100)])
    monkeypatch.setattr("projections.building.ROUND_BATCHES_MAX", 1)
    server.side.rebuild("runs")
    while not server.side.rebuilds()[0].is_over:
        pointer = json.loads((server.builds.folder / "current.json").read_text())
        with sqlite3.connect(server.builds.folder / pointer["projections"]["runs"]["file"]) as c:
            assert c.execute("SELECT position FROM projection").fetchone() == (2_000,)
        c.close()
        await asyncio.sleep(0)


async def test_verify_is_clean_while_appends_go_on(server: Server) -> None:
    stop = asyncio.Event()

    async def append() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            await server.append(tagged(n), Metrics({"m": n}, n, n), writer=f"w{n % 7}")

    async with asyncio.TaskGroup() as group:
        group.create_task(append())
        for _ in range(3):
            report = await server.verified()
            assert report.is_clean, report.findings
        stop.set()


def dead_letters(server: Server) -> list[Any]:
    build = server.builds.current("runs")
    assert build is not None
    connection = sqlite3.connect(build.path)
    try:
        return connection.execute("SELECT * FROM dead_letter ORDER BY position").fetchall()
    finally:
        connection.close()
