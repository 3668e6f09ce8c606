"""Nothing from outside breaks the server: a 4xx with a code and a sentence, and no append."""

from __future__ import annotations

import asyncio
import io
import json
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import pytest

from ingest import blob_bodies
from ingest.components import COUNTERS
from ingest.state import EVENT_STORE
from tests.support.http_server import (
    BATCH,
    TestServer,
    batch_body,
    events_body,
    frames_body,
    serving,
)
from tracker.events import limits, wire
from tracker.events.compression import compress
from tracker.events.types import Event

JSON = {"Content-Type": "application/json"}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # nothing announces what the server counts
            await asyncio.sleep(0.01)


async def begin_upload(server: TestServer, size: int, start: bytes = b"") -> asyncio.StreamWriter:
    """An append whose body does not come, or only its start."""
    return (await begun_upload(server, size, start))[1]


async def begun_upload(
    server: TestServer, size: int, start: bytes, *, header: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /api/v1/append HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: {wire.BATCH_CONTENT_TYPE}\r\nContent-Length: {size}\r\n{header}\r\n"
    )
    writer.write(head.encode() + start)
    await writer.drain()
    return reader, writer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server
        # Whatever a test has sent: nothing was stored, no bug was met, the server lives.
        assert (await server.app[EVENT_STORE].head()).next_position == 1
        assert server.app[COUNTERS].refusals["internal_error"] == 0
        assert server.app[COUNTERS].in_flight_bytes == 0
        assert (await server.ask("GET", "/health")).status == 200


def header_with(payload: bytes | None = b"", **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "v": 1,
        "run_id": "run-1",
        "writer_id": "w1",
        "epoch": 1,
        "first_seq": 1,
        "n": 1,
        "records_crc": 1,
        "crc": crc32(payload or b""),
        "payload": payload,
    }
    packed: bytes = msgpack.packb(fields | changes)
    return packed


def packed_payload(frames: Any, n: int = 1) -> bytes:
    return header_with(compress(msgpack.packb(frames)), n=n)


def json_batch(*, event: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """One event in the JSON form, with `changes` to the batch and to the event."""
    events = [{"type": "mine.own", "time_us": 1} | (event or {})]
    batch = {"run_id": "r", "writer_id": "w", "first_seq": 1, "events": events} | changes
    return json.dumps(batch).encode()


def json_metrics(**data: Any) -> bytes:
    return json_batch(event={"type": "metrics.logged", "data": data})


ONE_EVENT = [1, [0, 0, 1], [["run.resumed", 1, 1, {}]]]
GOOD = batch_body(1, 3)

MALFORMED = {
    "empty": b"",
    "text": b"hello",
    "not a map": msgpack.packb([1, 2]),
    "nested too deep": b"\x91" * 100_000,
    "a length beyond the body": b"\xc6\xff\xff\xff\xff1",
    "an extension type": msgpack.packb({"v": msgpack.ExtType(5, b"x")}),
    "cut short": GOOD[:-5],
    "trailing bytes": GOOD + b"x",
    "a flipped bit": GOOD[:-3] + bytes([GOOD[-3] ^ 1]) + GOOD[-2:],
    "another version": header_with(v=2),
    "a path as run id": header_with(run_id="../../etc/passwd"),
    "a path as writer id": header_with(writer_id="../w"),
    "NUL in an id": header_with(writer_id="a\0b"),
    "an endless id": header_with(writer_id="w" * 10_000),
    "an id that is no text": header_with(run_id=7),
    "a negative sequence": header_with(first_seq=-1),
    "sequence zero": header_with(first_seq=0),
    "a huge sequence": header_with(first_seq=2**63),
    "a huge count": header_with(n=2**62),
    "a float count": header_with(n=1.0),
    "a boolean epoch": header_with(epoch=True),
    "no payload": header_with(payload=None),
    "not zstd": header_with(b"plain bytes"),
    "zstd cut short": header_with(compress(bytes(1000))[:-3]),
    "zstd with a tail": header_with(compress(b"\x90") + b"tail"),
    "two zstd frames": header_with(compress(b"\x90") + compress(b"\x90")),
    "no frames": packed_payload([]),
    "an unknown frame": packed_payload([[9, 1, 2]]),
    "a frame that is a number": packed_payload([5]),
    "fewer records than said": packed_payload([ONE_EVENT], n=2),
    "the same offset twice": packed_payload([ONE_EVENT, ONE_EVENT], n=2),
    "an offset beyond": packed_payload([[1, [0, 5, 1], [["run.resumed", 1, 1, {}]]]]),
    "a frame without records": packed_payload(
        [[0, 0, [0, 0, 1], ["a"], [0, 0, 1], [0, 0, 1], [[0, bytes(8)]]]]
    ),
    "a dropped range of nothing": packed_payload([[2, 0, 0, 1, "why"]]),
    "metrics as an event": packed_payload([[1, [0, 0, 1], [["metrics.logged", 1, 1, {}]]]]),
}

INVALID = {
    "a key with a control character": batch_body(key="a\nb"),
    "an empty key": batch_body(key=""),
    "a long key": batch_body(key="k" * 251),
    "a param of 10 MB": events_body(1, Event("params.logged", 1, {"params": {"a": "x" * 10**7}})),
    "a param that is a number": events_body(1, Event("params.logged", 1, {"params": {"a": 1}})),
    "an unknown status": events_body(1, Event("run.ended", 1, {"status": "DONE"})),
    "a missing field": events_body(1, Event("run.ended", 1, {})),
    "data that is a list": packed_payload([[1, [0, 0, 1], [["mine", 1, 1, [1]]]]]),
    "bytes in data": events_body(1, Event("mine.own", 1, {"x": b"\xff"})),
    "NaN in data": events_body(1, Event("mine.own", 1, {"x": float("nan")})),
    "bytes as a key": packed_payload([[1, [0, 0, 1], [["mine", 1, 1, {b"k": 1}]]]]),
    "data nested too deep": packed_payload(
        [[1, [0, 0, 1], [["mine", 1, 1, {"x": json.loads("[" * 200 + "]" * 200)}]]]]
    ),
    "a time that is text": packed_payload([[1, [0, 0, 1], [["mine", 1, "now", {}]]]]),
    "a type of 65 letters": events_body(1, Event("t" * 65, 1, {})),
    "a path as parent run": events_body(1, Event("run.started", 1, {"parent_run_id": "../x"})),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_batch_is_refused(server: TestServer, what: str) -> None:
    answer = await server.append(MALFORMED[what])

    assert answer.status in (400, 413), answer.body
    assert answer.code in ("corrupt_payload", "payload_too_large")


@pytest.mark.parametrize("what", INVALID)
async def test_an_invalid_event_is_refused(server: TestServer, what: str) -> None:
    answer = await server.append(INVALID[what])

    assert (answer.status, answer.code) == (422, "invalid_event"), answer.body


HUGE = 10**23

MALFORMED_JSON = {
    "empty": b"",
    "a list": b"[]",
    "no JSON": b"nonsense",
    "cut short": b'{"run_id": "run-1"',
    "nested too deep": b"[" * 100_000,
    "a path as run id": json_batch(run_id="../x"),
    "no events": json_batch(events=[]),
    "a number as text": json_batch(first_seq="1"),
    "a huge sequence": json_batch(first_seq=HUGE),
    "an infinite sequence": json_batch().replace(b'"first_seq": 1', b'"first_seq": 1e400'),
    "an unknown field": json_batch(extra=1),
    "a huge version": json_batch(event={"version": HUGE}),
    "a huge epoch": json_batch(epoch=HUGE),
    "a huge time": json_batch(event={"time_us": HUGE}),
    "a huge number in data": json_batch(event={"data": {"x": HUGE}}),
    "a lone surrogate": json_batch(event={"data": {"x": "\ud800"}}),
    "data nested too deep": json_batch(event={"data": {"x": json.loads("[" * 90 + "]" * 90)}}),
    "metrics without any": json_batch(event={"type": "metrics.logged"}),
    "a metric that is text": json_metrics(metrics={"a": "1"}),
    "a metric of 400 digits": json_metrics(metrics={"a": 10**400}),
    "a step that is no integer": json_metrics(metrics={"a": 1}, step=1.5),
    "a huge step": json_metrics(metrics={"a": 1}, step=HUGE),
}


@pytest.mark.parametrize("what", MALFORMED_JSON)
async def test_malformed_json_is_refused(server: TestServer, what: str) -> None:
    body = MALFORMED_JSON[what]

    answer = await server.ask("POST", "/api/v1/append", data=body, headers=JSON)

    assert answer.status in (400, 422), answer.body
    assert answer.code in ("invalid_request", "invalid_event")


async def test_a_decompression_bomb_is_refused_before_it_unpacks(server: TestServer) -> None:
    bomb = compress(bytes(limits.BATCH_UNPACKED_BYTES_MAX + 1))

    answer = await server.append(header_with(bomb))

    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_points_that_cost_nothing_to_send_are_counted_first(server: TestServer) -> None:
    """Constant columns: a kilobyte would unpack to 40 MB of columns."""
    n = 65_536
    frame = wire.metrics_frame(
        offsets=range(n),
        keys=[f"k{i}" for i in range(80)],
        steps=array("q", range(n)),
        times=array("q", range(n)),
        values=[array("d", [1.0]) * n] * 80,
    )

    answer = await server.append(frames_body([frame], 1, n))

    assert (answer.status, answer.code) == (413, "payload_too_large")
    assert "batch_points_max" in answer.json["error"]["message"]


async def test_a_body_that_says_it_is_too_large_is_refused_unread(server: TestServer) -> None:
    body = io.BytesIO(bytes(limits.BATCH_BYTES_MAX + 5000))

    answer = await server.ask("POST", "/api/v1/append", data=body, headers=BATCH)

    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_an_endless_chunked_body_is_cut_off(server: TestServer) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024 * 1024
            yield bytes(1024 * 1024)
            await asyncio.sleep(0)

    try:
        answer = await server.ask("POST", "/api/v1/append", data=endless(), headers=BATCH)
    except (ConnectionError, OSError):
        pass  # cut off while still sending
    else:
        assert (answer.status, answer.code) == (413, "payload_too_large")
    assert sent < 256 * 1024 * 1024


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/plain"}, JSON | {"Content-Encoding": "gzip"}]
)
async def test_what_the_body_is_must_be_understood(
    server: TestServer, headers: dict[str, str]
) -> None:
    answer = await server.ask("POST", "/api/v1/append", data=b"x", headers=headers)

    assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_bodies_beyond_the_budget_are_put_off(tmp_path: Path) -> None:
    """Two uploads stay open and hold their shares; a third does not fit beside them."""
    size = limits.BATCH_BYTES_MAX
    async with serving(tmp_path, in_flight_bytes_max=2 * size) as server:
        uploads = [await begin_upload(server, size) for _ in range(2)]
        await until(lambda: server.app[COUNTERS].in_flight_bytes == 2 * size)

        answer = await server.append(batch_body())

        assert (answer.status, answer.code) == (503, "busy")
        assert answer.headers["Retry-After"] == "1"
        for upload in uploads:
            upload.close()
        await until(lambda: server.app[COUNTERS].in_flight_bytes == 0)
        assert (await server.append(batch_body())).status == 200


@pytest.mark.parametrize("header", ["", "X-Other: 1\r\n"], ids=["plain", "by aiohttp"])
async def test_who_is_paused_in_the_middle_of_a_body_does_not_keep_the_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    monkeypatch.setattr(blob_bodies, "BODY_SILENCE_S_MAX", 0.3)
    size = limits.BATCH_BYTES_MAX
    async with serving(tmp_path, in_flight_bytes_max=2 * size) as server:
        paused = [await begun_upload(server, size, b"a few", header=header) for _ in range(2)]
        for reader, writer in paused:
            async with asyncio.timeout(60):
                with suppress(ConnectionError):
                    said = await reader.read(1000)
                    assert said == b"" or said.startswith(b"HTTP/1.1 408")
            writer.close()

        await until(lambda: server.app[COUNTERS].in_flight_bytes == 0)
        assert (await server.append(batch_body())).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/writers/..%2f..%2fetc%2fpasswd",
        "/api/v1/writers/%00",
        "/api/v1/writers/" + "w" * 4000,
        "/api/v1/runs/..%2f..%2fx",
        "/../../etc/passwd",
        "/api/v1/nothing",
        "/%ff%fe",
    ],
)
async def test_paths_lead_nowhere(server: TestServer, path: str) -> None:
    answer = await server.ask("GET", path)

    assert answer.status in (400, 404)
    assert answer.code


async def test_a_wrong_method_says_which_are_right(server: TestServer) -> None:
    answer = await server.ask("PUT", "/api/v1/append", data=b"")

    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"POST /api/v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /api/v1/append HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
async def test_what_is_not_http_is_answered_with_json(server: TestServer, sent: bytes) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)

    answer = await asyncio.wait_for(reader.read(), 60)

    writer.close()
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    assert b'"code":' in answer


async def test_a_connection_cut_in_mid_body_leaves_nothing(server: TestServer) -> None:
    for cut in (1, len(GOOD) // 2, len(GOOD) - 1):
        upload = await begin_upload(server, len(GOOD), GOOD[:cut])
        upload.close()
        await upload.wait_closed()
    await until(lambda: server.app[COUNTERS].in_flight_bytes == 0)
