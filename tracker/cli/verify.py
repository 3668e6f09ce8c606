"""`tracker verify`: prove that a store is complete, unchanged, and folded right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from tracker.cli.connection import RETRY_FOR_S, CommandFailed, failures_told
from tracker.cli.formats import printable
from tracker.cli.options import option
from tracker.cli.output import json_option, note, result, result_json
from tracker.cli.progress import Progress, progress_on_stderr
from tracker.cli.stores import database_of, is_server, store_path_of

POLL_S: Final = 0.5

OnProgress = Callable[[str, int, int], None]


@click.command("verify")
@click.argument("src", required=False, metavar="[SRC]")
@option(
    "--api-key", env="TRACKER_API_KEY", metavar="KEY", help="The key the server asks for, if any."
)
@json_option
def command(src: str | None, api_key: str | None, as_json: bool) -> None:
    """Prove that the store SRC is complete and unchanged, and its projections right.

    SRC is a file (a path or sqlite:///PATH), a postgresql:// database, of which the log is
    verified, or a server's address; without it, the store that `tracker server` uses here. A
    file or a database may be verified while servers use it.

    Exit code 1 if anything is off: a missing position, a changed byte, a hole in a
    writer's sequence, a row that a rebuild would not make.
    """
    started = time.monotonic()
    with progress_on_stderr("verifying") as progress:
        if src is not None and is_server(src):
            with failures_told():
                report = asyncio.run(_ask_server(src, api_key, progress))
        elif (uri := database_of(src)) is not None:
            with failures_told():
                report = asyncio.run(_verify_database(uri, progress))
        else:
            report = _verify_file(store_path_of(src), progress)
    if as_json:
        result_json(report)
    else:
        _tell(report, seconds=time.monotonic() - started)
    if not report["is_clean"]:
        raise SystemExit(1)


def _verify_file(path: Path, progress: Progress) -> dict[str, Any]:
    from ingest.event_stores.sqlite_reader import SqliteLogReader
    from projections.builds import Builds
    from projections.kinds import KINDS
    from projections.verify import verify

    log = SqliteLogReader(path)
    try:
        report = asyncio.run(
            verify(
                log,
                Builds.beside(path),
                KINDS,
                on_progress=lambda p: progress(p.stage, p.done, p.total),
            )
        )
    finally:
        log.close()
    return asdict(report) | {"is_clean": report.is_clean}


async def _verify_database(uri: str, progress: Progress) -> dict[str, Any]:
    from ingest.event_stores.postgres_reader import reading_log
    from ingest.settings import load_settings
    from projections.findings import VerifyReport
    from projections.verify_log import verify_log

    report = VerifyReport()
    async with reading_log(uri, workspace=load_settings().workspace) as log:
        await verify_log(log, report, lambda p: progress(p.stage, p.done, p.total))
    return asdict(report) | {"is_clean": report.is_clean}


async def _ask_server(uri: str, api_key: str | None, progress: Progress) -> dict[str, Any]:
    from tracker.transport import Query, Transport

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    transport = Transport(uri, headers=headers, retry_for_s=RETRY_FOR_S)
    try:
        answer = await transport.json(Query("POST", "/api/v1/verify", is_read=False, body={}))
        while answer["state"] == "running":
            at = answer["progress"]
            progress(at["stage"], at["done"], at["total"])
            await asyncio.sleep(POLL_S)
            answer = await transport.json(Query("GET", "/api/v1/verify", is_read=True))
    finally:
        await transport.aclose()
    if answer["state"] != "done":
        raise CommandFailed(f"the server did not finish: {printable(str(answer.get('error')))}")
    report: dict[str, Any] = answer["report"]
    return report


def _tell(report: dict[str, Any], *, seconds: float) -> None:
    for finding in report["findings"]:
        result(f"{finding['fault']}: {printable(finding['message'], characters_max=1000)}")
    more = report["findings_count"] - len(report["findings"])
    if more:
        result(f"… and {more:,} more")
    for proof in report["projections"]:
        note(
            f"projection {proof['name']} (version {proof['version']}) at position "
            f"{proof['position']:,}: {proof['rows']:,} rows compared with a rebuild"
        )
    looked_at = (
        f"{report['events']:,} events ({report['points']:,} points, {report['dropped']:,} "
        f"dropped) in {report['batches']:,} batches of {report['writers']:,} writers"
    )
    if report["is_clean"]:
        result(f"clean: {looked_at}, head {report['head']:,}, chain {report['chain'][:16]}")
    else:
        result(f"NOT CLEAN: {report['findings_count']:,} findings; {looked_at}")
    note(f"verified in {seconds:.1f} s")
