"""/api/v1/blobs: bytes by their SHA-256, whole or in parts that can be resumed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from aiohttp import web

from ingest.artifact_stores.base import PutOutcome
from ingest.artifact_stores.refusals import blob_not_found, upload_not_found
from ingest.blob_bodies import BLOB_TRANSFERS, body_of, send
from ingest.blob_intake import kept, present_size, receive, receive_many
from ingest.blob_ranges import etag_of, range_of
from ingest.blob_schemas import (
    BeginUploadRequest,
    BlobAnswer,
    BlobBatchAnswer,
    BlobUrlAnswer,
    PartAnswer,
    PartUrlAnswer,
    UploadAnswer,
)
from ingest.blob_uploads import Digest, Upload, digest_of
from ingest.errors import (
    DigestMismatch,
    NoSuchPart,
    UploadNotFound,
    WrongPartSize,
)
from ingest.messages import json_answer, read_json
from ingest.middleware import SECURITY_HEADERS
from ingest.routes.table import Route
from ingest.state import ARTIFACT_STORE
from tracker.events.blob_batch import decode_blob_batch
from tracker.events.limits import ARTIFACT_BYTES_MAX, ARTIFACT_PART_BYTES, BLOB_BATCH_BYTES_MAX

# Signing costs a third of a millisecond; who uploads more asks again.
URLS_PER_ANSWER_MAX: Final = 100
# Whatever a blob holds, a browser that is led to it saves it and runs nothing.
_BLOB_HEADERS: Final = SECURITY_HEADERS | {
    "Content-Type": "application/octet-stream",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=31536000, immutable",
    "Accept-Ranges": "bytes",
}


async def put_blob(request: web.Request) -> web.Response:
    store, digest = request.app[ARTIFACT_STORE], _digest(request)
    size = await present_size(store, digest)
    if size is not None:
        return _without_reading(_blob_answer(digest, size, PutOutcome.PRESENT))
    if request.content_length == 0:  # nothing to carry, so any server takes it
        return _blob_answer(
            digest,
            0,
            await receive(store, digest, body_of(request, bytes_max=0, limit="content_length")),
        )
    with request.app[BLOB_TRANSFERS].one():
        body = body_of(request, bytes_max=ARTIFACT_BYTES_MAX, limit="artifact_bytes_max")
        outcome = await receive(store, digest, body)
    size = request.content_length if outcome is PutOutcome.STORED else None
    if size is None:
        size = await store.stat(digest) or 0
    return _blob_answer(digest, size, outcome)


async def put_batch(request: web.Request) -> web.Response:
    with request.app[BLOB_TRANSFERS].one():
        body = b"".join(
            [
                chunk
                async for chunk in body_of(
                    request, bytes_max=BLOB_BATCH_BYTES_MAX, limit="blob_batch_bytes_max"
                )
            ]
        )
        blobs = [(digest_of(digest), data) for digest, data in decode_blob_batch(body)]
        outcomes = await receive_many(request.app[ARTIFACT_STORE], blobs)
    answers = [_batch_answer(*each) for each in zip(blobs, outcomes, strict=True)]
    return json_answer({"blobs": answers})


def _batch_answer(
    blob: tuple[Digest, memoryview], outcome: PutOutcome | DigestMismatch
) -> dict[str, str]:
    if isinstance(outcome, PutOutcome):
        return {"sha256": blob[0], "outcome": outcome.value}
    return {
        "sha256": blob[0],
        "outcome": "refused",
        "code": outcome.code,
        "message": outcome.message,
    }


async def head_blob(request: web.Request) -> web.StreamResponse:
    digest = _digest(request)
    size = await present_size(request.app[ARTIFACT_STORE], digest)
    if size is None:
        raise blob_not_found(digest)
    response = _blob_response(200, digest, size)
    await response.prepare(request)
    await response.write_eof()
    return response


async def get_blob(request: web.Request) -> web.StreamResponse:
    digest = _digest(request)
    size = await _size(request, digest)
    asked = range_of(request, digest, size)
    start, end = asked or (0, size)
    response = _blob_response(206 if asked else 200, digest, end - start)
    if asked:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    store = request.app[ARTIFACT_STORE]
    with request.app[BLOB_TRANSFERS].one():
        async with store.open(digest, start=start, end=end) as chunks:
            return await send(request, response, chunks)


async def get_url(request: web.Request) -> web.Response:
    digest = _digest(request)
    size = await _size(request, digest)
    found = await request.app[ARTIFACT_STORE].download_url(digest)
    url, expires_us = (found.url, found.expires_us) if found else (None, None)
    return json_answer(BlobUrlAnswer(sha256=digest, size=size, url=url, expires_us=expires_us))


async def begin_upload(request: web.Request) -> web.Response:
    store, digest = request.app[ARTIFACT_STORE], _digest(request)
    asked = await read_json(request, BeginUploadRequest)
    size = await present_size(store, digest)
    if size is None:
        return await _upload_answer(request, await store.uploads.create(digest, size=asked.size))
    answer = UploadAnswer(
        sha256=digest,
        size=size,
        is_stored=True,
        upload_id=None,
        part_bytes=ARTIFACT_PART_BYTES,
        part_count=0,
        present=[],
        urls=None,
    )
    return json_answer(answer)


async def get_upload(request: web.Request) -> web.Response:
    return await _upload_answer(request, await _upload(request))


async def put_part(request: web.Request) -> web.Response:
    upload = await _upload(request)
    number = _part_number(request, upload)
    size = upload.size_of(number)
    if request.content_length not in (None, size):
        raise WrongPartSize(
            f"part {number} must have exactly {size} bytes, not {request.content_length}", size=size
        )
    with request.app[BLOB_TRANSFERS].one():
        body = body_of(request, bytes_max=upload.part_bytes, limit="artifact_part_bytes")
        await request.app[ARTIFACT_STORE].uploads.put_part(upload, number, body)
    return json_answer(PartAnswer(number=number, size=size))


async def complete_upload(request: web.Request) -> web.Response:
    store, digest = request.app[ARTIFACT_STORE], _digest(request)
    try:
        upload = await _upload(request)
    except UploadNotFound:
        size = await present_size(store, digest)
        if size is None:
            raise
        return _blob_answer(digest, size, PutOutcome.PRESENT)
    outcome = await kept(store, digest, await store.uploads.complete(upload))
    return _blob_answer(digest, upload.size, outcome)


async def abort_upload(request: web.Request) -> web.Response:
    await request.app[ARTIFACT_STORE].uploads.abort(await _upload(request))
    return web.Response(status=204)


def _digest(request: web.Request) -> Digest:
    return digest_of(request.match_info["sha256"])


async def _size(request: web.Request, digest: Digest) -> int:
    size = await request.app[ARTIFACT_STORE].stat(digest)
    if size is None:
        raise blob_not_found(digest)
    return size


async def _upload(request: web.Request) -> Upload:
    """The upload of the path, which must be of the path's blob."""
    digest = _digest(request)
    upload = await request.app[ARTIFACT_STORE].uploads.find(request.match_info["upload_id"])
    if upload.digest != digest:
        raise upload_not_found(upload.upload_id)
    return upload


def _part_number(request: web.Request, upload: Upload) -> int:
    text = request.match_info["number"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        raise NoSuchPart(f"{text[:40]!r} is not the number of a part", parts=upload.part_count)
    return int(text)


def _blob_response(status: int, digest: Digest, length: int) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=_BLOB_HEADERS)
    response.headers["ETag"] = etag_of(digest)
    response.headers["Content-Disposition"] = f'attachment; filename="{digest}"'
    response.content_length = length
    return response


def _blob_answer(digest: Digest, size: int, outcome: PutOutcome) -> web.Response:
    return json_answer(BlobAnswer(sha256=digest, size=size, outcome=outcome.value))


def _without_reading(response: web.Response) -> web.Response:
    """The client may be sending a body that nobody wants: this connection has served."""
    response.force_close()
    return response


async def _upload_answer(request: web.Request, upload: Upload) -> web.Response:
    uploads = request.app[ARTIFACT_STORE].uploads
    present = await uploads.parts(upload)
    missing = upload.missing(present)
    urls = await uploads.part_urls(upload, missing[:URLS_PER_ANSWER_MAX])
    answer = UploadAnswer(
        sha256=upload.digest,
        size=upload.size,
        is_stored=False,
        upload_id=upload.upload_id,
        part_bytes=upload.part_bytes,
        part_count=upload.part_count,
        present=sorted(set(present) - set(missing)),
        urls=None if urls is None else [PartUrlAnswer(**asdict(url)) for url in urls],
    )
    return json_answer(answer)


_BLOB: Final = "/api/v1/blobs/{sha256}"
_UPLOAD: Final = f"{_BLOB}/uploads/{{upload_id}}"

ROUTES = (
    Route(
        "POST", "/api/v1/blobs/batch", put_batch, "Store many small blobs in one body",
        answer=BlobBatchAnswer, takes_bytes=True, errors=(400, 408, 413, 502, 507),
    ),
    Route(
        "PUT", _BLOB, put_blob, "Store bytes whose SHA-256 this is",
        answer=BlobAnswer, takes_bytes=True, errors=(400, 408, 413, 422, 502, 507),
    ),
    Route(
        "HEAD", _BLOB, head_blob, "Whether a blob is there, and its size",
        answer_media_types=("application/octet-stream",), errors=(400, 404, 502),
    ),
    Route(
        "GET", _BLOB, get_blob, "A blob's bytes, or the range asked for (206)",
        answer_media_types=("application/octet-stream",), errors=(400, 404, 416, 502),
    ),
    Route(
        "GET", f"{_BLOB}/url", get_url, "Where to get a blob without the server, if anywhere",
        answer=BlobUrlAnswer, errors=(400, 404, 502),
    ),
    Route(
        "POST", f"{_BLOB}/uploads", begin_upload, "Begin to upload a blob in parts",
        request=BeginUploadRequest, answer=UploadAnswer, errors=(400, 502, 507),
    ),
    Route(
        "GET", _UPLOAD, get_upload, "Which parts are present, and URLs for what is missing",
        answer=UploadAnswer, errors=(400, 404, 502),
    ),
    Route(
        "PUT", f"{_UPLOAD}/parts/{{number}}", put_part, "Store one part; again replaces it",
        answer=PartAnswer, takes_bytes=True, errors=(400, 404, 408, 413, 422, 502, 507),
    ),
    Route(
        "POST", f"{_UPLOAD}/complete", complete_upload,
        "Check the whole SHA-256 and let the blob be found",
        answer=BlobAnswer, errors=(400, 404, 409, 422, 502, 507),
    ),
    Route(
        "DELETE", _UPLOAD, abort_upload, "Forget an upload and its parts",
        status=204, errors=(400, 404, 502),
    ),
)  # fmt: skip
