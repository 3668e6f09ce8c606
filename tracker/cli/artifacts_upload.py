"""`tracker artifacts upload RUN FILE…`: add files or folders to a run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli import formats
from tracker.cli.byte_bar import byte_bar
from tracker.cli.connection import CommandFailed, connected, failures_told
from tracker.cli.lookup import find_run
from tracker.cli.options import connection_options, option
from tracker.cli.output import json_option, note, result, result_json

if TYPE_CHECKING:
    from tracker.shipper.oneshot import SyncReport
    from tracker.shipper.state import DeliveryState


@click.command("upload")
@click.argument("run")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@connection_options
@option(
    "--artifact-path",
    metavar="FOLDER",
    default=None,
    env="TRACKER_ARTIFACTS_ARTIFACT_PATH",
    help="The folder of the run to put them into. [default: its root]",
)
@json_option
def command(
    run: str,
    files: Sequence[Path],
    uri: str | None,
    api_key: str | None,
    artifact_path: str | None,
    as_json: bool,
) -> None:
    """Add FILES, or folders with all that is in them, to the artifacts of RUN.

    They are staged in the spool first: an upload that is interrupted goes on with
    `tracker sync`, without sending finished parts again.
    """
    with connected(uri, api_key) as client:
        run_id = find_run(client, run).info.run_id
        address = client.uri
    with failures_told():
        folder, count, size = _staged(run_id, files, artifact_path, uri=address)
    report = _delivered(folder, address, api_key, total=size, is_shown=not as_json)
    if as_json:
        result_json(
            {"run_id": run_id, "files": count, "bytes": size, "complete": report.is_complete}
        )
    if not report.is_complete:
        reason = next((state.problem for state in report.remaining if state.problem), "interrupted")
        raise CommandFailed(
            f"not everything was uploaded: {reason}",
            hint=f"What is left waits in the spool: tracker sync {folder}",
        )
    if not as_json:
        result(f"{formats.count(count, 'file')}, {formats.size(size)} uploaded to run {run_id}")


def _staged(
    run_id: str, files: Sequence[Path], artifact_path: str | None, *, uri: str
) -> tuple[Path, int, int]:
    """(the writer's folder, files, bytes)."""
    from tracker import config
    from tracker.artifacts.files import log_path
    from tracker.artifacts.recorder import ArtifactRecorder
    from tracker.binding import Binding
    from tracker.spool.staging import staged_size
    from tracker.starting import plan_of

    # Offline: it is this command that delivers it, and no shipper beside it.
    plan = plan_of(run_id, config.client_settings(), binding=Binding(), mode="offline", uri=uri)
    recorder = ArtifactRecorder(plan)
    for file in files:
        try:
            log_path(recorder, file, artifact_path)
        except OSError as error:
            raise CommandFailed(f"{file} cannot be read: {error.strerror or error}") from None
    recorder.finish(60.0)
    writer = recorder.recording.close_with(None, {})
    folder = writer.path if writer is not None else None
    if writer is None or folder is None:
        raise CommandFailed("there is nothing to upload")
    count, size = staged_size(folder)
    writer.close()
    return folder, count, size


def _delivered(
    folder: Path, uri: str, api_key: str | None, *, total: int, is_shown: bool
) -> SyncReport:
    from tracker import config
    from tracker.credentials import key_for
    from tracker.destination import LOCAL
    from tracker.local_server import ensure_running
    from tracker.shipper.oneshot import sync

    address = ensure_running(config.home()) if uri == LOCAL else uri
    with byte_bar("uploading", total=total, is_shown=is_shown) as advance:

        def show(states: Sequence[DeliveryState]) -> None:
            advance(sum(state.counts.blob_bytes for state in states))
            problem = next((state.problem for state in states if state.problem), None)
            if problem and is_shown and problem not in told:
                told.add(problem)
                note(problem)

        told: set[str] = set()
        return asyncio.run(
            sync(
                folder,
                uri_of=lambda meta: address,
                key_of=lambda server: api_key or key_for(config.home(), server),
                on_progress=show,
            )
        )
