"""A shipper on a disk that is full, and beside another shipper that empties the same spool."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_ingest import fake_ingest
from tests.support.spool_scripts import log_steps
from tracker.events.ids import new_run_id, new_writer_id
from tracker.events.types import Event
from tracker.shipper import clearing as clearing_module
from tracker.shipper.blobs import LostBlob, NamedBlob
from tracker.shipper.clearing import Clearing
from tracker.shipper.delivery import Delivery
from tracker.shipper.oneshot import sync
from tracker.shipper.transmit import Transmitter
from tracker.shipper.uploads import Uploader
from tracker.spool.acks import read_ack, write_ack
from tracker.spool.folder import SpoolRoot
from tracker.spool.locks import WriterState, writer_state
from tracker.spool.meta import KIND_ARTIFACTS, WriterMeta
from tracker.spool.writer import SpoolWriter


def writer_of_small_segments(root: Path, *, steps: int, uri: str = "http://x") -> SpoolWriter:
    root.mkdir(parents=True, exist_ok=True)
    meta = WriterMeta(writer_id=new_writer_id(), run_id=new_run_id(), uri=uri)
    writer = SpoolWriter.create(SpoolRoot(root), meta, segment_bytes_max=1024)
    log_steps(writer, 1, steps)
    return writer


def test_segments_go_only_after_the_ack_that_covers_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of_small_segments(tmp_path, steps=100)
    segments = writer.folder.segments()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    clearing = Clearing(writer.folder, writer.meta, uri="http://x")
    with monkeypatch.context() as broken:
        broken.setattr(clearing_module, "write_ack", refuse)
        with pytest.raises(OSError, match="Input/output"):
            clearing.acknowledge(writer.next_seq)
    after_refusal = writer.folder.segments()
    clearing.acknowledge(writer.next_seq)
    writer.close()

    assert after_refusal == segments
    assert len(segments) > 3
    assert writer.folder.segments() == segments[-1:]


def test_a_segment_with_a_record_that_is_not_acked_stays(tmp_path: Path) -> None:
    writer = writer_of_small_segments(tmp_path, steps=100)
    segments = writer.folder.segments()
    clearing = Clearing(writer.folder, writer.meta, uri="http://x")

    clearing.acknowledge(segments[2].first_seq - 1)
    almost = writer.folder.segments()
    clearing.acknowledge(segments[2].first_seq)
    writer.close()

    assert almost == segments[1:]
    assert writer.folder.segments() == segments[2:]


def test_on_a_full_disk_delivered_segments_make_room_for_their_ack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of_small_segments(tmp_path, steps=100)

    def full_until_something_goes(*given: Any, **also: Any) -> Any:
        if len(writer.folder.segments()) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_ack(*given, **also)

    monkeypatch.setattr(clearing_module, "write_ack", full_until_something_goes)
    Clearing(writer.folder, writer.meta, uri="http://x").acknowledge(writer.next_seq)
    writer.close()

    assert read_ack(writer.folder.acks).next_seq == writer.next_seq
    assert len(writer.folder.segments()) == 1


async def test_segments_that_another_shipper_delivered_and_unlinked_are_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one sends and unlinks between our question and our first look at the files."""
    async with fake_ingest() as server:
        writer = writer_of_small_segments(tmp_path, steps=100, uri=server.uri)
        resume = Delivery._resume

        async def overtaken(self: Delivery) -> None:
            await resume(self)
            with monkeypatch.context() as undone:
                undone.setattr(Delivery, "_resume", resume)
                await sync(tmp_path, uri_of=lambda meta: server.uri)

        monkeypatch.setattr(Delivery, "_resume", overtaken)
        report = await sync(tmp_path, uri_of=lambda meta: server.uri)
        writer.close()

    stored = server.writers[writer.meta.writer_id]
    assert report.is_complete
    assert stored.steps == list(range(1, 101))
    assert stored.lost == []


async def test_segments_that_are_gone_without_a_delivery_are_a_recorded_loss(
    tmp_path: Path,
) -> None:
    async with fake_ingest() as server:
        writer = writer_of_small_segments(tmp_path, steps=100, uri=server.uri)
        first, second, *_ = writer.folder.segments()
        first.path.unlink()

        await sync(tmp_path, uri_of=lambda meta: server.uri)
        writer.close()

    stored = server.writers[writer.meta.writer_id]
    assert [(first_seq, width) for first_seq, width, _ in stored.lost] == [
        (1, second.first_seq - 1)
    ]
    assert stored.steps == list(range(second.first_seq, 101))


async def test_a_refused_loss_ends_the_writer_and_says_why(tmp_path: Path) -> None:
    from aiohttp import web

    from tests.support.fake_ingest import FakeIngest, refusal

    def refuse(server: FakeIngest, body: bytes) -> web.Response | None:
        return refusal(422, "invalid_event")

    async with fake_ingest() as server:
        server.before = refuse
        writer = writer_of_small_segments(tmp_path, steps=2, uri=server.uri)

        report = await sync(tmp_path, uri_of=lambda meta: server.uri)
        writer.close()

    assert not report.is_complete
    assert "invalid_event" in (report.remaining[0].problem or "")


def test_the_transmitter_keeps_a_path_that_a_proxy_added() -> None:
    transmitter = Transmitter(None, "http://host/tracking/")  # type: ignore[arg-type]  # never asked

    assert transmitter.uri == "http://host/tracking"


@pytest.mark.parametrize("removed", range(6))
def test_a_shipper_killed_while_it_removes_a_folder_leaves_it_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    writer = writer_of_small_segments(tmp_path, steps=30)
    writer.close()
    (writer.folder.path / "blobs").mkdir()
    Clearing(writer.folder, writer.meta, uri="http://x").acknowledge(writer.next_seq)
    left = [removed]

    def unlink(path: Path) -> None:
        if not left[0]:
            raise SystemExit("killed")
        left[0] -= 1
        path.unlink()

    with monkeypatch.context() as killed:
        killed.setattr(clearing_module, "_unlink", unlink)
        with suppress(SystemExit):
            Clearing(writer.folder, writer.meta, uri="http://x").remove_folder()
    for folder in SpoolRoot(tmp_path).writer_folders():
        assert writer_state(folder, writer.meta) is WriterState.DEAD
        Clearing(folder, writer.meta, uri="http://x").remove_folder()

    assert list(SpoolRoot(tmp_path).writer_folders()) == []
    assert writer.acked_seq() == writer.next_seq


async def test_a_file_that_another_shipper_brought_and_removed_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is done just when this one is in the middle of the file."""
    uploads: list[Sequence[NamedBlob]] = []

    async def upload(self: Uploader, blobs: Sequence[NamedBlob]) -> None:
        uploads.append(blobs)
        if len(uploads) == 1:
            await sync(tmp_path, uri_of=lambda meta: server.uri)
            raise LostBlob("it is gone from the spool")

    monkeypatch.setattr(Uploader, "upload", upload)
    async with fake_ingest() as server:
        meta = WriterMeta(writer_id=new_writer_id(), run_id=new_run_id(), kind=KIND_ARTIFACTS)
        writer = SpoolWriter.create(SpoolRoot(tmp_path), meta)
        fact = {"path": "model.bin", "digest": "a" * 64, "size": 5}
        writer.log_event(Event("artifact.logged", 1, fact))

        report = await sync(tmp_path, uri_of=lambda meta: server.uri)
        writer.close()

    assert len(uploads) == 2
    assert (report.is_complete, report.counts.rejected) == (True, 0)
    assert not writer.folder.rejected.exists()
    stored = server.writers[writer.meta.writer_id]
    assert (stored.event_types, stored.lost) == (["artifact.logged"], [])
