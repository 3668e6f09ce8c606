"""Acks: up to which sequence number the server has confirmed a writer, on disk.

Two slots of 64 bytes, written in turn, each with its own checksum. A crash in the middle
of a write tears at most the slot being written; the other one still holds the ack before.
An ack is only for cleaning up and for waiting: what to send next is asked of the server.

    slot = magic "TRKACK01" | generation u64 | next_seq u64 | destination u64 | zeros | crc32 u32

Shippers write, the writer's process reads. Two shippers may write at once: next_seq only
ever rises within one destination, and a slot torn by both is caught by its checksum.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

SLOT_BYTES: Final = 64
_MAGIC: Final = b"TRKACK01"
_FIELDS: Final = struct.Struct("<8sQQQ28x")
_CRC: Final = struct.Struct("<I")


class Ack(NamedTuple):
    """Everything below next_seq is durable at `destination`; 1 means nothing yet."""

    generation: int = 0
    next_seq: int = 1
    destination: int = 0


NO_ACK: Final = Ack()


def destination_hash(uri: str) -> int:
    import hashlib  # loads OpenSSL, which an import of the SDK should not wait for

    return int.from_bytes(hashlib.sha256(uri.encode()).digest()[:8], "little")


def read_ack(path: Path) -> Ack:
    """The newest valid ack of the file; NO_ACK if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return NO_ACK
    try:
        return read_ack_fd(fd)
    finally:
        os.close(fd)


def read_ack_fd(fd: int) -> Ack:
    """As read_ack, from an open file: one pread, cheap enough to poll every millisecond."""
    try:
        data = os.pread(fd, 2 * SLOT_BYTES, 0)
    except OSError:
        return NO_ACK
    acks = [_ack_of(data[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
    return max(acks, key=lambda ack: (ack.generation, ack.next_seq))


def write_ack(path: Path, *, next_seq: int, destination: int) -> Ack:
    """Record that everything below next_seq is confirmed; durable on return.

    Never moves back within a destination. Raises OSError when the disk refuses.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        before = read_ack_fd(fd)
        if before.destination == destination and before.next_seq >= next_seq:
            return before
        ack = Ack(before.generation + 1, next_seq, destination)
        os.pwrite(fd, _slot_of(ack), (ack.generation % 2) * SLOT_BYTES)
        os.fsync(fd)
        return ack
    finally:
        os.close(fd)


def _slot_of(ack: Ack) -> bytes:
    fields = _FIELDS.pack(_MAGIC, ack.generation, ack.next_seq, ack.destination)
    return fields + _CRC.pack(crc32(fields))


def _ack_of(slot: bytes) -> Ack:
    if len(slot) != SLOT_BYTES or not slot.startswith(_MAGIC):
        return NO_ACK
    fields, (crc,) = slot[: -_CRC.size], _CRC.unpack(slot[-_CRC.size :])
    if crc32(fields) != crc:
        return NO_ACK
    _, generation, next_seq, destination = _FIELDS.unpack(fields)
    return Ack(generation, next_seq, destination)
