"""What --artifacts-destination names: a folder, or a bucket with a prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.binding import InvalidSettings

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9!_.*'()\-/=+@]{0,512}")


@dataclass(frozen=True, slots=True)
class FolderDestination:
    folder: Path


@dataclass(frozen=True, slots=True)
class S3Destination:
    bucket: str
    prefix: str  # empty, or with a slash at its end


def parse_destination(text: str) -> FolderDestination | S3Destination:
    """Raises InvalidSettings for any other kind of place."""
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else "file"
    rest = text[match.end() :] if match else text
    if scheme == "file" and rest:
        return FolderDestination(Path(rest).expanduser().absolute())
    if scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        prefix = prefix.strip("/")
        if _BUCKET.fullmatch(bucket) and _PREFIX.fullmatch(prefix):
            return S3Destination(bucket, f"{prefix}/" if prefix else "")
    raise InvalidSettings(
        f"--artifacts-destination {text!r} is not supported: give a folder, or s3://BUCKET/PREFIX"
    )
