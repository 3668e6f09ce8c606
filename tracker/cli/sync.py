"""`tracker sync [PATH]`: deliver what lies in a spool, and say what happened to all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli.connection import CommandFailed
from tracker.cli.options import connection_options, option
from tracker.cli.output import json_option, note, result, result_json

if TYPE_CHECKING:
    from tracker.shipper.oneshot import OnProgress, SyncReport
    from tracker.shipper.state import DeliveryState
    from tracker.spool.meta import WriterMeta


@click.command("sync")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@connection_options
@option(
    "--watch",
    "is_watching",
    is_flag=True,
    env="TRACKER_SYNC_WATCH",
    help="Go on delivering until interrupted.",
)
@option(
    "--end-lost",
    "ends_lost",
    is_flag=True,
    env="TRACKER_SYNC_END_LOST",
    help="For copies of spools whose process is gone: end their runs as FAILED (lost).",
)
@json_option
def command(
    path: Path | None,
    uri: str | None,
    api_key: str | None,
    is_watching: bool,
    ends_lost: bool,
    as_json: bool,
) -> None:
    """Deliver spooled records to a server, exactly once.

    PATH is a spool, a run's folder in it or a writer's; it may be a copy from another
    machine. Without PATH it is this machine's spool. Each run goes to --uri, else where it
    was meant to go, else to the default destination. Exit code 1 if something remains.
    """
    from tracker import config

    root = path or config.spool_dir()
    if not root.exists():
        if path is None:
            note(f"Nothing to deliver: there is no spool at {root}")
            return
        raise CommandFailed(f"{root} does not exist")
    from tracker.shipper.oneshot import sync

    with _ProgressLine(is_shown=not as_json) as on_progress:
        running = sync(
            root,
            uri_of=_destinations(uri if _is_from_command_line("uri") else None),
            key_of=_keys(uri, api_key),
            ends_lost=ends_lost,
            is_watching=is_watching,
            on_progress=on_progress,
        )
        report = asyncio.run(running)
    if as_json:
        result_json(_as_json(report))
    else:
        _tell(report, root)
    if not report.is_complete:
        raise SystemExit(1)


def _is_from_command_line(name: str) -> bool:
    """TRACKER_URI says where new runs go; only --uri may redirect what was recorded."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _keys(uri: str | None, api_key: str | None) -> Callable[[str], str | None]:
    """The key for each server: what the command line says, else what was noted for it.

    A key from the environment is for the destination that the environment names.
    """
    from tracker import config
    from tracker.credentials import key_for
    from tracker.destination import LOCAL, destination

    is_for_all = _is_from_command_line("api_key")
    meant = {uri, destination().uri}

    def of(address: str) -> str | None:
        if is_for_all or (api_key and (address in meant or LOCAL in meant)):
            return api_key
        return key_for(config.home(), address)

    return of


def _destinations(given: str | None) -> Callable[[WriterMeta], str]:
    """Where each writer goes; this machine's server is found, or started, at most once."""
    from tracker import config
    from tracker.destination import LOCAL, destination, parse_uri
    from tracker.local_server import ensure_running

    @cache
    def address(uri: str) -> str:
        return ensure_running(config.home()) if uri == LOCAL else uri

    chosen = parse_uri(given, source="--uri") if given else None

    def of(meta: WriterMeta) -> str:
        if chosen is None and meta.uri != LOCAL:
            return meta.uri
        return address(chosen or destination().uri)

    return of


class _ProgressLine:
    """A progress line on stderr while a sync runs; nothing when stderr is no terminal."""

    def __init__(self, *, is_shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("delivering"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not is_shown,
        )
        self._task = self._bar.add_task("sync", total=None, said="")

    def __enter__(self) -> OnProgress:
        self._bar.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, states: Sequence[DeliveryState]) -> None:
        done = sum(state.is_caught_up for state in states)
        records = sum(state.counts.records for state in states)
        size = sum(state.counts.wire_bytes + state.counts.blob_bytes for state in states)
        problem = next((state.problem for state in states if state.problem), None)
        said = f"{done} of {len(states)} writers, {records:,} records, {size / 1e6:.1f} MB sent"
        self._bar.update(
            self._task,
            total=len(states) or None,
            completed=done,
            said=said + (f" — {problem}" if problem else ""),
        )


def _tell(report: SyncReport, root: Path) -> None:
    counts = report.counts
    if not report.writers and not report.unreadable:
        result(f"Nothing to deliver in {root}")
        return
    result(
        f"Delivered {counts.records:,} records ({counts.points:,} points) of "
        f"{report.writers} writers, {counts.wire_bytes / 1e6:.2f} MB"
        + (f", and {counts.blob_bytes / 1e6:.1f} MB of files" if counts.blob_bytes else "")
    )
    if lost := counts.lost - counts.rejected:
        note(f"{lost:,} records were lost before they got here; the server knows")
    if counts.rejected:
        note(
            f"{counts.rejected:,} records were refused; they are kept in rejected/ with the reason"
        )
    for state in report.remaining:
        reason = state.problem or "not everything could be sent"
        note(f"run {state.run_id or '(workspace)'}: still to be sent to {state.uri}: {reason}")
    for sentence in report.unreadable:
        note(sentence)
    if not report.is_complete:
        note(f"Send the rest with: tracker sync {root}")


def _as_json(report: SyncReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "complete": report.is_complete,
        "writers": report.writers,
        **asdict(report.counts),
        "remaining": [asdict(state) for state in report.remaining],
        "unreadable": list(report.unreadable),
    }
