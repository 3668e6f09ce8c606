"""The bytes of a tree: a file or a range of it, or a folder as a zip, sent so that no browser
runs them; and the bytes or the name of what is put there."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from aiohttp import web

from ingest.artifact_decisions import Tree, not_found
from ingest.artifact_media import FILE_HEADERS, disposition, headers_for, media_type_of
from ingest.artifact_schemas import PutArtifactRequest
from ingest.artifact_zip import check_zip_size, files_below, zip_chunks
from ingest.blob_bodies import BLOB_TRANSFERS, body_of, send
from ingest.blob_intake import present_size, receive, receive_unnamed
from ingest.blob_ranges import etag_of, is_known, range_of
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import ArtifactIsReference, ArtifactLost, InvalidRequest
from ingest.messages import read_json
from ingest.routes.artifact_requests import check_known, flag, trees
from ingest.state import ARTIFACT_STORE
from projections.read_models import ArtifactView
from tracker.events.limits import ARTIFACT_BYTES_MAX


async def send_file(request: web.Request, view: ArtifactView) -> web.StreamResponse:
    if view.digest is None:
        raise ArtifactIsReference(
            f"the bytes of {view.path!r} are not kept here but at {view.uri}", uri=view.uri
        )
    store, digest = request.app[ARTIFACT_STORE], digest_of(view.digest)
    is_served = request.app[BLOB_TRANSFERS].is_served
    if flag(request, "redirect") or (request.method == "GET" and not is_served):
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
    headers = headers_for(view.path, view.media_type, inline=flag(request, "inline"))
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


async def send_zip(request: web.Request, tree: Tree, folder: str) -> web.StreamResponse:
    runs, store = await trees(request, tree), request.app[ARTIFACT_STORE]
    found = await runs.get_artifact_folder(tree.owner, folder)
    if found is None:
        await check_known(request, tree)
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


async def named_content(request: web.Request) -> dict[str, Any]:
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


async def received_content(request: web.Request, path: str) -> dict[str, Any]:
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
