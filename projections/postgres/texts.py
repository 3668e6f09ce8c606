"""Texts that PostgreSQL does not take: the character NUL, which Python and SQLite know.

NUL is written as two U+0001, and U+0001 as U+0001 U+0002. So every text comes back as it was,
different texts stay different, and their order by bytes (collation "C") stays what it was.
Only what counts characters sees the difference: a `_` of LIKE, and the 128 characters that
params and tags are ordered by, in texts that hold one of these two characters.
"""

from __future__ import annotations

import re
from typing import Any

_ODD = re.compile("[\0\1]")
_PAIR = re.compile("\1([\1\2])")
# Every escape of JSON in turn, so that a doubled backslash is not taken for the start of one.
_JSON_ESCAPE = re.compile(r"\\(?:u0001\\u000([12])|u....|.)", re.DOTALL)


def escaped(text: str) -> str:
    if "\0" not in text and "\1" not in text:
        return text
    return _ODD.sub(lambda found: "\1\1" if found.group() == "\0" else "\1\2", text)


def unescaped(text: str) -> str:
    if "\1" not in text:
        return text
    return _PAIR.sub(lambda found: "\0" if found.group(1) == "\1" else "\1", text)


def unescaped_json(text: str) -> str:
    """The same for the texts inside of a JSON text, as PostgreSQL writes it."""
    return _JSON_ESCAPE.sub(_json_escape, text) if "\\u0001" in text else text


def _json_escape(found: re.Match[str]) -> str:
    match found.group(1):
        case "1":
            return "\\u0000"
        case "2":
            return "\\u0001"
        case _:
            return found.group()


def escaped_value(value: Any) -> Any:
    """A parameter as it is sent: texts, and lists of texts, are escaped."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list | tuple) and value and isinstance(value[0], str):
        return list(map(escaped, value))
    return value
