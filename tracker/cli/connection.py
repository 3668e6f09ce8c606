"""A command's connection to the server, and how its failures are told.

Exit codes: 1 what was asked for is not there or was refused, 2 the command line or a
filter cannot be understood, 3 no server answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import click

from tracker.cli.formats import printable
from tracker.client import Client
from tracker.errors import InvalidSetting
from tracker.events.errors import TrackerError
from tracker.refusals import ApiRefusal, InvalidQuery, NotATracker, QueryFailed, ServerUnreachable

# A person waits: a restart of the server is survived, a wrong address is told soon.
RETRY_FOR_S: Final = 3.0


class CommandFailed(click.ClickException):
    """A failure told on stderr in one sentence, with what to do about it below."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(click.style("error: ", fg="red", bold=True) + self.message, err=True)
        if self.hint:
            click.echo(click.style("hint:  ", fg="cyan") + self.hint, err=True)


class NotUnderstood(CommandFailed):
    exit_code = 2


class ServerAway(CommandFailed):
    exit_code = 3


@contextmanager
def connected(uri: str | None, api_key: str | None) -> Iterator[Client]:
    """A client for the length of a command; failures of queries become CommandFailed."""
    with failures_told(), Client(uri, api_key, retry_for_s=RETRY_FOR_S) as client:
        yield client


@contextmanager
def failures_told(*, filter_text: str = "") -> Iterator[None]:
    """Tell what went wrong with a query. `filter_text` is shown where it stops making sense."""
    try:
        yield
    except InvalidQuery as error:
        message = printable(error.message, characters_max=1000)
        is_about_filter = "order_by" not in message
        raise NotUnderstood(
            message + _pointer(filter_text if is_about_filter else "", error.position),
            hint=str(error.details.get("hint") or error.hint),
        ) from error
    except ServerUnreachable as error:
        raise ServerAway(str(error), hint=error.hint) from error
    except NotATracker as error:
        message = printable(str(error), characters_max=1000)
        raise ServerAway(message, hint=error.hint) from error
    except ApiRefusal as error:
        message = printable(error.message, characters_max=1000)
        raise CommandFailed(message, hint=error.hint) from error
    except QueryFailed as error:
        raise CommandFailed(str(error), hint=error.hint) from error
    except InvalidSetting as error:
        raise NotUnderstood(str(error)) from error
    except TrackerError as error:
        raise CommandFailed(str(error)) from error


def _pointer(text: str, column: int | None) -> str:
    """The text with a caret below the column, which counts from 1."""
    if not text or column is None or not 1 <= column <= len(text) + 1:
        return ""
    start = max(0, column - 51)
    shown = printable(text[start : start + 100], characters_max=100)
    return f"\n       {shown}\n       {' ' * (column - 1 - start)}^"
