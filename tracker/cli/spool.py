"""`tracker spool`: look at what lies on this machine, prove it, and clean it up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tracker.cli.connection import CommandFailed
from tracker.cli.formats import ago, short_id, size
from tracker.cli.options import option
from tracker.cli.output import json_option, note, result, result_json, table
from tracker.spool.inspection import (
    LIVE,
    WriterSummary,
    check_writer,
    records_of,
    summaries,
    unreadable,
)


def _path_argument(command: Any) -> Any:
    return click.argument("path", required=False, type=click.Path(path_type=Path))(command)


def _root(path: Path | None) -> Path:
    from tracker import config

    root = path or config.spool_dir()
    if path is not None and not root.exists():
        raise CommandFailed(f"{root} does not exist")
    return root


@click.group("spool")
def command() -> None:
    """List, show, verify and prune local spools.

    PATH is a spool, a run's folder or a writer's; without it, this machine's spool.
    """


@command.command("list")
@_path_argument
@json_option
def list_command(path: Path | None, as_json: bool) -> None:
    """One line per writer: whose it is, whether it lives, what is still to be sent."""
    root = _root(path)
    found = list(summaries(root))
    if as_json:
        result_json([summary.as_json() for summary in found])
        return
    for sentence in unreadable(root):
        note(sentence)
    if not found:
        note(f"No writers in {root}")
        return
    now_us = time.time_ns() // 1000
    table(
        ("run", "name", "writer", "state", "recorded", "to send", "size", "began", "destination"),
        [
            (
                short_id(summary.meta.run_id) or "(workspace)",
                summary.meta.run_name,
                short_id(summary.meta.writer_id),
                summary.state,
                f"{summary.recorded:,}",
                f"{summary.unsent:,}",
                size(summary.bytes),
                ago(summary.meta.created_us, now_us=now_us),
                "offline" if summary.meta.mode == "offline" else summary.meta.uri,
            )
            for summary in found
        ],
        title=str(root),
    )


@command.command("show")
@_path_argument
@option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    env="TRACKER_SPOOL_LIMIT",
    help="Print at most this many records.",
)
@json_option
def show_command(path: Path | None, limit: int, as_json: bool) -> None:
    """Print the records of a spool, decoded, in order."""
    rows = _limited(records_of(_root(path)), limit)
    if as_json:
        result_json(list(rows))
        return
    for row in rows:
        result(_line(row))


@command.command("verify")
@_path_argument
@json_option
def verify_command(path: Path | None, as_json: bool) -> None:
    """Check every checksum and every sequence number; exit code 1 if anything is off."""
    root = _root(path)
    reports = [check_writer(summary) for summary in summaries(root)]
    broken = unreadable(root)
    if as_json:
        writers = [report.as_json() for report in reports]
        result_json({"writers": writers, "unreadable": broken})
    else:
        for sentence in broken:
            result(sentence)
        for report in reports:
            for problem in report.problems:
                result(f"{short_id(report.run_id)}/{short_id(report.writer_id)}: {problem}")
        good = sum(not report.problems for report in reports)
        records = sum(report.records for report in reports)
        result(f"{good} of {len(reports)} writers are intact, {records:,} records read")
    if broken or any(report.problems for report in reports):
        raise SystemExit(1)


@command.command("prune")
@_path_argument
@option(
    "--older-than",
    type=click.FloatRange(0),
    default=0.0,
    metavar="DAYS",
    env="TRACKER_SPOOL_OLDER_THAN",
    help="Only writers that began at least this many days ago.",
)
@option(
    "--force",
    is_flag=True,
    env="TRACKER_SPOOL_FORCE",
    help="Remove also what was never sent. It is gone for good then.",
)
@option("--yes", is_flag=True, env="TRACKER_SPOOL_YES", help="Do not ask before --force.")
@json_option
def prune_command(
    path: Path | None, older_than: float, force: bool, yes: bool, as_json: bool
) -> None:
    """Remove the folders of writers that are gone and wholly delivered."""
    before_us = (time.time() - older_than * 86_400) * 1e6
    gone = [
        summary
        for summary in summaries(_root(path))
        if summary.state != LIVE and summary.meta.created_us <= before_us
    ]
    doomed = [summary for summary in gone if force or summary.unsent == 0]
    unsent = sum(summary.unsent for summary in doomed)
    if unsent and not yes:
        click.confirm(f"{unsent:,} records were never sent. Remove them?", abort=True, err=True)
    for summary in doomed:
        _remove(summary)
    if as_json:
        result_json({"removed": [s.as_json() for s in doomed], "kept": len(gone) - len(doomed)})
    else:
        kept = len(gone) - len(doomed)
        result(f"Removed {len(doomed)} writers" + (f"; {kept} hold unsent records" if kept else ""))


def _remove(summary: WriterSummary) -> None:
    shutil.rmtree(summary.folder.path)
    parent = summary.folder.path.parent
    if not any(parent.iterdir()):
        parent.rmdir()


def _limited(rows: Iterator[dict[str, Any]], limit: int) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        if number >= limit:
            note(f"… more than {limit} records; see --limit")
            return
        yield row


def _line(row: dict[str, Any]) -> str:
    facts = row.get("metrics") or row.get("data") or row.get("reason")
    step = f" step {row['step']}" if "step" in row else ""
    return f"{short_id(row['run_id'])} {row['seq']:>8} {row['type']:<16}{step} {facts}"
