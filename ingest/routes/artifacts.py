"""/api/v1/runs/{run_id}/artifacts and /api/v1/models/{model_id}/artifacts: trees of files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from aiohttp import web

from ingest.artifact_decisions import Tree, check_put, delete_artifact, put_artifact
from ingest.artifact_schemas import ArtifactAnswer, ArtifactsAnswer, ArtifactsDeletedAnswer
from ingest.messages import json_answer, query_int, wait_for_position
from ingest.mlflow.services import MLFLOW
from ingest.past_stores import AS_OF
from ingest.routes.artifact_bytes import named_content, received_content, send_file, send_zip
from ingest.routes.artifact_requests import (
    asked_file,
    asked_format,
    asked_path,
    asked_tree,
    check_known,
    check_path,
    flag,
    trees,
)
from ingest.routes.experiments import decider_of
from ingest.routes.table import QueryParameter, Route
from ingest.state import READ_STORES
from projections.read_models import ArtifactListing, ArtifactView

PAGE_DEFAULT: Final = 1000
ENTRY_MEDIA_TYPE: Final = "application/vnd.tracker.artifact+json"


async def get_root(request: web.Request) -> web.StreamResponse:
    await wait_for_position(request, query_int(request, "min_position"))
    tree = asked_tree(request)
    if asked_format(request) == "zip":
        return await send_zip(request, tree, "")
    return await _list(request, tree)


async def get_path(request: web.Request) -> web.StreamResponse:
    await wait_for_position(request, query_int(request, "min_position"))
    tree, path = asked_tree(request), asked_path(request)
    if asked_format(request) == "zip":
        return await send_zip(request, tree, path)
    return await send_file(request, await asked_file(request, tree, path))


async def put(request: web.Request) -> web.Response:
    tree, path = asked_tree(request), asked_path(request)
    # Before bytes are taken that nothing would refer to.
    await check_put(request.app[READ_STORES].runs, tree, path)
    if request.content_type == ENTRY_MEDIA_TYPE:
        content = await named_content(request)
    else:
        content = await received_content(request, path)
    async with request.app[MLFLOW].locks.of(tree.stream):
        position = await put_artifact(decider_of(request), tree, path, content)
    view = await asked_file(request, tree, path)
    return json_answer({**_entry_json(view), "position": position})


async def delete(request: web.Request) -> web.Response:
    tree, path = asked_tree(request), asked_path(request)
    async with request.app[MLFLOW].locks.of(tree.stream):
        deleted, position = await delete_artifact(
            decider_of(request), tree, path, is_recursive=flag(request, "recursive")
        )
    return json_answer(ArtifactsDeletedAnswer(deleted=deleted, position=position))


async def _list(request: web.Request, tree: Tree) -> web.Response:
    folder = request.query.get("prefix", "").removesuffix("/")
    if folder:
        check_path(folder)
    limit = query_int(request, "limit")
    runs = await trees(request, tree)
    page = await runs.list_artifacts(
        ArtifactListing(
            owner=tree.owner,
            folder=folder,
            is_recursive=flag(request, "recursive"),
            max_results=PAGE_DEFAULT if limit is None else limit,
            page_token=request.query.get("page_token") or None,
        )
    )
    if not page.items:
        await check_known(request, tree)
    answer = {
        "artifacts": [_entry_json(view) for view in page.items],
        "next_page_token": page.next_page_token,
        "position": page.position,
    }
    return json_answer(answer)


def _entry_json(view: ArtifactView) -> dict[str, Any]:
    return {
        "path": view.path,
        "is_folder": view.is_folder,
        "size": view.size,
        "files": view.files,
        "media_type": view.media_type,
        "digest": view.digest,
        "uri": view.uri,
        "etag": view.etag,
        "time_us": view.time_us,
    }


_POSITION: Final = QueryParameter(
    "min_position", "answer no older than this position", type="integer"
)
_ZIP: Final = QueryParameter("format", "zip: the folder with all below it, as a zip stream")
_BYTES: Final = ("application/octet-stream",)


def _routes(root: str, whose: str) -> Iterator[Route]:
    yield Route(
        "GET", root, get_root, f"What lies in a folder of {whose} tree, or all of it as a zip",
        answer=ArtifactsAnswer, answer_media_types=("application/json", "application/zip"),
        query=(
            QueryParameter("prefix", "the folder; default the top"),
            QueryParameter("recursive", "true: all files below it, no folders", type="boolean"),
            QueryParameter("limit", "1 to 10000, default 1000", type="integer"),
            QueryParameter("page_token", "next_page_token of the page before"),
            _ZIP, _POSITION, *AS_OF,
        ),
        errors=(400, 404, 413, 502, 503),
    )  # fmt: skip
    for method, summary in (
        ("GET", "A file's bytes or the range asked for (206), or a folder as a zip"),
        ("HEAD", "A file's size, type and entity tag"),
    ):
        yield Route(
            method, f"{root}/{{path:.+}}", get_path, summary,
            answer_media_types=_BYTES,
            query=(
                QueryParameter("inline", "true: shown by browsers if safe", type="boolean"),
                QueryParameter(
                    "redirect", "true: 307 to the store itself, where it can", type="boolean"
                ),
                _ZIP, _POSITION, *AS_OF,
            ),
            errors=(400, 404, 409, 413, 416, 502, 503),
        )  # fmt: skip
    yield Route(
        "PUT", f"{root}/{{path:.+}}", put,
        f"Put a file into {whose} tree: its bytes, or (as {ENTRY_MEDIA_TYPE}) "
        "the digest of a blob or the uri of a reference",
        answer=ArtifactAnswer, takes_bytes=True,
        query=(QueryParameter("sha256", "what the bytes must be; else it is found out"),),
        errors=(400, 404, 408, 409, 413, 422, 502, 503, 507),
    )  # fmt: skip
    yield Route(
        "DELETE", f"{root}/{{path:.+}}", delete, f"Delete a file of {whose} tree",
        answer=ArtifactsDeletedAnswer,
        query=(
            QueryParameter("recursive", "true: a folder with all below it", type="boolean"),
        ),
        errors=(400, 404, 409, 503),
    )  # fmt: skip


ROUTES = (
    *_routes("/api/v1/runs/{run_id}/artifacts", "a run's"),
    *_routes("/api/v1/models/{model_id}/artifacts", "a logged model's"),
)
