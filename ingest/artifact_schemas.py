"""The JSON of artifact trees."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingest.schemas import Answer, Request


class PutArtifactRequest(Request):
    """A blob that the store holds already (digest), or a reference (uri)."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    uri: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    etag: Annotated[str, Field(max_length=1024)] | None = None
    size: Annotated[int, Field(ge=0)] | None = Field(None, description="of a reference")
    media_type: Annotated[str, Field(max_length=256)] | None = None


class ArtifactEntryAnswer(Answer):
    path: str
    is_folder: bool
    size: int | None = Field(description="bytes; of a folder, the sum of what is known")
    files: int | None = Field(description="how many lie below a folder")
    media_type: str | None
    digest: str | None = Field(description="SHA-256 of the blob; null: a folder or a reference")
    uri: str | None = Field(description="where a reference's bytes are")
    etag: str | None
    time_us: int | None


class ArtifactsAnswer(Answer):
    artifacts: list[ArtifactEntryAnswer]
    next_page_token: str | None
    position: int


class ArtifactAnswer(ArtifactEntryAnswer):
    position: int


class ArtifactsDeletedAnswer(Answer):
    deleted: int = Field(description="files")
    position: int
