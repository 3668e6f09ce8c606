"""The event log in PostgreSQL: what total order costs, and two servers on one database.

    python -m benchmarks.bench_postgres [SECONDS]

Order: 16 clients append batches of 8 KB, each waiting for its own to be on disk, first as
plain rows with a bigserial (16 connections, a transaction each, no order that a reader could
rely on), then through the event store (dense positions in the order of commits, hash chain,
exactly once), in one process and in two. PostgreSQL syncs to the disk of TMPDIR.

Servers: batches of 10,000 points over HTTP to two servers, client and PostgreSQL on the
same cores; a batch counts when it is acknowledged.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from zlib import crc32

import asyncpg

from benchmarks.bench_ingest import Load, drive
from benchmarks.machine import describe_machine, fsync_latency_ms, percentiles
from ingest.event_stores.base import BatchToAppend
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from tests.support.postgres import DURABLE, fresh_database, running_postgres
from tracker.events import wire

SECONDS_DEFAULT = 5.0
CLIENTS = 16
PAYLOAD_BYTES = 8192
EVENTS = 100

UNORDERED = """
CREATE TABLE unordered (
    position bigserial PRIMARY KEY, workspace text, n bigint, run_id text, writer_id text,
    epoch bigint, first_seq bigint, records_crc bigint, received_at_us bigint, schema integer,
    payload_sha256 bytea, chain_sha256 bytea, payload bytea
);
ALTER TABLE unordered ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX ON unordered (workspace, run_id, position);
CREATE INDEX ON unordered (workspace, writer_id, first_seq);
"""
INSERT = """
INSERT INTO unordered (workspace, n, run_id, writer_id, epoch, first_seq, records_crc,
    received_at_us, schema, payload_sha256, chain_sha256, payload)
VALUES ('default', $1, $2, $3, 1, $4, $5, $6, 1, $7, $7, $8)
"""

Append = Callable[[int, int], Awaitable[None]]


async def clients(append: Append, indexes: range, seconds: float) -> tuple[int, list[int]]:
    """(batches, their times in ns) of clients that each wait for the last one to be stored."""
    times: list[int] = []
    until = time.perf_counter() + seconds

    async def client(index: int) -> None:
        number = 0
        while time.perf_counter() < until:
            began = time.perf_counter_ns()
            await append(index, number)
            times.append(time.perf_counter_ns() - began)
            number += 1

    await asyncio.gather(*(client(index) for index in indexes))
    return len(times), times


async def unordered(dsn: str, seconds: float) -> tuple[int, list[int]]:
    connections = [await asyncpg.connect(dsn) for _ in range(CLIENTS)]
    await connections[0].execute(UNORDERED)
    payload, digest = os.urandom(PAYLOAD_BYTES), os.urandom(32)
    statements = [await connection.prepare(INSERT) for connection in connections]

    async def append(index: int, number: int) -> None:
        ids = (f"run-{index}", f"writer-{index}")
        await statements[index].fetch(EVENTS, *ids, number, number, number, digest, payload)

    found = await clients(append, range(CLIENTS), seconds)
    for connection in connections:
        await connection.close()
    return found


async def ordered(dsn: str, seconds: float, indexes: range) -> tuple[int, list[int]]:
    store = await PostgresEventStore.open(PostgresOptions(dsn))
    payload = os.urandom(PAYLOAD_BYTES)

    async def append(index: int, number: int) -> None:
        first_seq = 1 + number * EVENTS
        header = wire.BatchHeader(
            f"run-{index}", f"writer-{index}", 1, first_seq, EVENTS, crc32(payload)
        )
        await store.append(BatchToAppend(header, payload))

    found = await clients(append, indexes, seconds)
    await store.aclose()
    return found


def ordered_in_process(dsn: str, seconds: float, indexes: range, answer: Connection) -> None:
    answer.send(asyncio.run(ordered(dsn, seconds, indexes)))


def ordered_by_two(dsn: str, seconds: float) -> tuple[int, list[int]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for indexes in (range(CLIENTS // 2), range(CLIENTS // 2, CLIENTS)):
        ours, theirs = context.Pipe()
        process = context.Process(target=ordered_in_process, args=(dsn, seconds, indexes, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    answers = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return sum(count for count, _ in answers), [t for _, times in answers for t in times]


def report(name: str, found: tuple[int, list[int]], seconds: float, base: float) -> float:
    rate = found[0] / seconds
    p50, p99, _ = percentiles(found[1])
    share = f", {rate / base:.0%} of unordered" if base else ""
    print(
        f"   {name}: {rate:,.0f} batches/s{share}; p50 {p50 / 1000:.1f} ms, p99 {p99 / 1000:.1f} ms"
    )
    return rate


def measure_order(server_dsn: str, seconds: float) -> None:
    for turn in range(2):
        print(f"   turn {turn + 1}, fsync {fsync_latency_ms(Path(tempfile.gettempdir())):.2f} ms")
        with fresh_database(server_dsn) as dsn:
            found = asyncio.run(unordered(dsn, seconds))
            base = report("bigserial, unordered, 16 connections", found, seconds, 0.0)
            found = asyncio.run(ordered(dsn, seconds, range(CLIENTS)))
            report("total order, 16 clients of one store", found, seconds, base)
        with fresh_database(server_dsn) as dsn:
            asyncio.run(opened_once(dsn))
            report("total order, 8 clients each of two stores", ordered_by_two(dsn, seconds),
                   seconds, base)  # fmt: skip


async def opened_once(dsn: str) -> None:
    await (await PostgresEventStore.open(PostgresOptions(dsn))).aclose()


@contextmanager
def tracker_server(dsn: str, home: Path) -> Iterator[tuple[int, int]]:
    """(port, pid)."""
    command = [sys.executable, "-m", "tracker", "server", "--port", "0", "--home", str(home)]
    own = os.environ | {"TRACKER_BACKEND_STORE_URI": dsn}
    server = subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        line = ""
        while "listening on" not in line:
            line = server.stderr.readline()
        yield int(line.rpartition(":")[2]), server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
        server.stderr.close()


def measure_servers(server_dsn: str, seconds: float) -> None:
    # The number of writers is in their names, so that the two servers' writers are others.
    loads = [Load("half", writers, 1000, 10) for writers in (8, 7)]

    async def both(places: list[tuple[int, int]]) -> float:
        answers = await asyncio.gather(
            *(drive(load, *place, seconds) for load, place in zip(loads, places, strict=True))
        )
        times = [ns for outcome, _ in answers for ns in outcome.latencies_ns]
        batches = sum(outcome.batches for outcome, _ in answers)
        rate = batches / max(elapsed for _, elapsed in answers)
        p50, p99, _ = percentiles(times)
        print(
            f"   two servers, {sum(load.writers for load in loads)} writers: "
            f"{rate * loads[0].points:,.0f} points/s acknowledged, {rate:,.0f} batches/s; "
            f"ack p50 {p50 / 1000:.1f} ms, p99 {p99 / 1000:.1f} ms"
        )
        return rate

    with fresh_database(server_dsn) as dsn, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with tracker_server(dsn, home / "1") as one, tracker_server(dsn, home / "2") as other:
            asyncio.run(both([one, other]))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS_DEFAULT
    print(describe_machine())
    settings = {**DURABLE, "shared_buffers": "256MB", "max_wal_size": "4GB"}
    with running_postgres(settings) as server:
        measure_order(server.dsn(), seconds)
        measure_servers(server.dsn(), seconds)


if __name__ == "__main__":
    main()
