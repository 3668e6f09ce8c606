"""Prints docs/http.md: every route and every error code, from the code itself.

Run it as `python -m ingest.reference`; tests/unit/test_docs_http.py keeps the page current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ingest.app import all_routes
from ingest.errors import ApiError
from ingest.routes.table import Route

_HEAD = """\
# HTTP API

Made by `python -m ingest.reference`; the full schemas are in `/api/v1/openapi.json`.

Times are microseconds since 1970-01-01 UTC. NaN and the infinities travel as the strings
`"NaN"`, `"Infinity"` and `"-Infinity"`. With an API key set, every route but those marked
*open* wants `Authorization: Bearer KEY`. Reads take `min_position` (an append's or a
command's `position`) and answer no older state than that.

## Routes
"""

_ERRORS = """\

## Errors

A refusal is `{"error": {"code": …, "message": …, "details": …}}`. 503 carries `Retry-After`;
408, 429, 500, 502, 503 and 504 may be sent again, everything else needs a change first.

| code | status | meaning |
| --- | --- | --- |
| invalid_event | 422 | an event does not fit the vocabulary; the message names field and limit |
| corrupt_payload | 400 | a batch's bytes contradict themselves or their header |
"""


def reference() -> str:
    """The page, ending in one newline."""
    described = [route for route in all_routes() if not route.is_page]
    routes = sorted(described, key=lambda route: (route.path, route.method))
    parts = [_HEAD, *(_route(route) for route in routes), _ERRORS, *_error_rows(ApiError)]
    return "".join(parts)


def _route(route: Route) -> str:
    marks = " *(open)*" if route.is_open else ""
    lines = [f"\n### `{route.method} {route.path}`{marks}\n\n{route.summary}.\n"]
    if route.request is not None:
        lines.append(f"\nRequest: `{route.request.__name__}`")
        lines.append(f" ({', '.join(route.request_media_types)})\n")
    if route.answer is not None:
        lines.append(f"\nAnswer: `{route.answer.__name__}`")
        lines.append(f" ({', '.join(route.answer_media_types)})\n")
    if route.query:
        lines.append("\n| query | |\n| --- | --- |\n")
        lines += [f"| {item.name} | {item.description} |\n" for item in route.query]
    return "".join(lines)


def _error_rows(base: type[ApiError]) -> Iterator[str]:
    rows: dict[str, str] = {}
    for kind in (base, *_below(base)):
        text = (kind.__doc__ or kind.__name__).strip().splitlines()[0]
        own_text = text if kind.__doc__ else "".join(_words(kind.__name__))
        rows.setdefault(kind.code, f"| {kind.code} | {kind.status} | {own_text} |\n")
    for code in sorted(rows):
        yield rows[code]


def _below(kind: type[ApiError]) -> Iterator[type[ApiError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _words(name: str) -> Iterator[str]:
    for index, letter in enumerate(name):
        yield (" " if index and letter.isupper() else "") + (letter.lower() if index else letter)


if __name__ == "__main__":
    sys.stdout.write(reference())
