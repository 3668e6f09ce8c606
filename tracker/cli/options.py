"""How options are declared: every flag has an environment name, and its help shows it.

`tests/unit/test_cli_help.py` walks all commands and holds them to this. Names follow one
rule: TRACKER_URI and TRACKER_API_KEY are what they are everywhere; any other flag is
TRACKER_<COMMAND>_<FLAG>, for example TRACKER_RUNS_FILTER.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click


class _Listed(click.types.StringParamType):
    """Text of which an environment variable may hold several: filters contain spaces."""

    envvar_list_splitter = ";"


_LISTED: Final = _Listed()
Command = TypeVar("Command", bound=Callable[..., Any])


def option(
    *declarations: str, env: str, help: str, **attributes: Any
) -> Callable[[Command], Command]:
    """click.option with a mandatory environment name and help text."""
    return click.option(*declarations, envvar=env, show_envvar=True, help=help, **attributes)


def repeatable_option(
    *declarations: str, env: str, help: str, **attributes: Any
) -> Callable[[Command], Command]:
    """An option that may be given several times; its variable separates values by ';'."""
    return option(*declarations, env=env, help=help, multiple=True, type=_LISTED, **attributes)


def connection_options(command: Command) -> Command:
    """Adds --uri and --api-key, passed on as `uri` and `api_key`."""
    with_key = option(
        "--api-key",
        env="TRACKER_API_KEY",
        metavar="KEY",
        help="The key the server asks for, if it does.",
    )(command)
    return option(
        "--uri",
        env="TRACKER_URI",
        metavar="URI",
        help="The server, such as http://host:5000, or 'local'. [default: see tracker doctor]",
    )(with_key)


def view_option(env: str) -> Callable[[Command], Command]:
    """Adds --view, passed on as `view`: which lifecycle stages are shown."""
    return option(
        "--view",
        env=env,
        type=click.Choice(["active_only", "deleted_only", "all"]),
        default="active_only",
        show_default=True,
        help="Whether to show what was deleted.",
    )
