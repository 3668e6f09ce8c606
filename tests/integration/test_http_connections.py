"""What passes over one connection: appends of every shape between other requests.

Plain appends are taken off the wire by our own code, all else by aiohttp's; here the same
requests go both ways and must be answered alike, in order, whatever pieces they come in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.components import COUNTERS
from ingest.json_errors import JsonErrorConnection
from ingest.request_heads import append_headers, message_length
from tests.support.http_server import TestServer, batch_body, serving
from tracker.events import limits
from tracker.events.wire import BATCH_CONTENT_TYPE

# Any header we do not know makes aiohttp take the append.
SLOWLY = ("X-Other: 1",)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


class Connection:
    """One socket; answers are read one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(60):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.split("\r\n")
            headers = {n.lower(): v for n, _, v in (x.partition(": ") for x in lines if x)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(line.split()[1]), headers, orjson.loads(body)

    async def line(self) -> bytes:
        async with asyncio.timeout(60):
            return await self._reader.readline()

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], Any]:
        self.writer.write(request)
        return await self.answer()


@asynccontextmanager
async def connected(server: TestServer) -> AsyncIterator[Connection]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield Connection(reader, writer)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.fixture
async def connection(server: TestServer) -> AsyncIterator[Connection]:
    async with connected(server) as connection:
        yield connection


def append_request(body: bytes, *headers: str) -> bytes:
    lines = (
        "POST /api/v1/append HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {BATCH_CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


GET_WRITER = b"GET /api/v1/writers/w1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


SENT = {
    "new": batch_body(4, 2),
    "twice": batch_body(1, 3),
    "a gap": batch_body(9, 3),
    "reused": batch_body(1, 3, value=0.75),
    "moved": batch_body(4, 1, run_id="run-2"),
    "invalid": batch_body(4, 1, key="a\nb"),
    "garbage": b"garbage",
    "empty": b"",
}


@pytest.mark.parametrize("what", SENT)
async def test_both_ways_answer_alike(what: str, tmp_path: Path) -> None:
    answers = []
    for more in ((), SLOWLY):
        async with serving(tmp_path / str(len(more))) as server, connected(server) as connection:
            await connection.ask(append_request(batch_body(1, 3)))
            status, headers, body = await connection.ask(append_request(SENT[what], *more))
            answers.append((status, headers.keys() - {"date", "server"}, body))

    assert answers[0] == answers[1]


async def test_requests_of_all_kinds_take_turns(connection: Connection) -> None:
    for seq in range(1, 6):
        status, _, answer = await connection.ask(append_request(batch_body(seq, 1)))
        assert (status, answer["next_seq"]) == (200, seq + 1)
        status, _, answer = await connection.ask(GET_WRITER)
        assert (status, answer["next_seq"]) == (200, seq + 1)


async def test_an_append_may_come_in_any_pieces(connection: Connection) -> None:
    request = append_request(batch_body(1, 3))
    for size in (1, 7, len(request) - 1):
        for start in range(0, len(request), size):
            connection.writer.write(request[start : start + size])
            await connection.writer.drain()
            await asyncio.sleep(0)
        status, _, answer = await connection.answer()
        assert (status, answer["next_seq"]) == (200, 4)


async def test_a_body_may_come_long_after_its_head(connection: Connection) -> None:
    await connection.ask(append_request(batch_body(1, 1)))
    request = append_request(batch_body(2, 3))
    end = request.index(b"\r\n\r\n") + 4
    for part in (request[:end], request[end : end + 5], request[end + 5 :]):
        connection.writer.write(part)
        await connection.writer.drain()
        await asyncio.sleep(0.02)

    status, _, answer = await connection.answer()

    assert (status, answer["next_seq"]) == (200, 5)


async def test_pipelined_requests_are_answered_in_order(connection: Connection) -> None:
    for seq in range(1, 30):
        connection.writer.write(append_request(batch_body(seq, 1)))
    connection.writer.write(GET_WRITER)
    for seq in range(30, 40):
        connection.writer.write(append_request(batch_body(seq, 1)))

    answers = [(await connection.answer())[2]["next_seq"] for _ in range(40)]

    assert answers == [*range(2, 31), 30, *range(31, 41)]


async def test_a_client_may_wait_to_be_told_to_go_on(connection: Connection) -> None:
    request = append_request(batch_body(1, 3), "Expect: 100-continue")
    end = request.index(b"\r\n\r\n") + 4
    connection.writer.write(request[:end])
    assert await connection.line() == b"HTTP/1.1 100 Continue\r\n"
    assert await connection.line() == b"\r\n"

    status, _, answer = await connection.ask(request[end:])

    assert (status, answer["next_seq"]) == (200, 4)


async def test_a_client_that_leaves_early_leaves_nothing_behind(
    server: TestServer, connection: Connection
) -> None:
    connection.writer.write(append_request(batch_body(1, 3))[:-1])
    await connection.writer.drain()
    async with asyncio.timeout(60):
        while server.app[COUNTERS].in_flight_bytes == 0:
            await asyncio.sleep(0.01)

    connection.writer.close()
    await connection.writer.wait_closed()

    async with asyncio.timeout(60):
        while server.app[COUNTERS].in_flight_bytes > 0:
            await asyncio.sleep(0.01)
    assert (await server.ask("GET", "/api/v1/writers/w1")).status == 404


@pytest.mark.parametrize(
    "header",
    [
        "X-Tracker-Workspace: elsewhere",
        "Content-Encoding: gzip",
        "Origin: https://evil.example",
        "Host: evil.example",
        "Content-Length: 1",
    ],
)
async def test_what_must_be_refused_is_refused_on_a_connection_that_was_trusted(
    connection: Connection, header: str
) -> None:
    assert (await connection.ask(append_request(batch_body(1, 1))))[0] == 200

    status, _, answer = await connection.ask(append_request(batch_body(2, 1), header))

    assert 400 <= status < 500
    assert answer["error"]["code"]


async def test_a_body_beyond_the_limit_is_refused_on_a_connection_that_was_trusted(
    connection: Connection,
) -> None:
    await connection.ask(append_request(batch_body(1, 1)))
    request = append_request(b"")
    length = limits.BATCH_BYTES_MAX + 5000

    status, _, answer = await connection.ask(
        request.replace(b"Content-Length: 0", f"Content-Length: {length}".encode())
    )

    assert (status, answer["error"]["code"]) == (413, "payload_too_large")


async def test_a_key_is_asked_for_on_every_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, api_key="right") as server:
        for keys in (("right", "wrong", "right"), ("wrong", "right", "righx", "right")):
            async with connected(server) as connection:
                for key in keys:
                    request = append_request(batch_body(1, 1), f"Authorization: Bearer {key}")
                    status, _, _ = await connection.ask(request)
                    assert status == (200 if key == "right" else 401)


async def test_plain_appends_do_not_reach_aiohttp(
    server: TestServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would compare aiohttp with itself."""
    passed: list[bytes] = []
    original = JsonErrorConnection.data_received

    def spy(self: Any, data: bytes) -> None:
        passed.append(data)
        original(self, data)

    monkeypatch.setattr(JsonErrorConnection, "data_received", spy)
    for seq in (1, 2):
        assert (await connection.ask(append_request(batch_body(seq, 1))))[0] == 200
    assert passed == []

    await connection.ask(append_request(batch_body(3, 1), *SLOWLY))

    assert [data for data in passed if data] == [append_request(batch_body(3, 1), *SLOWLY)]


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ("GET / HTTP/1.1\r\nHost: a", 0),
        ("POST / HTTP/1.1\r\nContent-Length: 12", 12),
        ("POST / HTTP/1.1\r\ncontent-length:12\r\nHost: a", 12),
        ("POST / HTTP/1.1\r\nContent-Length: 12\r\nContent-Length: 12", None),
        ("POST / HTTP/1.1\r\nContent-Length: +12", None),
        ("POST / HTTP/1.1\r\nContent-Length: 1 2", None),
        ("POST / HTTP/1.1\r\nContent-Length : 12", None),
        ("POST / HTTP/1.1\r\nX: a\nContent-Length: 12", None),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked", None),
        ("GET / HTTP/1.1\r\nUpgrade: websocket", None),
        ("POST / HTTP/1.1\r\nContent-Length: 12\r\nExpect: 100-continue", None),
    ],
)
def test_a_length_is_taken_only_when_it_is_said_plainly(lines: str, length: int | None) -> None:
    assert message_length(lines.encode()) == length


@pytest.mark.parametrize(
    "line",
    [
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Content-Type: application/json",
        "X-Request-Id: mine",
        "no colon",
        " folded: line",
        "Accept : x",
        "Accept: a\nb",
        "Accept: é",
        "",
    ],
)
def test_a_head_that_asks_for_more_is_no_plain_append(line: str) -> None:
    plain = f"POST /api/v1/append HTTP/1.1\r\nHost: a\r\nContent-Type: {BATCH_CONTENT_TYPE}"
    assert append_headers(plain.encode()) == {"host": "a", "content-type": BATCH_CONTENT_TYPE}

    assert append_headers(f"{plain}\r\n{line}".encode()) is None


def test_no_header_that_is_understood_is_one_of_those_with_consequences() -> None:
    from ingest import request_heads

    risky = re.compile("encoding$|^connection|^expect|^upgrade|^origin|^cookie|^te$|^trailer")
    names = {name for name in request_heads._UNDERSTOOD if risky.search(name)}
    assert names == {"accept-encoding"}
