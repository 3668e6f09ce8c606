"""/api/2.0/mlflow-artifacts: MLflow's proxy to the artifact store."""

from __future__ import annotations

from aiohttp import web

from ingest.blob_uploads import digest_of
from ingest.messages import json_answer
from ingest.mlflow.artifact_paths import Place, checked, place_of
from ingest.mlflow.artifacts import receiving
from ingest.mlflow.bodies import read_fields
from ingest.mlflow.downloads import send_file
from ingest.mlflow.errors import NOT_IMPLEMENTED, MlflowRefusal, invalid
from ingest.mlflow.trees import delete_at, file_at, files_in, files_json, log_file, put_blob
from ingest.state import ARTIFACT_STORE
from tracker.events.limits import ARTIFACT_BYTES_MAX


async def upload(request: web.Request) -> web.Response:
    place = await file_place(request)
    digest, size = await put_blob(request, receiving(request, bytes_max=ARTIFACT_BYTES_MAX))
    await log_file(request, place, digest, size)
    return json_answer({})


async def file_place(request: web.Request, name: str = "") -> Place:
    """Where the path of the request, and a name in it, say that a file is, or is to be."""
    path = "/".join(part for part in (request.match_info["path"], name) if part)
    place = await place_of(request, checked(path))
    if not place.path:
        raise invalid("Invalid path: it names a folder, not a file")
    return place


async def download(request: web.Request) -> web.StreamResponse:
    return await send_file(request, await file_place(request))


async def list_files(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    place = await place_of(request, checked(fields.text("path")))
    files = files_json(await files_in(request, place), base_names=True)
    return json_answer({"files": files} if files else {})


async def delete(request: web.Request) -> web.Response:
    await delete_at(request, await place_of(request, checked(request.match_info["path"])))
    return json_answer({})


async def presigned(request: web.Request) -> web.Response:
    """Where to get a file without this server; only stores like S3 have such URLs."""
    view = await file_at(request, await file_place(request))
    found = None
    if view.digest is not None:
        found = await request.app[ARTIFACT_STORE].download_url(digest_of(view.digest))
    if found is None:
        raise MlflowRefusal(
            "Presigned download is not supported for the current artifact repository",
            NOT_IMPLEMENTED,
        )
    return json_answer({"url": found.url, "headers": {}, "file_size": view.size})
