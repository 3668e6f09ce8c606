"""Artifacts by run: MLflow's listing, and the two calls of its web page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from ingest.blob_bodies import BLOB_TRANSFERS, body_of
from ingest.errors import TooLarge
from ingest.messages import json_answer
from ingest.mlflow.artifact_paths import Place, checked
from ingest.mlflow.bodies import read_fields
from ingest.mlflow.downloads import send_file
from ingest.mlflow.entities import artifact_uri
from ingest.mlflow.errors import invalid
from ingest.mlflow.reading import location_of, run_view
from ingest.mlflow.run_changes import check_run_takes
from ingest.mlflow.trees import files_in, files_json, log_file, put_blob

UPLOAD_BYTES_MAX: Final = 10 * 1024 * 1024


async def list_artifacts(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    path = checked(fields.text("path"))
    view = await run_view(request, run_id)
    files = files_json(await files_in(request, Place(run_id, path, is_run=True)), base_names=False)
    root = artifact_uri(await location_of(request, view.experiment_id), run_id)
    return json_answer({"root_uri": root, "files": files} if files else {"root_uri": root})


async def get_artifact(request: web.Request) -> web.StreamResponse:
    run_id = request.query.get("run_id") or request.query.get("run_uuid") or ""
    path = request.query.get("path")
    if not run_id or not path:
        raise invalid("Request must specify run_id and path.")
    path = checked(path)
    await run_view(request, run_id)
    return await send_file(request, Place(run_id, path, is_run=True))


async def upload_artifact(request: web.Request) -> web.Response:
    run_id, path = request.query.get("run_uuid"), request.query.get("path")
    if not run_id:
        raise invalid("Request must specify run_uuid.")
    if not path:
        raise invalid("Request must specify path.")
    place = Place(run_id, checked(path), is_run=True)
    if not place.path:
        raise invalid("Invalid path")
    if (request.content_length or 0) > UPLOAD_BYTES_MAX:
        raise invalid("Artifact size is too large. Max size is 10MB.")
    if request.content_length == 0 or not request.can_read_body:
        raise invalid("Request must specify data.")
    await check_run_takes(request, run_id)
    try:
        digest, size = await put_blob(request, receiving(request, bytes_max=UPLOAD_BYTES_MAX))
    except TooLarge:
        raise invalid("Artifact size is too large. Max size is 10MB.") from None
    if size == 0:
        raise invalid("Request must specify data.")
    await log_file(request, place, digest, size)
    return web.Response(content_type="application/json")


@asynccontextmanager
async def receiving(request: web.Request, *, bytes_max: int) -> AsyncIterator[AsyncIterator[bytes]]:
    """The request's body, as one of the transfers there may be at once."""
    with request.app[BLOB_TRANSFERS].one():
        yield body_of(request, bytes_max=bytes_max, limit="artifact_bytes_max")
