"""What an upload in parts is: its name, its parts, and what is still missing.

Part n of a blob holds the bytes from (n - 1) × part_bytes on; all parts are of that size,
except for the last. So a part's number says where it belongs and how long it must be, and
a list of numbers is all there is to know of how far an upload is.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final, NewType, Self

from ingest.errors import InvalidRequest, NoSuchPart, TooLarge, UploadNotFound
from tracker.events.limits import ARTIFACT_BYTES_MAX, ARTIFACT_PART_BYTES, ARTIFACT_PARTS_MAX

Digest = NewType("Digest", str)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}")


def digest_of(text: str) -> Digest:
    """`text` as the SHA-256 it must be. Nothing else ever becomes part of a path or a key."""
    if not _DIGEST.fullmatch(text):
        raise InvalidRequest(
            f"{text[:80]!r} is not a SHA-256: 64 lower-case hexadecimal digits name a blob",
            field="sha256",
        )
    return Digest(text)


def upload_id_of(text: str) -> str:
    if not _UPLOAD_ID.fullmatch(text):
        raise UploadNotFound(f"there is no upload {text[:64]!r}")
    return text


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun. `store_token` is the store's own name for it, if it has one."""

    upload_id: str
    digest: Digest
    size: int
    part_bytes: int
    created_us: int
    store_token: str = ""

    @classmethod
    def begin(cls, digest: Digest, *, size: int, part_bytes: int = ARTIFACT_PART_BYTES) -> Self:
        if size < 1:
            raise InvalidRequest("size: an empty blob has no parts; PUT it whole", field="size")
        if size > min(ARTIFACT_BYTES_MAX, part_bytes * ARTIFACT_PARTS_MAX):
            raise TooLarge(
                f"a blob of {size} bytes is too large; at most {ARTIFACT_BYTES_MAX} are allowed "
                "(artifact_bytes_max)"
            )
        now_us = time.time_ns() // 1000
        return cls(uuid.uuid4().hex, digest_of(digest), size, part_bytes, now_us)

    def with_token(self, store_token: str) -> Self:
        return replace(self, store_token=store_token)

    @property
    def part_count(self) -> int:
        return -(-self.size // self.part_bytes)

    def offset_of(self, number: int) -> int:
        """Where part `number` begins. Raises NoSuchPart."""
        if not 1 <= number <= self.part_count:
            raise NoSuchPart(
                f"part {number} does not exist; the upload has parts 1 to {self.part_count}",
                parts=self.part_count,
            )
        return (number - 1) * self.part_bytes

    def size_of(self, number: int) -> int:
        """How many bytes part `number` must have. Raises NoSuchPart."""
        return min(self.part_bytes, self.size - self.offset_of(number))

    def missing(self, present: Mapping[int, int]) -> list[int]:
        """The parts that are not present, or not in their right size."""
        return [n for n in range(1, self.part_count + 1) if present.get(n) != self.size_of(n)]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """Raises UploadNotFound for what no server has written."""
        try:
            upload = cls(**json.loads(text))
            digest_of(upload.digest)
            upload_id_of(upload.upload_id)
        except (ValueError, TypeError, InvalidRequest) as error:
            raise UploadNotFound("what was noted of this upload cannot be read") from error
        return upload
