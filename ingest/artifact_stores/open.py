"""Opens the artifact store that a destination names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.artifact_stores.base import ArtifactStore
from ingest.artifact_stores.destination import FolderDestination, S3Destination, parse_destination
from ingest.artifact_stores.local import open_local_store
from ingest.binding import InvalidSettings


@asynccontextmanager
async def open_artifact_store(destination: str, *, workspace: str) -> AsyncIterator[ArtifactStore]:
    """The store is closed with the block. Raises InvalidSettings."""
    match parse_destination(destination):
        case FolderDestination(folder):
            async with open_local_store(folder, workspace=workspace) as local:
                yield local
        case S3Destination(bucket, prefix):
            # Imported here: botocore costs 30 MB and half a second.
            try:
                from ingest.artifact_stores.s3 import open_s3_store
            except ModuleNotFoundError as error:
                raise InvalidSettings(
                    f"artifacts in S3 need the package {error.name!r}: pip install 'tracker[s3]'"
                ) from None

            async with open_s3_store(bucket, prefix=prefix, workspace=workspace) as s3:
                yield s3
