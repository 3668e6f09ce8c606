"""The raw log over HTTP: what is sent is whole, what is taken fits exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ingest.errors import StoreUnavailable
from ingest.replay import server_log as server_log_module
from ingest.replay.records import (
    HEADER,
    LOG_CONTENT_TYPE,
    RecordReader,
    encode_record,
)
from ingest.replay.server_log import ServerSaid, server_log
from ingest.state import EVENT_STORE
from projections.log import StoredBatch
from tests.support.histories import fill
from tests.support.http_server import TestServer, serving
from tests.support.imports import a_log, rechained
from tracker.events.errors import CorruptPayload

TYPE = {"Content-Type": LOG_CONTENT_TYPE}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as opened:
        yield opened


async def rows_of(server: TestServer) -> list[StoredBatch]:
    store = server.app[EVENT_STORE]
    return list(await store.read(after=0, batches_max=10**9, bytes_max=10**9))


async def test_the_stream_is_the_log(server: TestServer) -> None:
    await fill(server.app[EVENT_STORE])
    rows = await rows_of(server)

    whole = await server.ask("GET", "/api/v1/log")
    part = await server.ask("GET", f"/api/v1/log?after={rows[3].last_position}&until=200")
    of_run = await server.ask("GET", "/api/v1/log?run_id=run-2")
    head = await server.ask("GET", "/api/v1/log/head")

    assert list(RecordReader().feed(whole.body)) == rows
    assert list(RecordReader().feed(part.body)) == [
        row for row in rows[4:] if row.first_position <= 200
    ]
    assert list(RecordReader().feed(of_run.body)) == [r for r in rows if r.run_id == "run-2"]
    assert head.json == {
        "workspace": "default",
        "position": rows[-1].last_position,
        "chain": rows[-1].chain_sha256.hex(),
    }


async def test_an_import_continues_the_log(server: TestServer) -> None:
    rows = await a_log()

    first = await server.ask(
        "POST", "/api/v1/log", data=b"".join(map(encode_record, rows[:2])), headers=TYPE
    )
    rest = await server.ask(
        "POST", "/api/v1/log", data=b"".join(map(encode_record, rows[2:])), headers=TYPE
    )

    assert first.json["position"] == rows[1].last_position
    assert rest.json["chain"] == rows[-1].chain_sha256.hex()
    assert await rows_of(server) == rows


async def test_what_does_not_fit_is_refused_whole(server: TestServer) -> None:
    rows = await a_log()
    body = b"".join(map(encode_record, rows))
    unreadable = rechained(
        [replace(rows[0], payload=b"nonsense", payload_sha256=sha256(b"nonsense").digest())]
    )
    stranger = rechained([replace(rows[0], writer_id="../up")])

    answers = {
        "a gap": (encode_record(rows[1]), TYPE, 409, "import_refused"),
        "a half": (body[:-5], TYPE, 400, "corrupt_payload"),
        "a flip": (body[:40] + bytes([body[40] ^ 1]) + body[41:], TYPE, 400, "corrupt_payload"),
        "a length": (HEADER.pack(2**31, 0) + b"x", TYPE, 400, "corrupt_payload"),
        "no log": (body, {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        "a payload": (encode_record(unreadable[0]), TYPE, 409, "import_refused"),
        "an id": (encode_record(stranger[0]), TYPE, 400, "invalid_request"),
    }
    for name, (data, headers, status, code) in answers.items():
        answer = await server.ask("POST", "/api/v1/log", data=data, headers=headers)
        assert (answer.status, answer.code) == (status, code), name

    assert await rows_of(server) == []


@pytest.mark.parametrize("query", ["after=-1", "wait=61", "after=x"])
async def test_a_stream_of_nonsense_is_refused(server: TestServer, query: str) -> None:
    answer = await server.ask("GET", f"/api/v1/log?{query}")

    assert answer.status == 400


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_records_may_arrive_in_any_pieces(size: int) -> None:
    rows = await a_log()
    data = b"".join(map(encode_record, rows))
    reader = RecordReader()

    found = [row for at in range(0, len(data), size) for row in reader.feed(data[at : at + size])]

    assert found == rows
    assert reader.is_between_records


async def test_a_record_with_other_fields_is_refused() -> None:
    (row, *_) = await a_log()
    wrong = encode_record(replace(row, n="3"))  # type: ignore[arg-type]  # on purpose

    with pytest.raises(CorruptPayload, match="other fields"):
        list(RecordReader().feed(wrong))


async def test_a_reader_goes_on_after_a_restart_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as first:
        await fill(first.app[EVENT_STORE])
        rows = await rows_of(first)
        port = int(first.url.rpartition(":")[2])
        async with server_log(first.url, api_key=None) as log:
            head = list(await log.read(after=0, batches_max=5, bytes_max=10**9))
    async with serving(tmp_path, port=port) as again, server_log(again.url, api_key=None) as log:
        rest = list(await log.read(after=head[-1].last_position, batches_max=99, bytes_max=10**9))

    assert head + rest == rows
    monkeypatch.setattr(server_log_module, "_DELAYS_S", (0.01,))
    async with server_log(again.url, api_key=None) as log:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await log.read(after=0, batches_max=1, bytes_max=1)


async def test_a_key_is_asked_for_by_the_log_too(tmp_path: Path) -> None:
    async with serving(tmp_path, api_key="secret") as server:
        async with server_log(server.url, api_key=None) as log:
            with pytest.raises(ServerSaid, match="key") as refusal:
                await log.head()
        async with server_log(server.url, api_key="secret") as log:
            assert (await log.head()).next_position == 1

    assert refusal.value.status == 401
