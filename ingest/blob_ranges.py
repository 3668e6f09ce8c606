"""Parts of a blob over HTTP: entity tags and ranges (RFC 9110)."""

from __future__ import annotations

from aiohttp import web

from ingest.errors import RangeNotSatisfiable


def etag_of(digest: str) -> str:
    """A blob never changes, so its digest is a strong entity tag."""
    return f'"{digest}"'


def range_of(request: web.Request, digest: str, size: int) -> tuple[int, int] | None:
    """What is asked for; None for all of it, also where a Range makes no sense.

    Raises RangeNotSatisfiable.
    """
    if "Range" not in request.headers:
        return None
    if request.headers.get("If-Range", etag_of(digest)) != etag_of(digest):
        return None
    try:
        start, end, _ = request.http_range.indices(size)
    except ValueError:
        return None
    if start >= end:
        raise RangeNotSatisfiable(f"the blob has only {size} bytes", size=size)
    return start, end


def is_known(request: web.Request, digest: str) -> bool:
    """Whether the reader says that it has just these bytes (If-None-Match)."""
    known = request.headers.get("If-None-Match", "")
    tags = {part.strip().removeprefix("W/") for part in known.split(",")}
    return etag_of(digest) in tags or "*" in tags
