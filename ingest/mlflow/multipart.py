"""Uploads in parts through MLflow's proxy.

A client asks for N URLs, PUTs a part to each (without any credentials), and names the parts
it has sent by their ETags. Here a part becomes a blob, and its ETag is its SHA-256; to
complete is to read the parts' blobs one after the other into one. So nothing about an upload
is kept in a server's memory: any server takes any part, an interrupted client may send a part
again, and what is never completed is garbage like any blob that no file refers to.

A part's URL carries its own proof, as the client sends no key: an HMAC under a key derived
from the server's API key, with an end. A server without a key needs no proof.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from ingest.blob_bodies import BLOB_TRANSFERS
from ingest.blob_uploads import Digest
from ingest.components import SETTINGS
from ingest.errors import BlobNotFound, TooLarge, Unauthorized
from ingest.messages import json_answer
from ingest.mlflow.artifact_paths import Place
from ingest.mlflow.artifacts import receiving
from ingest.mlflow.bodies import SEE_DOCS, as_int64, missing, read_fields, wrong_type
from ingest.mlflow.errors import invalid
from ingest.mlflow.proxy import file_place
from ingest.mlflow.trees import log_file, put_blob
from ingest.state import ARTIFACT_STORE
from tracker.events.limits import ARTIFACT_BYTES_MAX, ARTIFACT_PARTS_MAX

PART_PATH: Final = "/api/2.0/mlflow-artifacts/mpu/part/{upload_id}/{number}"
PART_BYTES_MAX: Final = 512 * 1024 * 1024
URL_S: Final = 24 * 3600
_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}")
_ETAG: Final = re.compile(r'"?([0-9a-f]{64})"?')


async def create(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    name = fields.text("path", is_required=True) or ""
    await _target(request, name)
    parts = fields.integer("num_parts")
    parts = 1 if parts is None else parts
    if not 1 <= parts <= ARTIFACT_PARTS_MAX:
        raise invalid(
            f"Invalid value {parts} for parameter 'num_parts' supplied: "
            f"1 to {ARTIFACT_PARTS_MAX} parts are allowed."
        )
    upload_id = os.urandom(16).hex()
    return json_answer(
        {
            "upload_id": upload_id,
            "credentials": [
                {"url": _url(request, upload_id, number), "part_number": number}
                for number in range(1, parts + 1)
            ],
        }
    )


async def put_part(request: web.Request) -> web.Response:
    upload_id, number = request.match_info["upload_id"], request.match_info["number"]
    _check_proof(request, upload_id, number)
    digest, _ = await put_blob(request, receiving(request, bytes_max=PART_BYTES_MAX))
    return web.Response(headers={"ETag": f'"{digest}"'})


async def complete(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    place = await _target(request, fields.text("path", is_required=True) or "")
    _check_upload_id(fields.text("upload_id"))
    parts = _parts(fields.array("parts", is_required=True))
    try:
        digest, size = await put_blob(request, _joined(request, parts))
    except BlobNotFound:
        raise invalid(
            "A part of the upload is not there (any more); send the file again."
        ) from None
    await log_file(request, place, digest, size)
    return json_answer({})


async def abort(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    await _target(request, fields.text("path", is_required=True) or "")
    _check_upload_id(fields.text("upload_id"))
    return json_answer({})


async def _target(request: web.Request, local_path: str) -> Place:
    """The file in the folder of the URL that is called as the client's own file is."""
    name = local_path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return await file_place(request, name)


def _parts(items: Sequence[Any]) -> list[Digest]:
    """The SHA-256s of the parts, in order of their numbers."""
    found: dict[int, Digest] = {}
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise wrong_type("parts", items)
        number, etag = as_int64(item.get("part_number")), item.get("etag")
        if number is None or not etag:
            raise invalid(missing(f"parts[{index}].etag") + SEE_DOCS)
        match = _ETAG.fullmatch(etag) if isinstance(etag, str) else None
        if match is None:
            raise invalid(f"'{str(etag)[:80]}' is not the ETag that part {number} was given.")
        found[number] = Digest(match[1])
    if sorted(found) != list(range(1, len(found) + 1)):
        raise invalid(f"Parts are numbered from 1 without gaps, not {sorted(found)[:10]}.")
    return [found[number] for number in sorted(found)]


@asynccontextmanager
async def _joined(
    request: web.Request, parts: Sequence[Digest]
) -> AsyncIterator[AsyncIterator[bytes]]:
    store = request.app[ARTIFACT_STORE]

    async def chunks() -> AsyncIterator[bytes]:
        size = 0
        for digest in parts:
            async with store.open(digest) as part:
                async for chunk in part:
                    size += len(chunk)
                    if size > ARTIFACT_BYTES_MAX:
                        raise TooLarge(
                            f"the file has more than {ARTIFACT_BYTES_MAX} bytes "
                            "(artifact_bytes_max)"
                        )
                    yield chunk

    with request.app[BLOB_TRANSFERS].one():
        yield chunks()


def _check_upload_id(upload_id: str | None) -> None:
    if not _UPLOAD_ID.fullmatch(upload_id or ""):
        raise invalid(missing("upload_id") + SEE_DOCS)


def _url(request: web.Request, upload_id: str, number: int) -> str:
    path = PART_PATH.format(upload_id=upload_id, number=number)
    # Behind a proxy that ends TLS, this server cannot know that it is asked by https.
    is_secure = request.headers.get("X-Forwarded-Proto") == "https"
    url = f"{'https' if is_secure else request.scheme}://{request.host}{path}"
    key = request.app[SETTINGS].api_key
    if key is None:
        return url
    end = int(time.time()) + URL_S
    return f"{url}?expires={end}&proof={_proof(key, upload_id, str(number), end)}"


def _check_proof(request: web.Request, upload_id: str, number: str) -> None:
    key = request.app[SETTINGS].api_key
    if key is None:
        return
    end = as_int64(request.query.get("expires"))
    given = request.query.get("proof", "")
    if (
        end is None
        or end < time.time()
        or not hmac.compare_digest(_proof(key, upload_id, number, end).encode(), given.encode())
    ):
        raise Unauthorized("the URL of this part is not (or no longer) one that was given out")


def _proof(key: str, upload_id: str, number: str, end: int) -> str:
    secret = hashlib.sha256(b"tracker-mlflow-part\0" + key.encode()).digest()
    return hmac.new(secret, f"{upload_id}/{number}/{end}".encode(), "sha256").hexdigest()
