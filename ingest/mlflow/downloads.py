"""Files to MLflow's clients: always as attachments, so that no browser runs them here."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from aiohttp import web

from ingest.blob_bodies import BLOB_TRANSFERS, send
from ingest.blob_uploads import digest_of
from ingest.errors import RangeNotSatisfiable
from ingest.middleware import SECURITY_HEADERS
from ingest.mlflow.artifact_paths import Place
from ingest.mlflow.errors import no_such
from ingest.mlflow.media_types import served_media_type_of
from ingest.mlflow.trees import file_at
from ingest.state import ARTIFACT_STORE

_HEADERS: Final = SECURITY_HEADERS | {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Accept-Ranges": "bytes",
}
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ATTR_CHARACTERS: Final = "!#$&+-.^_`|~"


async def send_file(request: web.Request, place: Place) -> web.StreamResponse:
    view = await file_at(request, place)
    if view.digest is None:
        raise no_such(f"'{place.path}' is a reference; its bytes are at {view.uri}")
    store, digest = request.app[ARTIFACT_STORE], digest_of(view.digest)
    size = await store.stat(digest)
    if size is None:
        raise no_such(f"The bytes of '{place.path}' are not in the artifact store.")
    start, end = _range(request, size)
    is_part = (start, end) != (0, size)
    name = place.path.rpartition("/")[2]
    response = web.StreamResponse(status=206 if is_part else 200, headers=_HEADERS)
    response.headers["Content-Type"] = served_media_type_of(name)
    response.headers["Content-Disposition"] = disposition(name)
    response.headers["ETag"] = f'"{digest}"'
    if is_part:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response.content_length = end - start
    with request.app[BLOB_TRANSFERS].one():
        async with store.open(digest, start=start, end=end) as chunks:
            return await send(request, response, chunks)


def _range(request: web.Request, size: int) -> tuple[int, int]:
    if "Range" not in request.headers:
        return 0, size
    try:
        start, end, _ = request.http_range.indices(size)
    except ValueError:
        return 0, size
    if start >= end:
        raise RangeNotSatisfiable(f"the file has only {size} bytes", size=size)
    return start, end


def disposition(name: str) -> str:
    """Content-Disposition for a file of any name."""
    if _TOKEN.fullmatch(name):
        return f"attachment; filename={name}"
    if name.isascii():
        text = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'attachment; filename="{text}"'
    fallback = name.encode("ascii", "ignore").decode().replace('"', "") or "download"
    quoted = quote(name, safe=_ATTR_CHARACTERS)
    return f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{quoted}"
