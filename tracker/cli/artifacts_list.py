"""`tracker artifacts list RUN [PATH]`: the files of a run."""

from __future__ import annotations

from dataclasses import asdict

import click

from tracker.cli.as_of import as_of_of, as_of_options
from tracker.cli.connection import connected
from tracker.cli.formats import count, printable, size
from tracker.cli.lookup import find_run
from tracker.cli.options import connection_options, option
from tracker.cli.output import json_option, note, result_json, table


@click.command("list")
@click.argument("run")
@click.argument("path", required=False, default="")
@connection_options
@option(
    "--recursive",
    "-r",
    "is_recursive",
    is_flag=True,
    env="TRACKER_ARTIFACTS_RECURSIVE",
    help="List everything below the folder, too.",
)
@as_of_options("ARTIFACTS")
@json_option
def command(
    run: str,
    path: str,
    uri: str | None,
    api_key: str | None,
    is_recursive: bool,
    as_of: int | None,
    as_of_position: int | None,
    as_json: bool,
) -> None:
    """List the artifacts of RUN (its id, the start of one, or its name), or of a folder in it."""
    then = as_of_of(as_of, as_of_position)
    with connected(uri, api_key) as client:
        found = find_run(client, run)
        listed = client.list_artifacts(found.info.run_id, path, recursive=is_recursive, **then)
    if as_json:
        result_json([asdict(entry) for entry in listed])
        return
    if not listed:
        note(
            f"run {printable(found.info.run_name)} has no artifacts"
            + (f" in {path}" if path else "")
        )
        return
    rows = [
        (
            printable(entry.path) + ("/" if entry.is_dir else ""),
            count(entry.files or 0, "file") if entry.is_dir else entry.media_type or "",
            "" if entry.file_size is None else size(entry.file_size),
            (entry.digest or "")[:12] or (f"-> {printable(entry.uri)}" if entry.uri else ""),
        )
        for entry in listed
    ]
    table(("path", "kind", "size", "sha256"), rows)
