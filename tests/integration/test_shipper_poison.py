"""Records whose checksum is right and whose content is not: one must not hold up the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.http_server import TestServer, serving
from tracker.shipper.oneshot import sync
from tracker.spool import framing
from tracker.spool.meta import MODE_OFFLINE, WriterMeta, store_meta

DEEP = 50_000
POISON = {
    "a lone surrogate": (framing.KIND_EVENT, rb'["params.logged",1,5,{"params":{"a":"\ud800"}}]'),
    "a time beyond 64 bits": (framing.KIND_EVENT, b'["tags.set",1,%d,{"tags":{}}]' % 2**70),
    "endless nesting": (framing.KIND_EVENT, b'["x",1,5,{"a":%s}]' % (b"[" * DEEP + b"]" * DEEP)),
    "nesting to print": (framing.KIND_EVENT, b'["x",1,5,{"a":%s}]' % (b"[" * 800 + b"]" * 800)),
    "text for data": (framing.KIND_EVENT, b'["params.logged",1,5,"text"]'),
    "a list for data": (framing.KIND_EVENT, b'["params.logged",1,5,[1,2]]'),
    "a number for a type": (framing.KIND_EVENT, b"[5,1,5,{}]"),
    "not a number in data": (framing.KIND_EVENT, b'["x",1,5,{"a":NaN}]'),
    "a loss at no time": (framing.KIND_DROPPED, b'["x","y"]'),
    "a loss beyond all time": (framing.KIND_DROPPED, b'[%d,"y"]' % 2**70),
    "a loss for no reason": (framing.KIND_DROPPED, b'[5,{"a":1}]'),
    "values without keys": (framing.KIND_METRICS, bytes(32) + b"only-one"),
    "the same key twice": (framing.KIND_METRICS, bytes(32) + b"a\0a"),
    "an empty file's worth": (framing.KIND_EVENT, b""),
    "an unknown kind": (99, b"{}"),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path / "server") as running:
        yield running


def spool_with(spool: Path, kind: int, payload: bytes) -> None:
    """A writer of another machine with three records; the second is the poison."""
    writer_id = "a" * 32
    folder = spool / "run-1" / writer_id
    folder.mkdir(parents=True)
    meta = WriterMeta(writer_id=writer_id, run_id="run-1", mode=MODE_OFFLINE)
    store_meta(folder / "meta.json", meta)
    k = 2 if kind == framing.KIND_METRICS else 0
    records = [
        framing.metric_record(1, b"loss", 1, 1_000, 0.5),
        framing.record(kind, k, 1, 2, payload),
        framing.metric_record(3, b"loss", 3, 3_000, 0.5),
    ]
    header = framing.segment_header(writer_id, 1, 1)
    (folder / framing.segment_name(1)).write_bytes(header + b"".join(records))


@pytest.mark.parametrize("poison", POISON)
async def test_a_poisoned_record_is_given_up_and_its_neighbours_arrive(
    tmp_path: Path, server: TestServer, poison: str
) -> None:
    kind, payload = POISON[poison]
    spool_with(tmp_path / "spool", kind, payload)

    report = await sync(tmp_path / "spool", uri_of=lambda meta: server.url)

    events = (await server.ask("GET", "/api/v1/events?run_id=run-1")).body
    assert report.is_complete, report
    assert report.counts.lost == 1
    assert [events.count(b'"step":%d' % step) for step in (1, 3)] == [1, 1]
    assert events.count(b"events.dropped") == 1
