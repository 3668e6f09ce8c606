"""`tracker replay`: copy a log into another store, or into tables for other tools."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tracker.cli.connection import failures_told
from tracker.cli.formats import printable
from tracker.cli.options import option, repeatable_option
from tracker.cli.output import json_option, note, result, result_json
from tracker.cli.times import TIME, told
from tracker.cli.transfer_bar import transfer_bar

if TYPE_CHECKING:
    from ingest.replay.copying import CopyProgress
    from ingest.replay.job import OnProgress, ReplayReport, ReplayRequest


@click.command("replay")
@click.argument("src", metavar="SRC")
@click.argument("dst", metavar="DST")
@option(
    "--follow", env="TRACKER_REPLAY_FOLLOW", is_flag=True, help="Keep the copy live until Ctrl-C."
)
@option(
    "--until-position",
    env="TRACKER_REPLAY_UNTIL_POSITION",
    type=click.IntRange(min=0),
    metavar="N",
    help="Stop with the last batch that ends at or before this position.",
)
@option(
    "--until-time",
    env="TRACKER_REPLAY_UNTIL_TIME",
    type=TIME,
    metavar="TIME",
    help="Stop with what the server had received at this time.",
)
@repeatable_option(
    "--experiment",
    "experiments",
    env="TRACKER_REPLAY_EXPERIMENT",
    metavar="NAME",
    help="Only the runs of this experiment, by name or id; may be repeated.",
)
@repeatable_option(
    "--run",
    "run_ids",
    env="TRACKER_REPLAY_RUN",
    metavar="ID",
    help="Only this run; may be repeated.",
)
@option(
    "--merge",
    env="TRACKER_REPLAY_MERGE",
    is_flag=True,
    help="Append what DST lacks to the runs that it has, at new positions.",
)
@option(
    "--artifacts",
    env="TRACKER_REPLAY_ARTIFACTS",
    is_flag=True,
    help="Copy the artifacts' bytes along, verified.",
)
@option(
    "--src-artifacts",
    env="TRACKER_REPLAY_SRC_ARTIFACTS",
    metavar="PLACE",
    help="Where SRC's artifacts lie: a folder or s3://BUCKET/PREFIX.",
)
@option(
    "--dst-artifacts",
    env="TRACKER_REPLAY_DST_ARTIFACTS",
    metavar="PLACE",
    help="Where DST's artifacts are to lie.",
)
@option(
    "--compare",
    env="TRACKER_REPLAY_COMPARE",
    type=click.Choice(["full", "quick"]),
    default="full",
    show_default=True,
    help="full: read both sides whole; quick: their ends and hash chains only.",
)
@option(
    "--dry-run",
    env="TRACKER_REPLAY_DRY_RUN",
    is_flag=True,
    help="Say what would be copied, and write nothing.",
)
@option(
    "--workspace",
    env="TRACKER_WORKSPACE",
    metavar="NAME",
    help="The workspace to replay. [default: the one there is]",
)
@option(
    "--api-key",
    env="TRACKER_API_KEY",
    metavar="KEY",
    help="The key that a server as SRC or DST asks for.",
)
@option(
    "--dst-api-key",
    env="TRACKER_REPLAY_DST_API_KEY",
    metavar="KEY",
    help="The key that DST asks for, if it is another than SRC's.",
)
@json_option
def command(src: str, dst: str, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Copy the log of SRC to DST, then compare both.

    SRC is a SQLite file, postgresql://…, a server's http://…, or an archive (archive:DIR,
    s3://BUCKET/PREFIX). DST is any of these, or parquet:DIR, parquet:s3://…, duckdb:FILE.

    A copy of everything keeps positions, ids, clocks and the hash chain. It may be stopped
    or killed at any moment: the same command goes on where it was, and changes nothing when
    nothing is missing.

    Exit code 1 if the two sides differ in the end.
    """
    with failures_told():
        from ingest.replay.places import destination_of, source_of

        request = _request(source_of(src), destination_of(dst), given)
        report = asyncio.run(_replay(request, follow=given["follow"]))
    if as_json:
        result_json(report.as_json())
    else:
        _tell(report, src=str(request.source), dst=str(request.destination))
    if not report.is_equal:
        raise SystemExit(1)


def _request(source: Any, destination: Any, given: dict[str, Any]) -> ReplayRequest:
    from ingest.replay.job import ReplayRequest

    until_time = given["until_time"]
    if until_time is not None:
        note(f"until {told(until_time)}")
    return ReplayRequest(
        source=source,
        destination=destination,
        workspace=given["workspace"],
        api_key=given["api_key"],
        destination_api_key=given["dst_api_key"],
        until_position=given["until_position"],
        until_time_us=until_time,
        run_ids=given["run_ids"],
        experiments=given["experiments"],
        merge=given["merge"],
        compare=given["compare"],
        dry_run=given["dry_run"],
        artifacts=given["artifacts"],
        source_artifacts=given["src_artifacts"],
        destination_artifacts=given["dst_artifacts"],
    )


async def _replay(request: ReplayRequest, *, follow: bool) -> ReplayReport:
    from ingest.replay.job import replay

    with _showing() as on_progress:
        if not follow:
            return await replay(request, on_progress)
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        note("following; Ctrl-C ends it in order")
        return await replay(replace(request, follow=stop), on_progress)


@contextmanager
def _showing() -> Iterator[OnProgress]:
    told = ""

    def on_progress(stage: str, progress: CopyProgress) -> None:
        nonlocal told
        show(stage, progress.position, progress.head)
        if progress.trouble != told:
            told = progress.trouble
            note(f"{told}; trying again" if told else "going on")

    with transfer_bar() as show:
        yield on_progress


def _tell(report: ReplayReport, *, src: str, dst: str) -> None:
    size = report.bytes / 1e6
    if report.dry_run:
        result(
            f"would copy {report.events:,} events in {report.batches:,} batches ({size:,.1f} MB) "
            f"from {src} to {dst}, up to position {report.until:,}"
        )
        _tell_notes(report)
        return
    rate = report.events / max(report.seconds, 0.001)
    result(
        f"copied {report.events:,} events in {report.batches:,} batches ({size:,.1f} MB) up to "
        f"position {report.until:,} in {report.seconds:.1f} s ({rate:,.0f} events/s)"
    )
    _tell_notes(report)
    _tell_artifacts(report)
    compared = report.comparison
    if compared is None:
        return
    for difference in compared.differences:
        result(f"differs: {printable(difference, characters_max=1000)}")
    more = compared.differences_count - len(compared.differences)
    if more:
        result(f"… and {more:,} more differences")
    if compared.is_equal and compared.state_hash:
        result(
            f"equal: {compared.runs:,} runs, {compared.events:,} events, {compared.points:,} "
            f"points on both sides, state {compared.state_hash}"
        )
    elif compared.is_equal:
        result("equal: both logs end at the same position with the same hash chain")
    else:
        result(f"NOT EQUAL: {compared.differences_count:,} differences")


def _tell_notes(report: ReplayReport) -> None:
    for each in report.notes:
        result(f"note: {each}")


def _tell_artifacts(report: ReplayReport) -> None:
    blobs = report.artifacts
    if blobs is None:
        return
    result(
        f"artifacts: {blobs.copied:,} copied ({blobs.bytes / 1e6:,.1f} MB), "
        f"{blobs.present:,} were there"
    )
    for digest in blobs.missing:
        result(f"missing in the source, or damaged there: blob {digest}")
