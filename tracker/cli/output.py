"""How commands speak: results on stdout, notes on stderr, `--json` for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Adds --json, passed on as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, envvar="TRACKER_JSON", show_envvar=True,
        help="Print JSON instead of a table.",
    )(command)  # fmt: skip


def result(text: str) -> None:
    click.echo(text)


def result_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=True))


def note(text: str) -> None:
    click.echo(text, err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table that fits the terminal; cells are text, never markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title or None, title_justify="left")
    for column in columns:
        grid.add_column(Text(column))
    for row in rows:
        grid.add_row(*[Text("" if cell is None else str(cell)) for cell in row])
    Console().print(grid)
