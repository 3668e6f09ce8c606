"""Times on the command line: as people write them, in this machine's zone unless they say one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Type = click.ParamType[int]
else:  # older versions of click know no types of types
    _Type = click.ParamType


class _Time(_Type):
    """Becomes microseconds since 1970 UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if text.isascii() and text.isdecimal() and len(text) >= 15:
            return int(text)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is no time: write 2026-11-20, '2026-11-20 14:00', with a zone such as "
                "2026-11-20T14:00:00+01:00 or Z, or microseconds since 1970",
                param,
                ctx,
            )
        return microseconds(moment)


TIME = _Time()


def microseconds(moment: datetime) -> int:
    """Since 1970 UTC; a time without zone is one of this machine's."""
    aware = moment.astimezone() if moment.tzinfo is None else moment
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def told(time_us: int) -> str:
    """The moment with its zone, so that nobody has to guess which one was meant."""
    moment = datetime.fromtimestamp(time_us / 1_000_000, UTC).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname()} (UTC{moment:%z})"
