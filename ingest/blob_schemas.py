"""The JSON of /api/v1/blobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ingest.schemas import Answer, Request
from tracker.events.limits import ARTIFACT_BYTES_MAX


class BlobAnswer(Answer):
    sha256: str
    size: int
    outcome: Literal["stored", "present"] = Field(
        description="present: the same bytes were there already"
    )


class BatchedBlobAnswer(Answer):
    sha256: str
    outcome: Literal["stored", "present", "refused"]
    code: str | None = Field(None, description="why it is refused: digest_mismatch")
    message: str | None = None


class BlobBatchAnswer(Answer):
    """Of each blob, in order of the body. Those that are not refused are durable."""

    blobs: list[BatchedBlobAnswer]


class BlobUrlAnswer(Answer):
    sha256: str
    size: int
    url: str | None = Field(description="where to GET the bytes; null: get them from the server")
    expires_us: int | None


class BeginUploadRequest(Request):
    size: Annotated[int, Field(ge=1, le=ARTIFACT_BYTES_MAX, description="of the whole, in bytes")]


class PartUrlAnswer(Answer):
    number: int
    url: str = Field(description="PUT the part here, with its exact Content-Length")
    expires_us: int


class UploadAnswer(Answer):
    """Part n holds the bytes from (n - 1) × part_bytes on; the last may be shorter."""

    sha256: str
    size: int
    is_stored: bool = Field(description="the blob is there; there is nothing to upload")
    upload_id: str | None
    part_bytes: int
    part_count: int
    present: list[int] = Field(description="the parts that need not be sent again")
    urls: list[PartUrlAnswer] | None = Field(
        description="for the first of the missing parts; null: PUT them to the server"
    )


class PartAnswer(Answer):
    number: int
    size: int
