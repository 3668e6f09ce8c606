"""Many small blobs in one body: POST /api/v1/blobs/batch.

    body  = blob, blob, …
    blob  = sha256 (32 bytes) | length (4 bytes, little-endian) | the bytes

Nothing precedes the first and nothing follows the last. At most blob_batch_blobs_max blobs,
none longer than blob_batch_blob_bytes_max, and the body no longer than blob_batch_bytes_max.
The answer says of each, in order, whether it is stored, was present, or is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from tracker.events import limits
from tracker.events.errors import CorruptPayload, PayloadTooLarge

HEAD_BYTES: Final = 36
_HEAD: Final = struct.Struct("<32sI")


def encode_blob_batch(blobs: Iterable[tuple[str, bytes]]) -> bytes:
    """The body for blobs given as (sha256 in hex, bytes). The limits are the caller's to keep."""
    pieces: list[bytes] = []
    for digest, data in blobs:
        pieces += (_HEAD.pack(bytes.fromhex(digest), len(data)), data)
    return b"".join(pieces)


def decode_blob_batch(body: bytes) -> Sequence[tuple[str, memoryview]]:
    """(sha256 in hex, bytes) of every blob. Raises CorruptPayload and PayloadTooLarge."""
    view, at = memoryview(body), 0
    blobs: list[tuple[str, memoryview]] = []
    while at < len(view):
        if len(view) - at < HEAD_BYTES:
            raise CorruptPayload(f"the body ends inside a blob's head, at byte {len(view)}")
        digest, length = _HEAD.unpack_from(view, at)
        at += HEAD_BYTES
        if length > limits.BLOB_BATCH_BLOB_BYTES_MAX:
            raise PayloadTooLarge(
                f"blob {digest.hex()} has {length} bytes; at most "
                f"{limits.BLOB_BATCH_BLOB_BYTES_MAX} are allowed in a batch "
                "(blob_batch_blob_bytes_max); PUT it by itself"
            )
        if len(view) - at < length:
            raise CorruptPayload(f"the body ends inside blob {digest.hex()}")
        if len(blobs) >= limits.BLOB_BATCH_BLOBS_MAX:
            raise PayloadTooLarge(
                f"a batch has at most {limits.BLOB_BATCH_BLOBS_MAX} blobs (blob_batch_blobs_max)"
            )
        blobs.append((digest.hex(), view[at : at + length]))
        at += length
    return blobs
