"""Reading spools: every good record once, every loss reported, nothing raised.

The damage is enumerated rather than drawn: every length a file can be cut to, every bit
that can flip.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.events.types import Event
from tracker.spool import framing
from tracker.spool.chunks import Chunk
from tracker.spool.folder import WriterFolder
from tracker.spool.inspection import rows_of
from tracker.spool.quarantine import Keeper, NullQuarantine
from tracker.spool.reader import ChunkLimits, SpoolReader

WRITER = "a" * 32


def metric(seq: int) -> bytes:
    return framing.metric_record(seq, b"loss", seq * 10, 1_000 + seq, seq / 2)


def event(seq: int) -> bytes:
    return framing.event_record(seq, Event("tags.set", 1_000 + seq, {"tags": {"k": str(seq)}}))


def records(first: int, last: int) -> list[bytes]:
    return [event(seq) if seq % 3 == 0 else metric(seq) for seq in range(first, last + 1)]


def segment(folder: Path, first: int, parts: list[bytes]) -> Path:
    path = folder / framing.segment_name(first)
    path.write_bytes(framing.segment_header(WRITER, 1, first) + b"".join(parts))
    return path


def read_all(
    folder: Path, *, is_final: bool = True, quarantine: Keeper | None = None
) -> list[Chunk]:
    reader = SpoolReader(WriterFolder(folder), next_seq=1, quarantine=quarantine)
    chunks = []
    while (chunk := reader.read(is_final=is_final)) is not None:
        chunks.append(chunk)
    return chunks


def seqs_read(chunks: list[Chunk]) -> list[int]:
    return [row["seq"] for c in chunks for row in rows_of(c) if row["type"] != "events.dropped"]


def seqs_lost(chunks: list[Chunk]) -> list[int]:
    return [
        lost.first_seq + index for c in chunks for lost in c.lost for index in range(lost.width)
    ]


def test_records_come_back_in_order_across_segments(tmp_path: Path) -> None:
    segment(tmp_path, 1, records(1, 10))
    segment(tmp_path, 11, records(11, 15))

    chunks = read_all(tmp_path)

    assert seqs_read(chunks) == list(range(1, 16))
    assert [(c.first_seq, c.next_seq) for c in chunks] == [(1, 16)]
    assert chunks[0].points == 10


def test_reading_may_begin_anywhere_and_be_cut_into_chunks(tmp_path: Path) -> None:
    segment(tmp_path, 1, records(1, 10))
    segment(tmp_path, 11, records(11, 20))
    reader = SpoolReader(WriterFolder(tmp_path), next_seq=7)

    chunks = []
    while (chunk := reader.read(is_final=True, limits=ChunkLimits(records=4))) is not None:
        chunks.append(chunk)

    assert [(c.first_seq, c.next_seq) for c in chunks] == [(7, 11), (11, 15), (15, 19), (19, 21)]


@pytest.mark.parametrize("is_final", [True, False])
def test_a_file_cut_at_any_byte_gives_every_whole_record_and_no_loss(
    tmp_path: Path, is_final: bool
) -> None:
    parts = records(1, 6)
    path = segment(tmp_path, 1, parts)
    whole = path.read_bytes()
    ends = [framing.SEGMENT_HEADER.size]
    for part in parts:
        ends.append(ends[-1] + len(part))

    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        chunks = read_all(tmp_path, is_final=is_final)

        good = sum(end <= size for end in ends[1:])
        assert seqs_read(chunks) == list(range(1, good + 1)), size
        assert seqs_lost(chunks) == [], size


def test_a_live_writers_next_record_is_taken_once_it_is_whole(tmp_path: Path) -> None:
    path = segment(tmp_path, 1, [metric(1), metric(2)[:20]])
    reader = SpoolReader(WriterFolder(tmp_path), next_seq=1)

    first = reader.read(is_final=False)
    nothing = reader.read(is_final=False)
    with path.open("ab") as file:
        file.write(metric(2)[20:])
    second = reader.read(is_final=False)

    assert first is not None
    assert nothing is None
    assert second is not None
    assert (second.first_seq, second.next_seq, second.lost) == (2, 3, [])


def test_any_flipped_bit_loses_at_most_its_own_record_and_says_so(tmp_path: Path) -> None:
    path = segment(tmp_path, 1, records(1, 5))
    segment(tmp_path, 6, records(6, 7))
    whole = path.read_bytes()

    for bit in range(framing.SEGMENT_HEADER.size * 8, len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)

        chunks = read_all(tmp_path, quarantine=NullQuarantine())

        read, lost = seqs_read(chunks), seqs_lost(chunks)
        assert sorted(read + lost) == list(range(1, 8)), bit
        assert len(lost) == 1, bit
        assert read == sorted(read), bit


def test_corrupt_bytes_are_kept_with_a_note(tmp_path: Path) -> None:
    path = segment(tmp_path, 1, records(1, 5))
    whole = bytearray(path.read_bytes())
    whole[framing.SEGMENT_HEADER.size + 30] ^= 0xFF
    path.write_bytes(whole)

    read_all(tmp_path)

    (note,) = (tmp_path / "quarantine").glob("*.json")
    assert '"width": 1' in note.read_text()
    (kept,) = (tmp_path / "quarantine").glob("*.bin")
    assert kept.stat().st_size == len(metric(1))


def test_a_missing_segment_is_a_loss_of_exactly_its_records(tmp_path: Path) -> None:
    segment(tmp_path, 1, records(1, 10))
    segment(tmp_path, 21, records(21, 25))

    chunks = read_all(tmp_path)

    assert seqs_lost(chunks) == list(range(11, 21))
    assert seqs_read(chunks) == [*range(1, 11), *range(21, 26)]


def test_segments_that_repeat_records_give_them_once(tmp_path: Path) -> None:
    segment(tmp_path, 1, records(1, 10))
    segment(tmp_path, 8, records(8, 15))

    assert seqs_read(read_all(tmp_path)) == list(range(1, 16))


def test_a_dropped_record_stands_for_its_whole_range(tmp_path: Path) -> None:
    dropped = framing.dropped_record(3, n=100, time_us=5, reason="disk full")
    segment(tmp_path, 1, [*records(1, 2), dropped, metric(103)])

    chunks = read_all(tmp_path)

    assert seqs_lost(chunks) == list(range(3, 103))
    assert chunks[0].lost[0].reason == "disk full"
    assert seqs_read(chunks) == [1, 2, 103]


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x01\x00\x01\x00\x01\x00\x00\x00"])
def test_a_tail_of_garbage_is_cut_off(tmp_path: Path, filler: bytes) -> None:
    segment(tmp_path, 1, [*records(1, 4), filler * 5_000])

    chunks = read_all(tmp_path)

    assert seqs_read(chunks) == [1, 2, 3, 4]
    assert seqs_lost(chunks) == []


def test_the_records_crc_does_not_depend_on_where_reading_began_in_the_file(tmp_path: Path) -> None:
    segment(tmp_path, 1, records(1, 9))
    reader = SpoolReader(WriterFolder(tmp_path), next_seq=1)
    reader.read(is_final=True, limits=ChunkLimits(records=4))
    continued = reader.read(is_final=True)

    fresh = SpoolReader(WriterFolder(tmp_path), next_seq=5).read(is_final=True)

    assert continued is not None
    assert fresh is not None
    assert continued.records_crc == fresh.records_crc


def test_a_segment_that_its_writer_gave_up_again_hides_nothing(tmp_path: Path) -> None:
    """An exception out of a signal handler, just when a new segment had its name."""
    first = segment(tmp_path, 1, records(1, 3))
    reader = SpoolReader(WriterFolder(tmp_path), next_seq=1, quarantine=NullQuarantine())
    given_up = segment(tmp_path, 4, [])
    before = reader.read(is_final=False)
    given_up.unlink()
    first.write_bytes(first.read_bytes() + b"".join(records(4, 6)))
    segment(tmp_path, 7, records(7, 8))

    chunks = [before, reader.read(is_final=False)]

    read = [chunk for chunk in chunks if chunk is not None]
    assert (seqs_read(read), seqs_lost(read)) == ([*range(1, 9)], [])


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(tmp_path, 1, records(1, 3))

    def refuse(path: Path) -> Iterator[Path]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "iterdir", refuse)

    with pytest.raises(OSError, match="Too many open files"):
        read_all(tmp_path)
