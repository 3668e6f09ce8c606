"""`tracker artifacts`: the files of runs, and the store that keeps their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from tracker.cli.lazy_group import LazyGroup

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "list": ("tracker.cli.artifacts_list", "List the files of a run."),
    "upload": ("tracker.cli.artifacts_upload", "Add files to a run."),
    "download": ("tracker.cli.artifacts_download", "Download files of a run, verified."),
    "verify": ("tracker.cli.artifacts_verify", "Read files again and compare their digests."),
    "gc": ("tracker.cli.artifacts_gc", "Remove blobs that nothing refers to."),
}


@click.command("artifacts", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """List, upload, download and verify artifacts; collect what nobody needs."""
