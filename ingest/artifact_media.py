"""What a file is called and what type it is, said so that no browser runs it.

Whatever somebody has logged may be HTML or a script. So a file is an attachment of unknown
type unless its type is one that browsers only show; and even those are shown in a sandbox,
without the right to load or to run anything.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Final
from urllib.parse import quote

from ingest.middleware import SECURITY_HEADERS

UNKNOWN: Final = "application/octet-stream"
# Types of the standard library only: what the machine's own files say may differ.
_TYPES: Final = mimetypes.MimeTypes()
_MORE: Final = {
    ".md": "text/markdown",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".toml": "application/toml",
    ".jsonl": "application/x-ndjson",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".parquet": "application/vnd.apache.parquet",
}
_MEDIA_TYPE: Final = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,100}/[a-zA-Z0-9!#$&^_.+-]{1,100}")
_SHOWN: Final = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
        *("image/tiff", "image/x-icon", "image/vnd.microsoft.icon"),
        *("text/plain", "text/csv", "text/tab-separated-values", "text/markdown"),
        *("application/json", "application/x-ndjson", "application/pdf"),
    }
)
_SHOWN_KINDS: Final = ("audio/", "video/")
# A browser shows these as the text they are.
_SHOWN_AS_TEXT: Final = frozenset(
    {"text/markdown", "application/x-ndjson", "application/yaml", "application/toml"}
)
FILE_HEADERS: Final = SECURITY_HEADERS | {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Accept-Ranges": "bytes",
    # The path may hold another file tomorrow; the entity tag tells.
    "Cache-Control": "private, no-cache",
}
_TOKEN_CHARACTERS: Final = "!#$&+-.^_`|~"


def media_type_of(path: str, said: str | None = None) -> str | None:
    """The type somebody said, without its parameters, else what the name tells; or None."""
    given = (said or "").partition(";")[0].strip().lower()
    if given and given != UNKNOWN and _MEDIA_TYPE.fullmatch(given):
        return given
    name = path.rpartition("/")[2].lower()
    extension = f".{name.rpartition('.')[2]}" if "." in name else ""
    return _MORE.get(extension) or _TYPES.guess_type(name, strict=True)[0]


def headers_for(path: str, media_type: str | None, *, inline: bool) -> dict[str, str]:
    """Content-Type and Content-Disposition; `inline` counts for safe types only."""
    known = media_type_of(path, media_type) or UNKNOWN
    is_safe = known in _SHOWN or known.startswith(_SHOWN_KINDS) or known in _SHOWN_AS_TEXT
    shown = "text/plain" if known in _SHOWN_AS_TEXT else known
    content_type = shown if is_safe else UNKNOWN
    if content_type.startswith("text/"):
        content_type += "; charset=utf-8"
    kind = "inline" if inline and is_safe else "attachment"
    return {
        "Content-Type": content_type,
        "Content-Disposition": disposition(path.rpartition("/")[2], kind=kind),
    }


def disposition(name: str, *, kind: str = "attachment") -> str:
    """Content-Disposition with a file's name, whatever characters it has (RFC 6266)."""
    fallback = re.sub(r"[^ !#-\[\]-~]", "_", name)
    if fallback == name:
        return f'{kind}; filename="{name}"'
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, _TOKEN_CHARACTERS)}"
