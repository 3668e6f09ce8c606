"""What stores say when they refuse, in the same words from every backend."""

from __future__ import annotations

from typing import Final

from ingest.blob_uploads import Digest, Upload
from ingest.errors import BlobNotFound, DigestMismatch, PartsMissing, UploadNotFound, WrongPartSize

MISSING_NAMED_MAX: Final = 1000


def check_digest(expected: Digest, found: str) -> None:
    if found != expected:
        raise DigestMismatch(
            f"the bytes have the SHA-256 {found}, not {expected}; nothing was stored", sha256=found
        )


def blob_not_found(digest: Digest) -> BlobNotFound:
    return BlobNotFound(f"there is no blob {digest}")


def wrong_part_size(number: int, expected: int) -> WrongPartSize:
    return WrongPartSize(f"part {number} must have exactly {expected} bytes", size=expected)


def parts_missing(missing: list[int]) -> PartsMissing:
    return PartsMissing(
        f"{len(missing)} parts are missing, the first is {missing[0]}; put them and complete again",
        missing=missing[:MISSING_NAMED_MAX],
        count=len(missing),
    )


def upload_not_found(upload_id: str) -> UploadNotFound:
    return UploadNotFound(
        f"there is no upload {upload_id!r}: it was completed, aborted or abandoned; begin another"
    )


def parts_are_not_the_blob(upload: Upload, found: str) -> DigestMismatch:
    return DigestMismatch(
        f"the parts together have the SHA-256 {found}, not {upload.digest}; begin again",
        sha256=found,
    )
