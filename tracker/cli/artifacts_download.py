"""`tracker artifacts download RUN [PATH]`: files of a run, verified by their digests."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli import formats
from tracker.cli.byte_bar import byte_bar
from tracker.cli.connection import CommandFailed, connected
from tracker.cli.lookup import find_run
from tracker.cli.options import connection_options, option
from tracker.cli.output import json_option, note, result, result_json


@click.command("download")
@click.argument("run")
@click.argument("path", required=False, default="")
@connection_options
@option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    env="TRACKER_ARTIFACTS_OUTPUT",
    help="The folder to download into. [default: the working directory]",
)
@json_option
def command(
    run: str, path: str, uri: str | None, api_key: str | None, output: Path, as_json: bool
) -> None:
    """Download the file or folder PATH of RUN, or all of its artifacts.

    What arrives is compared with the SHA-256 that was logged; a download that was
    interrupted goes on where it broke off.
    """
    path = path.strip("/")
    with connected(uri, api_key) as client:
        run_id = find_run(client, run).info.run_id
        parent = path.rpartition("/")[0]
        listed = client.list_artifacts(run_id, parent, recursive=True)
        wanted = [
            e
            for e in listed
            if not e.is_dir and (not path or e.path == path or e.path.startswith(f"{path}/"))
        ]
        total = sum(entry.file_size or 0 for entry in wanted if entry.digest)
        done = 0
        with byte_bar("downloading", total=total, is_shown=not as_json) as advance:

            def arrived(_: str, size: int) -> None:
                nonlocal done
                done += size
                advance(done)

            try:
                place = client.download_artifacts(run_id, path, output, progress=arrived)
            except OSError as error:
                raise CommandFailed(
                    f"{error.filename or output} cannot be written: {error.strerror or error}",
                    hint="What has arrived is kept; the same command goes on from there.",
                ) from error
    references = [entry for entry in wanted if entry.digest is None]
    files = len(wanted) - len(references)
    if as_json:
        result_json({"path": place, "files": files, "bytes": total, "verified": True})
        return
    result(place)
    note(f"{formats.count(files, 'file')}, {formats.size(total)}, verified")
    for entry in references:
        note(f"not downloaded: {entry.path} is a reference to {entry.uri}")
