"""A shipper against a real server with a misbehaving network in between."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_proxy import FAULTS, FaultyProxy, running_proxy
from tests.support.processes import ServerProcess, running_server
from tests.support.spool_scripts import end, log_steps, new_writer
from tracker.shipper.oneshot import sync
from tracker.shipper.shipper import Shipper
from tracker.spool.folder import SpoolRoot

RECORDS = 3_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[FaultyProxy]:
    with running_proxy(server.uri) as running:
        yield running


def logged_steps(server: ServerProcess, run_id: str) -> list[int]:
    """The steps in the event log, in order of position."""
    url = f"{server.uri}/api/v1/events?run_id={run_id}&type=metrics.logged&limit=10000"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return [json.loads(line)["data"]["step"] for line in answer.read().splitlines()]


async def until(condition: Callable[[], bool], *, timeout_s: float = 90.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def while_shipping(shipper: Shipper, do: Callable[[], Awaitable[None]]) -> None:
    shipping = asyncio.create_task(shipper.run())
    try:
        await do()
    finally:
        shipper.stop()
        await shipping


@pytest.mark.parametrize("fault", FAULTS)
async def test_all_data_arrives_once_after_the_fault_has_ended(
    tmp_path: Path, server: ServerProcess, proxy: FaultyProxy, fault: str
) -> None:
    writer = new_writer(tmp_path, proxy.uri)
    shipper = Shipper(tmp_path)

    async def play() -> None:
        log_steps(writer, 1, RECORDS // 2)
        proxy.fault = fault
        log_steps(writer, RECORDS // 2 + 1, RECORDS)
        await until(lambda: proxy.met[fault] >= 1)
        end(writer)
        await until(lambda: proxy.met[fault] >= 2)
        proxy.fault = None
        await until(lambda: writer.acked_seq() == writer.next_seq)

    await while_shipping(shipper, play)
    run_id = writer.meta.run_id
    writer.close()

    assert logged_steps(server, run_id) == list(range(1, RECORDS + 1))


async def test_two_shippers_of_one_spool_deliver_it_once(
    tmp_path: Path, server: ServerProcess
) -> None:
    writer = new_writer(tmp_path, server.uri)
    log_steps(writer, 1, RECORDS)
    first, second = Shipper(tmp_path), Shipper(tmp_path)

    async def play() -> None:
        log_steps(writer, RECORDS + 1, 2 * RECORDS)
        await until(lambda: writer.acked_seq() == writer.next_seq)

    await while_shipping(first, lambda: while_shipping(second, play))
    writer.close()

    assert logged_steps(server, writer.meta.run_id) == list(range(1, 2 * RECORDS + 1))


async def test_a_spool_synced_twice_changes_nothing(tmp_path: Path, server: ServerProcess) -> None:
    writer = new_writer(tmp_path, server.uri, mode="offline")
    log_steps(writer, 1, 100)

    first = await sync(tmp_path, uri_of=lambda meta: server.uri)
    second = await sync(tmp_path, uri_of=lambda meta: server.uri)
    writer.close()

    assert (first.counts.records, first.is_complete) == (101, True)
    assert (second.counts.records, second.is_complete) == (0, True)
    assert logged_steps(server, writer.meta.run_id) == list(range(1, 101))


async def test_a_copied_spool_is_delivered_and_left_alone(
    tmp_path: Path, server: ServerProcess
) -> None:
    import shutil

    writer = new_writer(tmp_path / "original", server.uri)
    log_steps(writer, 1, 100)
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    before = sorted(path.name for path in (tmp_path / "copy").rglob("*.seg"))

    report = await sync(tmp_path / "copy", uri_of=lambda meta: server.uri)
    log_steps(writer, 101, 200)
    await sync(tmp_path / "original", uri_of=lambda meta: server.uri)

    assert report.is_complete
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*.seg")) == before
    assert run_of(server, writer.meta.run_id)["status"] == "RUNNING"
    assert logged_steps(server, writer.meta.run_id) == list(range(1, 201))
    writer.close()


async def test_a_record_the_server_refuses_is_set_aside_and_the_rest_arrives(
    tmp_path: Path, server: ServerProcess
) -> None:
    from tracker.events.types import Event

    writer = new_writer(tmp_path, server.uri)
    log_steps(writer, 1, 50)
    writer.log_event(Event("tags.set", 1, {"tags": "not an object"}))
    log_steps(writer, 51, 100)

    report = await sync(tmp_path, uri_of=lambda meta: server.uri)

    assert report.counts.rejected == 1
    assert logged_steps(server, writer.meta.run_id) == list(range(1, 101))
    (note,) = tmp_path.rglob("rejected/*.json")
    assert "tags" in json.loads(note.read_text())["reason"]
    assert run_of(server, writer.meta.run_id)["dropped"] == 1
    writer.close()


async def test_a_flipped_bit_loses_one_record_and_the_loss_is_on_the_server(
    tmp_path: Path, server: ServerProcess
) -> None:
    writer = new_writer(tmp_path, server.uri)
    log_steps(writer, 1, 100)
    (segment,) = tmp_path.rglob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)

    await sync(tmp_path, uri_of=lambda meta: server.uri)

    assert len(logged_steps(server, writer.meta.run_id)) == 99
    assert run_of(server, writer.meta.run_id)["dropped"] == 1
    writer.close()


async def test_folders_of_finished_writers_go_and_their_run_is_finished(
    tmp_path: Path, server: ServerProcess
) -> None:
    writer = new_writer(tmp_path, server.uri)
    log_steps(writer, 1, 10)
    end(writer)
    writer.close()

    await sync(tmp_path, uri_of=lambda meta: server.uri)

    assert list(SpoolRoot(tmp_path).writer_folders()) == []
    assert run_of(server, writer.meta.run_id)["status"] == "FINISHED"


def run_of(server: ServerProcess, run_id: str) -> Any:
    head = server.get("/ready")["head"]
    return server.get(f"/api/v1/runs/{run_id}?min_position={head}")


async def test_a_host_that_has_no_address_is_waited_for_like_one_that_is_down(
    tmp_path: Path, server: ServerProcess
) -> None:
    writer = new_writer(tmp_path, "http://no-such-host.invalid:5000")
    log_steps(writer, 1, 100)
    shipper = Shipper(tmp_path)

    async def play() -> None:
        await until(lambda: any(state.problem for state in shipper.states))
        log_steps(writer, 101, 200)

    await while_shipping(shipper, play)
    report = await sync(tmp_path, uri_of=lambda meta: server.uri)

    assert report.is_complete
    assert logged_steps(server, writer.meta.run_id) == list(range(1, 201))
    writer.close()
