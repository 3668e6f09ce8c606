"""Queries of artifact trees on SQLite: a page of a folder, one file, one folder.

A page costs its own entries, not those below them: folders are rows with sums. Paths are
compared by code point, which is the order of their bytes in UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from projections.connection import Connection
from projections.projection import ProjectionStoreFailed
from projections.read_models import ArtifactListing, ArtifactView, Page
from projections.search.errors import InvalidQuery
from projections.search.paging import Cursor, decode_token, encode_token, fingerprint
from projections.sqlite import statements
from tracker.events.limits import ARTIFACT_PATH_CHARACTERS_MAX

SQL: Final = statements("artifact_queries.sql")
PAGE_ARTIFACTS_MAX: Final = 10_000
# Greater than every path there can be.
_BEYOND_ALL: Final = "\U0010ffff" * (ARTIFACT_PATH_CHARACTERS_MAX + 1)


def list_artifacts(connection: Connection, listing: ArtifactListing) -> Page[ArtifactView]:
    """Raises InvalidQuery for a page size or token that cannot be."""
    if not 1 <= listing.max_results <= PAGE_ARTIFACTS_MAX:
        raise InvalidQuery(
            f"the limit is {listing.max_results}; 1 to {PAGE_ARTIFACTS_MAX} are allowed "
            "(page_artifacts_max)"
        )
    name = fingerprint("artifacts", listing.owner, listing.folder, listing.is_recursive)
    after, after_folder = "", 0
    if listing.page_token:
        after, after_folder = _cursor(decode_token(listing.page_token, name, columns=2))
    asked = {
        "owner": listing.owner,
        "folder": listing.folder,
        "after": after,
        "after_folder": after_folder,
        "limit": listing.max_results + 1,
    }
    found = _below(connection, asked) if listing.is_recursive else _inside(connection, asked)
    views = found[: listing.max_results]
    token = None
    if len(found) > len(views):
        last = views[-1]
        token = encode_token(Cursor((last.path, int(last.is_folder)), 0), name)
    return Page(views, token, _position(connection))


def get_artifact(connection: Connection, owner: str, path: str) -> ArtifactView | None:
    row = connection.execute(SQL["artifact"], {"owner": owner, "path": path}).fetchone()
    return None if row is None else _file(row)


def get_artifact_folder(connection: Connection, owner: str, path: str) -> ArtifactView | None:
    row = connection.execute(SQL["folder"], {"owner": owner, "path": path}).fetchone()
    return None if row is None else _folder(row)


def every_artifact(
    connection: Connection, after: tuple[str, str], max_results: int
) -> list[tuple[str, ArtifactView]]:
    asked = {"owner": after[0], "path": after[1], "limit": max_results}
    rows = connection.execute(SQL["every_file"], asked)
    return [(owner, _file(row)) for owner, *row in rows]


def referred_digests(connection: Connection, digests: Sequence[str]) -> frozenset[str]:
    """Raises ProjectionStoreFailed when not everything is folded."""
    if connection.execute(SQL["unfolded"]).fetchone() is not None:
        raise ProjectionStoreFailed(
            "a batch of the log could not be folded, so nobody knows which blobs it refers to; "
            "`tracker verify` says which, `tracker rebuild --projection runs` folds it anew"
        )
    rows = connection.execute(SQL["referred"], {"digests": json.dumps(list(digests))})
    return frozenset(digest for (digest,) in rows)


def _below(connection: Connection, asked: dict[str, Any]) -> list[ArtifactView]:
    folder = asked["folder"]
    # '0' follows '/': everything between the two begins with the folder and a slash.
    first, end = (f"{folder}/", f"{folder}0") if folder else ("", _BEYOND_ALL)
    bounds = asked | {"after": max(asked["after"], first), "end": end}
    return [_file(row) for row in connection.execute(SQL["files_below"], bounds)]


def _inside(connection: Connection, asked: dict[str, Any]) -> list[ArtifactView]:
    files = [_file(row) for row in connection.execute(SQL["files_in"], asked)]
    folders = [_folder(row) for row in connection.execute(SQL["folders_in"], asked)]
    # Nothing keeps two writers from making a file and a folder of one name.
    both = sorted((*files, *folders), key=lambda view: (view.path, view.is_folder))
    return both[: asked["limit"]]


def _cursor(cursor: Cursor) -> tuple[str, int]:
    path, is_folder = cursor.values
    if not isinstance(path, str) or not isinstance(is_folder, int):
        raise InvalidQuery("the page token belongs to another search")
    return path, is_folder


def _file(row: Sequence[Any]) -> ArtifactView:
    (path, digest, size, media_type, uri, etag, time_us, order_us, is_deleted) = row
    return ArtifactView(
        path=path,
        is_folder=False,
        size=size,
        media_type=media_type,
        digest=digest,
        uri=uri,
        etag=etag,
        time_us=time_us,
        order_us=order_us,
        is_deleted=bool(is_deleted),
    )


def _folder(row: Sequence[Any]) -> ArtifactView:
    path, files, size = row
    return ArtifactView(path=path, is_folder=True, size=size, files=files)


def _position(connection: Connection) -> int:
    return int(connection.execute(SQL["position"]).fetchone()[0] or 0)
