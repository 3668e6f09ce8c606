"""The options of commands that look at a server's stores themselves: the server's own names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tracker.cli.options import option

Command = TypeVar("Command", bound=Callable[..., Any])


def store_options(command: Command) -> Command:
    """Adds what names the log and the artifact store, passed on by the settings' names."""
    for name, metavar, help_text in (
        ("workspace", "NAME", "The workspace that a new store holds. [default: default]"),
        ("home", "PATH", "The folder of everything. [default: ~/.tracker]"),
        (
            "spool-dir",
            "PATH",
            "The spool of this machine. [default: spool under TRACKER_HOME]",
        ),
        (
            "artifacts-destination",
            "PATH|URI",
            "Where artifacts are kept: a folder, or s3://BUCKET/PREFIX. "
            "[default: server/artifacts under TRACKER_HOME]",
        ),
        (
            "backend-store-uri",
            "URI",
            "The event log: sqlite:///PATH, or postgresql://…. "
            "[default: server/tracker.db under TRACKER_HOME]",
        ),
    ):
        variable = f"TRACKER_{name.replace('-', '_').upper()}"
        command = option(f"--{name}", env=variable, metavar=metavar, help=help_text)(command)
    return command
