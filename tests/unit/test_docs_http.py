"""docs/http.md is what the routes and the errors say."""

from __future__ import annotations

from pathlib import Path

from ingest.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "http.md"


def test_the_page_on_http_is_what_the_routes_say() -> None:
    written = PAGE.read_text(encoding="utf-8")

    assert written == reference(), "run: python -m ingest.reference > docs/http.md"
