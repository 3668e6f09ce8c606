"""Just enough of HTTP/1.1 to tell one request from the next, and a plain append from others.

Strict on purpose: whatever is not written plainly is left to aiohttp's parser.
"""

from __future__ import annotations

import re
from typing import Final

from tracker.events.wire import BATCH_CONTENT_TYPE

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*(?=\r\n|$)")
# Headers that say nothing an append would have to obey.
_PLAIN: Final = frozenset({"accept", "accept-encoding", "user-agent"})
_UNDERSTOOD: Final = _PLAIN | {
    "host", "content-type", "content-length", "authorization", "x-tracker-workspace",
}  # fmt: skip


def message_length(head: bytes) -> int | None:
    """The length of the body that follows; None when the head does not say it plainly."""
    lower = head.lower()
    if b"\r\ntransfer-encoding" in lower or b"\r\nupgrade" in lower or b"\r\nexpect" in lower:
        return None
    count = lower.count(b"content-length")
    if count == 0:
        return 0
    found = LENGTH.search(lower)
    return int(found[1]) if found is not None and count == 1 else None


def append_headers(head: bytes) -> dict[str, str] | None:
    """The headers of an append in its plain shape, names in lower case; else None."""
    headers: dict[str, str] = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name) or b"\n" in value or b"\r" in value:
            return None
        key = name.decode().lower()
        if key in headers or key not in _UNDERSTOOD or not value.isascii():
            return None
        headers[key] = value.decode().strip(" \t")
    return headers if headers.get("content-type") == BATCH_CONTENT_TYPE else None
