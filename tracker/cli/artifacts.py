"""`tracker artifacts`: the files of runs, and the store that keeps their bytes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final

import click

# name -> (module that defines `command`, one line for the overview)
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "list": ("tracker.cli.artifacts_list", "List the files of a run."),
    "upload": ("tracker.cli.artifacts_upload", "Add files to a run."),
    "download": ("tracker.cli.artifacts_download", "Download files of a run, verified."),
    "verify": ("tracker.cli.artifacts_verify", "Read files again and compare their digests."),
    "gc": ("tracker.cli.artifacts_gc", "Remove blobs that nothing refers to."),
}


class ArtifactCommands(click.Group):
    """Lists the table; imports a command's module when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry[0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command("artifacts", cls=ArtifactCommands)
def command() -> None:
    """List, upload, download and verify artifacts; collect what nobody needs."""
