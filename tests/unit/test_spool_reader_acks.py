"""Acks: the newest valid slot, through every torn write and two writers at once."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tracker.spool.acks import NO_ACK, SLOT_BYTES, read_ack, read_ack_fd, write_ack


def test_without_a_file_nothing_is_acked(tmp_path: Path) -> None:
    assert read_ack(tmp_path / "acks") == NO_ACK
    assert NO_ACK.next_seq == 1


@given(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=20))
def test_an_ack_never_moves_back_within_a_destination(seqs: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "acks"
        seen = []
        for seq in seqs:
            write_ack(path, next_seq=seq, destination=7)
            seen.append(read_ack(path).next_seq)

    assert seen == [max([1, *seqs[: i + 1]]) for i in range(len(seqs))]


def test_another_destination_begins_anew(tmp_path: Path) -> None:
    write_ack(tmp_path / "acks", next_seq=100, destination=1)
    write_ack(tmp_path / "acks", next_seq=5, destination=2)

    ack = read_ack(tmp_path / "acks")

    assert (ack.next_seq, ack.destination) == (5, 2)


def test_a_write_torn_at_any_byte_leaves_the_ack_before_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "acks"
    for seq in (10, 20, 30):
        write_ack(path, next_seq=seq, destination=7)
    before = path.read_bytes()
    write_ack(path, next_seq=40, destination=7)
    after = path.read_bytes()

    found = set()
    for cut in range(2 * SLOT_BYTES + 1):
        for torn in (after[:cut] + before[cut:], before[:cut] + after[cut:]):
            path.write_bytes(torn)
            found.add(read_ack(path).next_seq)

    assert found == {30, 40}


def test_a_flipped_bit_costs_at_most_the_newest_ack(tmp_path: Path) -> None:
    path = tmp_path / "acks"
    for seq in (10, 20):
        write_ack(path, next_seq=seq, destination=7)
    good = path.read_bytes()

    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert read_ack(path).next_seq in (10, 20)


def test_two_shippers_writing_at_once_never_show_an_ack_that_nobody_gave(tmp_path: Path) -> None:
    path = tmp_path / "acks"
    stop = threading.Event()
    seen: list[int] = []

    def write(offset: int) -> None:
        for seq in range(2 + offset, 400, 2):
            write_ack(path, next_seq=seq, destination=7)

    def watch() -> None:
        while not stop.is_set():
            seen.append(read_ack(path).next_seq)

    watching = threading.Thread(target=watch)
    writing = [threading.Thread(target=write, args=(offset,)) for offset in (0, 1)]
    for thread in (watching, *writing):
        thread.start()
    for thread in writing:
        thread.join()
    stop.set()
    watching.join()

    assert set(seen) <= set(range(1, 400))
    # The slower of the two may have the last word; the next ack corrects it.
    write_ack(path, next_seq=400, destination=7)
    assert read_ack(path).next_seq == 400


def test_reading_is_cheap_enough_to_poll_every_millisecond(tmp_path: Path) -> None:
    write_ack(tmp_path / "acks", next_seq=10, destination=7)
    fd = os.open(tmp_path / "acks", os.O_RDONLY)
    best = min(_time_of(fd) for _ in range(50))
    os.close(fd)

    assert best < 100e-6


def _time_of(fd: int) -> float:
    began = time.perf_counter()
    for _ in range(100):
        read_ack_fd(fd)
    return (time.perf_counter() - began) / 100
