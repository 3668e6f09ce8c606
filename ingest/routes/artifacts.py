"""/api/v1/runs/{run_id}/artifacts and /api/v1/models/{model_id}/artifacts: trees of files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any, Final

from aiohttp import web

from ingest.artifact_decisions import (
    Tree,
    check_put,
    delete_artifact,
    not_found,
    put_artifact,
)
from ingest.artifact_media import FILE_HEADERS, disposition, headers_for, media_type_of
from ingest.artifact_schemas import (
    ArtifactAnswer,
    ArtifactsAnswer,
    ArtifactsDeletedAnswer,
    PutArtifactRequest,
)
from ingest.artifact_zip import check_zip_size, files_below, zip_chunks
from ingest.blob_bodies import BLOB_TRANSFERS, body_of, send
from ingest.blob_intake import present_size, receive, receive_unnamed
from ingest.blob_ranges import etag_of, is_known, range_of
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import (
    ArtifactIsReference,
    ArtifactLost,
    InvalidRequest,
    RunNotFound,
)
from ingest.messages import json_answer, query_int, read_json, wait_for_position
from ingest.mlflow.services import MLFLOW
from ingest.past_stores import AS_OF, asked_stores
from ingest.routes.experiments import decider_of
from ingest.routes.table import QueryParameter, Route
from ingest.state import ARTIFACT_STORE, READ_STORES
from projections.read_models import ArtifactListing, ArtifactView, RunsReadStore
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent
from tracker.events.limits import ARTIFACT_BYTES_MAX

PAGE_DEFAULT: Final = 1000
ENTRY_MEDIA_TYPE: Final = "application/vnd.tracker.artifact+json"


async def get_root(request: web.Request) -> web.StreamResponse:
    await wait_for_position(request, query_int(request, "min_position"))
    tree = _tree(request)
    if _format(request) == "zip":
        return await _send_zip(request, tree, "")
    return await _list(request, tree)


async def get_path(request: web.Request) -> web.StreamResponse:
    await wait_for_position(request, query_int(request, "min_position"))
    tree, path = _tree(request), _path(request)
    if _format(request) == "zip":
        return await _send_zip(request, tree, path)
    return await _send_file(request, await _file(request, tree, path))


async def put(request: web.Request) -> web.Response:
    tree, path = _tree(request), _path(request)
    # Before bytes are taken that nothing would refer to.
    await check_put(request.app[READ_STORES].runs, tree, path)
    if request.content_type == ENTRY_MEDIA_TYPE:
        content = await _named_content(request)
    else:
        content = await _received_content(request, path)
    async with request.app[MLFLOW].locks.of(tree.stream):
        position = await put_artifact(decider_of(request), tree, path, content)
    view = await _file(request, tree, path)
    return json_answer({**_entry_json(view), "position": position})


async def delete(request: web.Request) -> web.Response:
    tree, path = _tree(request), _path(request)
    async with request.app[MLFLOW].locks.of(tree.stream):
        deleted, position = await delete_artifact(
            decider_of(request), tree, path, is_recursive=_flag(request, "recursive")
        )
    return json_answer(ArtifactsDeletedAnswer(deleted=deleted, position=position))


async def _list(request: web.Request, tree: Tree) -> web.Response:
    folder = request.query.get("prefix", "").removesuffix("/")
    if folder:
        _check_path(folder)
    limit = query_int(request, "limit")
    runs = await _runs(request, tree)
    page = await runs.list_artifacts(
        ArtifactListing(
            owner=tree.owner,
            folder=folder,
            is_recursive=_flag(request, "recursive"),
            max_results=PAGE_DEFAULT if limit is None else limit,
            page_token=request.query.get("page_token") or None,
        )
    )
    if not page.items:
        await _check_known(request, tree)
    answer = {
        "artifacts": [_entry_json(view) for view in page.items],
        "next_page_token": page.next_page_token,
        "position": page.position,
    }
    return json_answer(answer)


async def _check_known(request: web.Request, tree: Tree) -> None:
    """Nothing to list may also mean that there is no such run. Raises RunNotFound."""
    runs = await _runs(request, tree)
    if tree.is_model or await runs.get_artifact_folder(tree.owner, "") is not None:
        return
    if await runs.get_run(tree.owner, live_run_ids=frozenset()) is None:
        raise RunNotFound(f"there is no run {tree.owner[:64]!r}")


async def _file(request: web.Request, tree: Tree, path: str) -> ArtifactView:
    """Raises ArtifactNotFound, which says so when the path is a folder."""
    runs = await _runs(request, tree)
    view = await runs.get_artifact(tree.owner, path)
    if view is not None and not view.is_deleted:
        return view
    if await runs.get_artifact_folder(tree.owner, path) is not None:
        raise InvalidRequest(
            f"{path[:200]!r} is a folder; add format=zip, or list it with ?prefix=", field="path"
        )
    await _check_known(request, tree)
    raise not_found(path)


async def _send_file(request: web.Request, view: ArtifactView) -> web.StreamResponse:
    if view.digest is None:
        raise ArtifactIsReference(
            f"the bytes of {view.path!r} are not kept here but at {view.uri}", uri=view.uri
        )
    store, digest = request.app[ARTIFACT_STORE], digest_of(view.digest)
    is_served = request.app[BLOB_TRANSFERS].is_served
    if _flag(request, "redirect") or (request.method == "GET" and not is_served):
        found = await store.download_url(digest)
        if found is not None:
            raise web.HTTPTemporaryRedirect(found.url)
    size = await store.stat(digest)
    if size is None:
        raise ArtifactLost(
            f"the bytes of {view.path!r} (blob {digest}) are not in the artifact store; "
            "`tracker artifacts verify` lists what else is missing",
            sha256=digest,
        )
    return await _send_blob(request, view, digest, size)


async def _send_blob(
    request: web.Request, view: ArtifactView, digest: Digest, size: int
) -> web.StreamResponse:
    headers = headers_for(view.path, view.media_type, inline=_flag(request, "inline"))
    headers = {**FILE_HEADERS, **headers, "ETag": etag_of(digest)}
    if is_known(request, digest):
        return web.Response(status=304, headers=headers)
    asked = range_of(request, digest, size)
    start, end = asked or (0, size)
    response = web.StreamResponse(status=206 if asked else 200, headers=headers)
    response.content_length = end - start
    if asked:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    if request.method == "HEAD":
        await response.prepare(request)
        await response.write_eof()
        return response
    with request.app[BLOB_TRANSFERS].one():
        async with request.app[ARTIFACT_STORE].open(digest, start=start, end=end) as chunks:
            return await send(request, response, chunks)


async def _send_zip(request: web.Request, tree: Tree, folder: str) -> web.StreamResponse:
    runs, store = await _runs(request, tree), request.app[ARTIFACT_STORE]
    found = await runs.get_artifact_folder(tree.owner, folder)
    if found is None:
        await _check_known(request, tree)
        raise not_found(folder or "/")
    check_zip_size(found)
    name = f"{folder.rpartition('/')[2] or tree.owner}.zip"
    headers = {
        **FILE_HEADERS,
        "Content-Type": "application/zip",
        "Content-Disposition": disposition(name),
        "Accept-Ranges": "none",
    }
    response = web.StreamResponse(headers=headers)
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    with request.app[BLOB_TRANSFERS].one():
        files = files_below(runs, tree.owner, folder)
        async with aclosing(zip_chunks(store, files, below=folder)) as chunks:
            return await send(request, response, chunks)


async def _named_content(request: web.Request) -> dict[str, Any]:
    """What an entry in JSON says: a blob that is in the store, or a reference."""
    entry = await read_json(request, PutArtifactRequest)
    if (entry.digest is None) == (entry.uri is None):
        raise InvalidRequest("give either digest or uri", field="digest")
    said: dict[str, Any] = {"media_type": entry.media_type}
    if entry.digest is None:
        said |= {"uri": entry.uri, "etag": entry.etag, "size": entry.size}
    else:
        size = await present_size(request.app[ARTIFACT_STORE], digest_of(entry.digest))
        if size is None:
            raise ArtifactLost(
                f"the store has no blob {entry.digest}; put it first", sha256=entry.digest
            )
        said |= {"digest": entry.digest, "size": size}
    return {name: value for name, value in said.items() if value is not None}


async def _received_content(request: web.Request, path: str) -> dict[str, Any]:
    """The body as a blob; ?sha256= lets it go straight to its place, checked."""
    store, given = request.app[ARTIFACT_STORE], request.query.get("sha256")
    body = body_of(request, bytes_max=ARTIFACT_BYTES_MAX, limit="artifact_bytes_max")
    with request.app[BLOB_TRANSFERS].one():
        if given:
            digest = digest_of(given)
            await receive(store, digest, body)
            size = await store.stat(digest) or 0
        else:
            digest, size, _ = await receive_unnamed(store, body)
    content: dict[str, Any] = {"digest": digest, "size": size}
    media_type = media_type_of(path, request.headers.get("Content-Type"))
    return content if media_type is None else content | {"media_type": media_type}


async def _runs(request: web.Request, tree: Tree) -> RunsReadStore:
    """The trees as they are, or as they were; of the past only the one run is put together."""
    if request.method not in ("GET", "HEAD"):
        return request.app[READ_STORES].runs
    return (await asked_stores(request, run_id=None if tree.is_model else tree.owner)).runs


def _tree(request: web.Request) -> Tree:
    model_id = request.match_info.get("model_id")
    if model_id is not None:
        return Tree(model_id, is_model=True)
    return Tree(request.match_info["run_id"])


def _path(request: web.Request) -> str:
    path = request.match_info["path"]
    _check_path(path)
    return path


def _check_path(path: str) -> None:
    try:
        check_artifact_path(path)
    except InvalidEvent as error:
        raise InvalidRequest(str(error), field="path") from None


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"{name}: {text[:40]!r} is neither true nor false", field=name)
    return text in ("true", "1")


def _format(request: web.Request) -> str:
    text = request.query.get("format", "")
    if text not in ("", "zip"):
        raise InvalidRequest(
            f"format: {text[:40]!r} is unknown; zip is the only one", field="format"
        )
    return text


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
