"""LIKE patterns and regular expressions.

Regular expressions are RE2's: they match in time linear in the text, whatever the pattern,
so that one search cannot hold the server. What RE2 lacks for it (back references, look
around) is refused with its own words.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import re2

from projections.search.errors import InvalidQuery
from projections.search.limits import REGEX_MEMORY_BYTES_MAX


def check_regex(pattern: str, *, position: int | None = None) -> None:
    """Raise InvalidQuery unless RE2 can compile `pattern`."""
    try:
        _compiled(pattern, True)
    except re2.error as error:
        reason = error.args[0] if error.args else "it does not compile"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidQuery(
            f"the regular expression is refused: {text}", position=position
        ) from None


def regex_matches(pattern: str, text: str) -> bool:
    """True if `pattern` is found anywhere in `text`."""
    return _compiled(pattern, True).search(text) is not None


def like_matches(pattern: str, text: str, *, minds_case: bool) -> bool:
    """SQL's LIKE: % is any text, _ one character; both cross lines."""
    return _compiled(like_regex(pattern), minds_case).search(text) is not None


def like_regex(pattern: str) -> str:
    """The anchored regular expression that means the same as a LIKE pattern."""
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern]
    return "(?s)^" + "".join(parts) + r"\z"


def like_glob(pattern: str) -> str:
    """SQLite's GLOB pattern for a LIKE that minds case."""
    return "".join(
        "*" if c == "%" else "?" if c == "_" else f"[{c}]" if c in "*?[" else c for c in pattern
    )


def like_prefix(pattern: str) -> str:
    """The text before the first wildcard: everything a match begins with."""
    return re.split("[%_]", pattern, maxsplit=1)[0]


@lru_cache(maxsize=256)
def _compiled(pattern: str, minds_case: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = REGEX_MEMORY_BYTES_MAX
    options.case_sensitive = minds_case
    return re2.compile(pattern, options)
