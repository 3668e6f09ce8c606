"""Page tokens: where a search goes on, opaque to whoever carries it.

A token holds the sort values of the last row that was given out, so the next page begins
after that row wherever it is now: rows that arrive or change meanwhile neither repeat nor
hide others. It also holds the clock of the first page, so that `now-7d` means the same on
every page, and a fingerprint of the search it belongs to. The check sum finds accidents;
a forged token can only ask for another page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from projections.search.errors import InvalidQuery
from projections.search.limits import PAGE_TOKEN_CHARACTERS_MAX

_CHECK_BYTES: Final = 8
_VERSION: Final = 1

SortValue: TypeAlias = int | float | str | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The sort values of the last row of a page, and the clock of the first page."""

    values: tuple[SortValue, ...]
    now_us: int


def fingerprint(*parts: object) -> str:
    """A short name for one search; pages of another search do not fit it."""
    text = json.dumps(parts, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encode_token(cursor: Cursor, search: str) -> str:
    values = [[value.hex()] if isinstance(value, float) else value for value in cursor.values]
    body = json.dumps([_VERSION, search, cursor.now_us, values], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(body) + body).rstrip(b"=").decode()


def decode_token(token: str, search: str, *, columns: int) -> Cursor:
    """The cursor in `token`; InvalidQuery unless it was made for `search`."""
    if len(token) > PAGE_TOKEN_CHARACTERS_MAX:
        raise InvalidQuery("the page token is too long to be one")
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _not_ours() from None
    check, body = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if check != _check(body):
        raise _not_ours()
    return _parse(body, search, columns)


def _parse(body: bytes, search: str, columns: int) -> Cursor:
    try:
        version, made_for, now_us, values = json.loads(body)
        cursor = Cursor(tuple(_value(value) for value in values), int(now_us))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise _not_ours() from None
    if version != _VERSION or made_for != search or len(cursor.values) != columns:
        raise InvalidQuery(
            "the page token belongs to another search",
            hint="repeat filter, order_by, experiments and view exactly, or start without it",
        )
    return cursor


def _value(value: Any) -> SortValue:
    if isinstance(value, list):
        return float.fromhex(value[0])
    if isinstance(value, str):
        value.encode()  # a lone surrogate raises a ValueError
        return value
    if value is None or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    raise ValueError(value)


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=b"page-token").digest()


def _not_ours() -> InvalidQuery:
    return InvalidQuery("the page token is damaged", hint="start without it")
