"""Tables of results: quiet lines, coloured words, as many columns as the terminal holds.

Written to a file or a pipe, a table is as wide as it needs to be and nothing is cut.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click
from rich.cells import cell_len

from tracker.cli.output import note, result

GAP: Final = "  "
CELL_CHARACTERS_MAX: Final = 40
_STYLES: Final = re.compile("\x1b\\[[0-9;]*m")
_STATUS_COLOURS: Final = {
    "RUNNING": "blue",
    "SCHEDULED": "blue",
    "FINISHED": "green",
    "FAILED": "red",
    "KILLED": "magenta",
}


@dataclass(frozen=True, slots=True)
class Column:
    """`leave_out`: the columns of the highest number go first when the terminal is narrow.

    0 stays always; of equal numbers the last column goes first.
    """

    title: str
    cells: Sequence[str]
    is_right: bool = False
    leave_out: int = 0

    @property
    def width(self) -> int:
        return max(cells_wide(text) for text in (self.title, *self.cells))


def print_grid(columns: Sequence[Column], *, note_left_out: str = "") -> None:
    """Print columns side by side; say on stderr which ones had no room."""
    room = terminal_width() if sys.stdout.isatty() else None
    shown = _fitting(columns, room)
    result("\n".join(lines(shown)))
    left_out = [column.title for column in columns if column not in shown]
    if left_out:
        named = ", ".join(left_out[:4]) + (", …" if len(left_out) > 4 else "")
        note(f"not shown for lack of room: {named}{note_left_out}")


def lines(columns: Sequence[Column]) -> list[str]:
    """The table as text: a line of titles, then one line per row."""
    titles = [_padded(click.style(c.title, bold=True), c) for c in columns]
    rows = zip(*[[_padded(text, c) for text in c.cells] for c in columns], strict=True)
    return [GAP.join(row).rstrip() for row in [titles, *rows]]


def pairs(entries: Sequence[tuple[str, str]]) -> None:
    """Print names and values below each other, aligned."""
    wide = max((cells_wide(name) for name, _ in entries), default=0)
    for name, value in entries:
        result(f"  {click.style(name.ljust(wide), fg='bright_black')}  {value}")


def heading(text: str) -> None:
    result("\n" + click.style(text, bold=True))


def status_word(status: str, liveness: str = "") -> str:
    """A run's status in its colour; RUNNING says when nobody reports any more."""
    if status == "RUNNING" and liveness == "lost":
        return click.style("RUNNING (lost)", fg="yellow")
    return click.style(status, fg=_STATUS_COLOURS.get(status))


def terminal_width() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def cells_wide(text: str) -> int:
    """How many terminal cells a text takes; colours take none, some letters take two."""
    return cell_len(_STYLES.sub("", text))


def _fitting(columns: Sequence[Column], room: int | None) -> list[Column]:
    shown = list(columns)
    while room is not None and sum(c.width for c in shown) + len(GAP) * (len(shown) - 1) > room:
        first_to_go = max(reversed(shown), key=lambda column: column.leave_out)
        if first_to_go.leave_out == 0:
            break
        shown.remove(first_to_go)
    return shown


def _padded(text: str, column: Column) -> str:
    padding = " " * (column.width - cells_wide(text))
    return padding + text if column.is_right else text + padding
