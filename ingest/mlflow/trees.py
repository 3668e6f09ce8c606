"""Artifact trees as MLflow's clients see them: list, find, put, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from aiohttp import web

from ingest.blob_intake import receive_unnamed
from ingest.blob_uploads import Digest
from ingest.errors import ProjectionBehind
from ingest.mlflow.artifact_paths import Place
from ingest.mlflow.errors import no_such
from ingest.mlflow.media_types import media_type_of
from ingest.mlflow.reading import catch_up
from ingest.mlflow.services import MLFLOW
from ingest.routes.experiments import decider_of
from ingest.state import ARTIFACT_STORE, READ_STORES
from projections.read_models import ArtifactListing, ArtifactView
from tracker.events.types import Event, EventType

_PAGE: Final = 1000
# One decision deletes so many files; a larger folder takes several.
_DELETED_AT_ONCE: Final = 1000


async def files_in(request: web.Request, place: Place) -> list[ArtifactView]:
    """Everything in a folder, folders without what lies below them."""
    await catch_up(request)
    found: list[ArtifactView] = []
    token: str | None = None
    while True:
        page = await request.app[READ_STORES].runs.list_artifacts(
            ArtifactListing(place.owner, place.path, max_results=_PAGE, page_token=token)
        )
        found += page.items
        token = page.next_page_token
        if token is None:
            return found


def files_json(views: Sequence[ArtifactView], *, base_names: bool) -> list[dict[str, Any]]:
    files = []
    for view in views:
        path = view.path.rpartition("/")[2] if base_names else view.path
        said: dict[str, Any] = {"path": path, "is_dir": view.is_folder}
        if view.size and not view.is_folder:
            said["file_size"] = view.size
        files.append(said)
    return files


async def file_at(request: web.Request, place: Place) -> ArtifactView:
    """The file. Raises RESOURCE_DOES_NOT_EXIST for none, and for a folder."""
    await catch_up(request)
    view = await request.app[READ_STORES].runs.get_artifact(place.owner, place.path)
    if view is None or view.is_deleted:
        raise no_such(f"No such artifact: '{place.path}'")
    return view


async def put_blob(
    request: web.Request, body: AbstractAsyncContextManager[AsyncIterator[bytes]]
) -> tuple[Digest, int]:
    """Store bytes whose SHA-256 is not known yet; (digest, size)."""
    async with body as chunks:
        digest, size, _ = await receive_unnamed(request.app[ARTIFACT_STORE], chunks)
    return digest, size


async def log_file(request: web.Request, place: Place, digest: Digest, size: int) -> None:
    """Say that the file is there; the latest word on a path stands."""
    data: dict[str, Any] = {"path": place.path, "digest": digest, "size": size}
    media_type = media_type_of(place.path)
    if media_type is not None:
        data["media_type"] = media_type
    await _decide(request, place, [(EventType.ARTIFACT_LOGGED, {**data, **place.about})])


async def delete_at(request: web.Request, place: Place) -> None:
    """Delete a file, or a folder with all below it. Raises when there is nothing."""
    await catch_up(request)
    runs = request.app[READ_STORES].runs
    view = await runs.get_artifact(place.owner, place.path) if place.path else None
    is_file = view is not None and not view.is_deleted
    if is_file:
        await _delete(request, place, [place.path])
    deleted = 0
    while True:
        page = await runs.list_artifacts(
            ArtifactListing(
                place.owner, place.path, is_recursive=True, max_results=_DELETED_AT_ONCE
            )
        )
        if not page.items:
            break
        deleted += len(page.items)
        await _delete(request, place, [item.path for item in page.items])
        await catch_up(request)
    if not is_file and not deleted:
        raise no_such(f"No such file or directory: '{place.path}'")


async def _delete(request: web.Request, place: Place, paths: Sequence[str]) -> None:
    await _decide(
        request,
        place,
        [(EventType.ARTIFACT_DELETED, {"path": path, **place.about}) for path in paths],
    )


async def _decide(
    request: web.Request, place: Place, facts: Sequence[tuple[EventType, dict[str, Any]]]
) -> None:
    decider = decider_of(request)

    async def decide(now_us: int) -> Sequence[Event]:
        time_us = now_us
        for _, data in facts:
            known = await decider.reads.runs.get_artifact(place.owner, data["path"])
            if known is not None:
                time_us = max(time_us, known.order_us + 1)
        return [Event(kind, time_us, data) for kind, data in facts]

    async with request.app[MLFLOW].locks.of(place.stream):
        try:
            await decider.take(place.stream, decide)
        except ProjectionBehind as error:
            if "position" not in error.details:
                raise
