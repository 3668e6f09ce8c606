"""--as-of and its kin: a state of the past, asked for by time or by position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import click

from tracker.cli.options import option
from tracker.cli.output import note
from tracker.cli.times import TIME, told

Command = TypeVar("Command", bound=Callable[..., Any])


class AsOf(TypedDict, total=False):
    """Arguments of the client's methods; empty for the present."""

    as_of_position: int
    as_of_time_us: int


def as_of_options(command_name: str) -> Callable[[Command], Command]:
    """Adds --as-of and --as-of-position, passed on as `as_of` and `as_of_position`."""

    def add(command: Command) -> Command:
        by_position = option(
            "--as-of-position",
            env=f"TRACKER_{command_name}_AS_OF_POSITION",
            type=click.IntRange(0),
            metavar="N",
            help="As it was when the log ended at this position.",
        )(command)
        return option(
            "--as-of",
            "--as-of-time",
            "as_of",
            env=f"TRACKER_{command_name}_AS_OF",
            type=TIME,
            metavar="TIME",
            help="As the server knew it then, such as '2026-11-20 14:00' (this machine's "
            "time, or with a zone: 2026-11-20T14:00Z).",
        )(by_position)

    return add


def as_of_of(as_of: int | None, as_of_position: int | None) -> AsOf:
    """What was asked for, told on stderr with its zone. Raises UsageError when both were."""
    if as_of is not None and as_of_position is not None:
        raise click.UsageError("give --as-of or --as-of-position, not both")
    if as_of is not None:
        note(f"as of {told(as_of)}")
        return {"as_of_time_us": as_of}
    if as_of_position is not None:
        note(f"as of position {as_of_position:,}")
        return {"as_of_position": as_of_position}
    return {}
