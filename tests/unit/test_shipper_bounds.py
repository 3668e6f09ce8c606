"""What one destination, one writer or one folder may cost the others: little."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.fake_ingest import FakeIngest, fake_ingest
from tests.support.spool_scripts import end, log_steps, new_writer
from tracker.shipper import shipper as shipper_module
from tracker.shipper.delivery import Delivery
from tracker.shipper.shipper import DELIVERIES_MAX, Shipper
from tracker.shipper.state import DeliveryStatus
from tracker.spool.chunks import Chunk
from tracker.spool.folder import SpoolRoot
from tracker.spool.meta import WriterMeta, load_meta
from tracker.spool.reader import SpoolReader


@asynccontextmanager
async def shipping(path: Path) -> AsyncIterator[Shipper]:
    shipper = Shipper(path)
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        shipper.stop()
        await task


async def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def spool_of(root: Path, uri: str, *, writers: int, steps: int) -> None:
    for _ in range(writers):
        writer = new_writer(root, uri)
        log_steps(writer, 1, steps)
        end(writer)
        writer.close()


async def test_many_writers_wait_for_a_hanging_server_without_holding_their_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks: list[Chunk] = []
    read = SpoolReader.read

    def counting(self: SpoolReader, **given: object) -> Chunk | None:
        chunk = read(self, **given)  # type: ignore[arg-type]  # forwarded as it is
        if chunk is not None:
            chunks.append(chunk)
        return chunk

    monkeypatch.setattr(SpoolReader, "read", counting)
    async with fake_ingest() as server:
        spool_of(tmp_path, server.uri, writers=3 * DELIVERIES_MAX, steps=50)
        async with shipping(tmp_path) as shipper:
            await until(lambda: server.asked["append"] > 0)
            server.is_hanging = True
            await asyncio.sleep(0.3)
            held = len(chunks) - len(server.writers)

            server.is_hanging = False
            await until(lambda: len(server.writers) == 3 * DELIVERIES_MAX)
            await until(lambda: shipper.pending_count == 0)

    assert held <= DELIVERIES_MAX
    assert all(writer.steps == list(range(1, 51)) for writer in server.writers.values())


async def test_a_hanging_server_does_not_hold_up_the_delivery_to_another(tmp_path: Path) -> None:
    async with fake_ingest() as hanging, fake_ingest() as healthy:
        hanging.is_hanging = True
        spool_of(tmp_path, hanging.uri, writers=2 * DELIVERIES_MAX, steps=5)
        async with shipping(tmp_path):
            await until(lambda: hanging.in_flight >= DELIVERIES_MAX)
            spool_of(tmp_path, healthy.uri, writers=1, steps=5)

            await until(lambda: len(healthy.writers) == 1, timeout_s=45)

    assert not hanging.writers


async def test_a_hanging_server_does_not_hold_up_the_leases_at_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "LEASE_INTERVAL_S", 0.1)
    monkeypatch.setattr(shipper_module, "LEASE_TIMEOUT_S", 0.1)
    async with fake_ingest() as hanging, fake_ingest() as healthy:
        lives = [new_writer(tmp_path, server.uri) for server in (hanging, healthy)]
        async with shipping(tmp_path):
            await until(lambda: bool(hanging.leases and healthy.leases))
            hanging.is_hanging = True
            await until(lambda: hanging.in_flight > 0)
            said = len(healthy.leases)

            await until(lambda: len(healthy.leases) > said + 2, timeout_s=45)
            hanging.is_hanging = False
    for writer in lives:
        writer.close()


async def test_a_ring_wakes_every_idle_writer_once_and_the_loop_goes_on(tmp_path: Path) -> None:
    async with fake_ingest() as server:
        writers = [new_writer(tmp_path, server.uri) for _ in range(3)]
        async with shipping(tmp_path) as shipper:
            await until(lambda: all(w.acked_seq() == w.next_seq for w in writers))
            shipper.wake()
            shipper.wake()
            for writer in writers:
                log_steps(writer, 1, 5)
            shipper.wake()

            await until(lambda: all(w.acked_seq() == w.next_seq for w in writers))
        for writer in writers:
            writer.close()


async def test_a_defect_met_in_one_writer_is_shown_and_the_others_are_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_ingest() as server:
        spool_of(tmp_path, server.uri, writers=3, steps=5)
        broken = sorted(path.name for path in tmp_path.glob("*/*") if path.is_dir())[0]
        turn = Delivery._turn

        async def fragile(self: Delivery) -> bool:
            if self.state.writer_id == broken:
                raise ZeroDivisionError("nobody thought of this")
            return await turn(self)

        monkeypatch.setattr(Delivery, "_turn", fragile)
        async with shipping(tmp_path) as shipper:
            await until(lambda: len(server.writers) == 2)
            await until(lambda: shipper.pending_count == 0)
            failed = [s for s in shipper.states if s.status is DeliveryStatus.FAILED]

    assert [state.writer_id for state in failed] == [broken]
    assert "nobody thought of this" in (failed[0].problem or "")
    assert "nobody thought of this" in caplog.text


async def test_a_folder_that_another_shipper_finished_is_let_go(tmp_path: Path) -> None:
    async with fake_ingest() as server:
        writer = new_writer(tmp_path, server.uri)
        log_steps(writer, 1, 5)
        async with shipping(tmp_path) as shipper:
            await until(lambda: writer.acked_seq() == writer.next_seq)
            # Nothing here gives way to the shipper, which sees it live and then not at all.
            writer.close()
            shutil.rmtree(writer.folder.path)

            await until(lambda: not shipper.states)

    assert all(lease["state"] == "live" for lease in server.leases)


async def test_a_folder_deleted_and_made_again_between_two_looks_is_delivered_to_its_end(
    tmp_path: Path,
) -> None:
    async with fake_ingest() as server:
        writer = new_writer(tmp_path / "spool", server.uri)
        async with shipping(tmp_path / "spool") as shipper:
            await until(lambda: shipper.live_count == 1 and writer.acked_seq() == writer.next_seq)
            writer.folder.path.rename(tmp_path / "deleted")
            shutil.rmtree(tmp_path / "deleted")
            log_steps(writer, 1, 5)
            assert writer.flush_to_disk()

            await until(lambda: server.writers[writer.meta.writer_id].steps == [1, 2, 3, 4, 5])
            await until(lambda: writer.acked_seq() == writer.next_seq)
            assert shipper.live_count == 1
            end(writer)
            writer.close()
            await until(lambda: not list(SpoolRoot(tmp_path / "spool").writer_folders()))

    assert "closed" in [lease["state"] for lease in server.leases]


async def test_writers_that_are_not_ours_are_read_once_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def counting(path: Path) -> WriterMeta:
        reads.append(path)
        return load_meta(path)

    monkeypatch.setattr(shipper_module, "load_meta", counting)
    for _ in range(3):
        new_writer(tmp_path, "local").close()

    async with shipping(tmp_path):
        await asyncio.sleep(0.7)

    assert len(reads) == 3


async def test_a_proxy_with_a_small_limit_gets_smaller_batches(tmp_path: Path) -> None:
    """Proxies refuse large bodies with a 413 that has nothing of ours in it."""
    from aiohttp import web

    def small(server: FakeIngest, body: bytes) -> web.Response | None:
        return web.Response(status=413, text="<html>") if len(body) > 10_000 else None

    async with fake_ingest() as server:
        server.before = small
        writer = new_writer(tmp_path, server.uri)
        chance = random.Random(1)
        for step in range(1, 5_001):
            writer.log_metric(b"loss", chance.random(), step, step)
        async with shipping(tmp_path) as shipper:
            await until(lambda: writer.acked_seq() == writer.next_seq)
            (state,) = shipper.states
        writer.close()

    assert max(server.body_bytes) > 10_000
    assert server.writers[writer.meta.writer_id].steps == list(range(1, 5_001))
    assert state.counts.rejected == 0
