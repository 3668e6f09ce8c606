"""The `tracker` command: a table of subcommands, each imported only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

import click

from tracker.cli.lazy_group import LazyGroup
from tracker.events.errors import TrackerError

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "server": ("tracker.cli.server", "Start a tracking server."),
    "demo": ("tracker.cli.demo", "Train a small model and watch it being tracked."),
    "doctor": ("tracker.cli.doctor", "Say where data goes and whether that works."),
    "sync": ("tracker.cli.sync", "Deliver spooled records to a server."),
    "spool": ("tracker.cli.spool", "List, show, verify and prune local spools."),
    "experiments": ("tracker.cli.experiments", "Create, search, rename, delete, restore."),
    "runs": ("tracker.cli.runs", "Search, show, compare, delete, restore."),
    "metrics": ("tracker.cli.metrics", "Show or plot one metric of a run."),
    "artifacts": ("tracker.cli.artifacts", "List, upload, download, verify and collect files."),
    "events": ("tracker.cli.events", "Print or follow the event log."),
    "verify": ("tracker.cli.verify", "Prove that a log is complete and unchanged."),
    "rebuild": ("tracker.cli.rebuild", "Build projections anew from the log."),
    "archive": ("tracker.cli.archive", "Keep a log as immutable segments."),
    "import": ("tracker.cli.import_", "Take over what MLflow recorded."),
    "replay": ("tracker.cli.replay", "Copy a log into another store, or into tables."),
}


@click.command(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="tracker")
def tracker() -> None:
    """Experiment tracking that never blocks and never loses a record."""


def main() -> None:
    try:
        tracker(prog_name="tracker")
    except TrackerError as error:
        click.echo(f"tracker: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
