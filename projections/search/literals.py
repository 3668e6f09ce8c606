"""The values of the search language that are more than a text or a number.

Durations are written with units (`90s`, `1h30m`, `0.5d`), instants as ISO 8601 in quotes
(UTC where no zone is given) or relative to the searcher's clock (`now-7d`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from projections.search.ast import FromNow, Moment
from projections.search.errors import InvalidQuery
from projections.search.limits import MICROSECONDS_MAX
from projections.search.tokens import DURATION

_UNITS_US: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 7 * 86_400_000_000,
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|[smhdw])")
_NOW: Final = re.compile(rf"now(?:([+-])({DURATION}))?", re.I)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def duration_us(text: str, *, column: int) -> int:
    """Microseconds of `1h30m`, with an optional sign before it."""
    total = 0
    for number, unit in _PART.findall(text):
        if len(number) > 19:
            raise InvalidQuery(f"the duration {text[:40]}… is too long", position=column)
        whole, _, fraction = number.partition(".")
        total += int(whole) * _UNITS_US[unit]
        if fraction:
            total += int(fraction) * _UNITS_US[unit] // 10 ** len(fraction)
    if total > MICROSECONDS_MAX:
        raise InvalidQuery(f"the duration {text[:40]} is too long", position=column)
    return -total if text.startswith("-") else total


def from_now(text: str, *, column: int) -> FromNow | None:
    """`now`, `now-7d` or `now+1h`; None for any other word."""
    found = _NOW.fullmatch(text)
    if found is None:
        return None
    sign, offset = found.groups()
    if offset is None:
        return FromNow(0)
    return FromNow(duration_us(("-" if sign == "-" else "") + offset, column=column))


def moment(text: str, *, column: int) -> Moment:
    """An ISO 8601 date or time; UTC where it names no zone."""
    try:
        parsed = datetime.fromisoformat(text.strip())
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return Moment((parsed - _EPOCH) // timedelta(microseconds=1))
    except (ValueError, OverflowError):
        raise InvalidQuery(
            f"{text[:40]!r} is not a time",
            position=column,
            hint="write milliseconds since 1970, '2026-11-01T12:00:00Z' or now-7d",
        ) from None


def moment_text(moment: Moment) -> str:
    """The ISO 8601 form that `moment` reads back exactly."""
    return (_EPOCH + timedelta(microseconds=moment.microseconds)).isoformat()


def number(text: str) -> int | float:
    """An int where one of at most 17 digits is written, else the nearest float."""
    if text.lstrip("+-").isdigit() and len(text) <= 18:
        return int(text)
    return float(text)
