"""How values are written for people: times, spans, sizes, numbers, ids, foreign text."""

from __future__ import annotations

import math
from typing import Any, Final

from tracker.frames import instant

SHORT_ID_CHARACTERS: Final = 8
TEXT_CHARACTERS_MAX: Final = 120
_SECOND_US: Final = 1_000_000
_AGO: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def printable(text: str, *, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """Foreign text on one line: control characters (escape sequences!) are spelled out."""
    shown = text if len(text) <= characters_max else text[: characters_max - 1] + "…"
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def short_id(run_id: str) -> str:
    """The first eight of a minted id's 32 hex digits; an id somebody chose stays whole."""
    is_minted = len(run_id) == 32 and all(c in "0123456789abcdef" for c in run_id)
    return run_id[:SHORT_ID_CHARACTERS] if is_minted else run_id


def moment(time_us: int | None) -> str:
    """Local time to the second."""
    at = instant(time_us)
    if at is None:
        return ""
    try:
        return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError):
        return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(time_us: int) -> str:
    """Local time of day with milliseconds and the date before it."""
    return f"{moment(time_us)}.{time_us // 1000 % 1000:03d}"


def ago(time_us: int | None, *, now_us: int) -> str:
    """How long before now; nothing for what was always there (0)."""
    if not time_us:
        return ""
    seconds = (now_us - time_us) // _SECOND_US
    if seconds < -60:
        return f"in {span(time_us - now_us)}"
    if seconds < 1:
        return "now"
    for size, unit in _AGO:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now"


def span(duration_us: int | None) -> str:
    """A duration in two units: 350 ms, 12.3 s, 4 min 05 s, 2 h 03 min, 3 d 04 h."""
    if duration_us is None:
        return ""
    if duration_us < 0:
        return f"-{span(-duration_us)}"
    seconds = duration_us / _SECOND_US
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit, rest_size, rest_unit in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // rest_size:02.0f} {rest_unit}"
    raise AssertionError("a minute or more fits one of the units")


def size(bytes_count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if bytes_count < 1024:
            return f"{bytes_count:.0f} {unit}" if unit == "B" else f"{bytes_count:.1f} {unit}"
        bytes_count /= 1024
    return f"{bytes_count:.1f} TiB"


def number(value: float | None) -> str:
    """Five significant digits; whole numbers stay whole."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.5g}"


def count(n: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def json_form(value: Any) -> Any:
    """The value as JSON can carry it: NaN and infinities are strings, as the API has them."""
    match value:
        case dict():
            return {str(key): json_form(item) for key, item in value.items()}
        case list() | tuple():
            return [json_form(item) for item in value]
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case _:
            return value
