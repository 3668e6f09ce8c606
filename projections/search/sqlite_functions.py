"""The functions a reading connection must have before it runs a compiled search."""

from __future__ import annotations

import sqlite3

from projections.search.dialect import ILIKE_FUNCTION, REGEX_FUNCTION
from projections.search.patterns import like_matches, regex_matches


def register_functions(connection: sqlite3.Connection) -> None:
    connection.create_function(REGEX_FUNCTION, 2, _regex, deterministic=True)
    connection.create_function(ILIKE_FUNCTION, 2, _ilike, deterministic=True)


def _regex(pattern: str, text: str | None) -> bool | None:
    return None if text is None else regex_matches(pattern, text)


def _ilike(pattern: str, text: str | None) -> bool | None:
    return None if text is None else like_matches(pattern, text, minds_case=False)
