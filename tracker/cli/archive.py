"""`tracker archive`: keep a log as immutable segments, and take what is kept out of its store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import click

from tracker.cli.connection import RETRY_FOR_S, CommandFailed, failures_told
from tracker.cli.formats import printable
from tracker.cli.options import option
from tracker.cli.output import json_option, note, result, result_json
from tracker.cli.stores import is_server
from tracker.cli.transfer_bar import Show, transfer_bar

POLL_S: Final = 0.25


@click.command("archive")
@click.argument("store", metavar="STORE")
@option(
    "--to",
    "location",
    env="TRACKER_ARCHIVE_TO",
    metavar="PLACE",
    help="A folder or s3://BUCKET/PREFIX. [default: where the store's artifacts lie]",
)
@option(
    "--keep",
    env="TRACKER_ARCHIVE_KEEP",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Leave the last N positions out of it.",
)
@option(
    "--detach",
    env="TRACKER_ARCHIVE_DETACH",
    is_flag=True,
    help="Then remove from the store what the archive has, verified.",
)
@option(
    "--shrink",
    env="TRACKER_ARCHIVE_SHRINK",
    is_flag=True,
    help="Give the room back to the disk afterwards (a SQLite file is written anew).",
)
@option(
    "--workspace",
    env="TRACKER_WORKSPACE",
    metavar="NAME",
    help="The workspace, where a database has several. [default: default]",
)
@option(
    "--api-key", env="TRACKER_API_KEY", metavar="KEY", help="The key the server asks for, if any."
)
@json_option
def command(store: str, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Write the log of STORE to an archive of immutable, checksummed segments.

    STORE is a SQLite file that no server has open, postgresql://…, or a server's address:
    then that server does it, into its own artifact store. With --detach the store forgets
    what the archive has; everything goes on reading it from there as if it were here.

    May be stopped at any moment; the next call goes on.
    """
    with transfer_bar() as show, failures_told():
        if is_server(store):
            if given["location"] is not None or given["shrink"]:
                raise click.UsageError(
                    "a server archives into its own artifact store: leave out --to and --shrink"
                )
            report = asyncio.run(_ask_server(store, given, show))
        else:
            report = asyncio.run(_archive(store, given, show))
    if as_json:
        result_json(report)
        return
    result(
        f"archived up to position {report['archived']:,} in {report['segments']:,} segments at "
        f"{report['location']} ({report['segments_written']:,} written now, "
        f"{report['bytes_written'] / 1e6:,.1f} MB)"
    )
    if given["detach"]:
        result(
            f"detached up to position {report['detached']:,}: "
            f"{report['batches_removed']:,} batches removed from the store"
        )
        if report["detached"] < report["archived"]:
            note(
                "the batch that ends the log stays in the store, and PostgreSQL forgets whole "
                "partitions only: what is left is detached by a later call"
            )


async def _archive(store: str, given: dict[str, Any], show: Show) -> dict[str, Any]:
    from ingest.archive.archiving import archive_log, detach_archived
    from ingest.archive.log import open_archive
    from ingest.archive.objects import absolute_location
    from ingest.replay.destinations import open_store
    from ingest.replay.places import PostgresPlace, SqlitePlace, source_of
    from ingest.replay.sources import open_source

    place = source_of(store)
    if not isinstance(place, SqlitePlace | PostgresPlace):
        raise click.UsageError(f"{place} is no store that can be archived")
    location = absolute_location(given["location"] or _default_location(place))
    async with open_source(place, workspace=given["workspace"], api_key=None) as source:
        workspace = source.workspace
    async with (
        open_archive(location, workspace=workspace) as archive,
        open_store(place, workspace=workspace) as opened,
    ):
        report = await archive_log(
            opened,
            archive,
            location=location,
            keep=given["keep"],
            is_to_detach=given["detach"],
            on_progress=show,
        )
        if given["detach"]:
            await detach_archived(opened, archive, report, keep=given["keep"], on_progress=show)
    if given["shrink"] and isinstance(place, SqlitePlace):
        await asyncio.to_thread(_shrink, place.path)
    return report.as_json()


def _default_location(place: Any) -> str:
    from ingest.replay.places import SqlitePlace

    if isinstance(place, SqlitePlace):
        return str(place.path.parent / "artifacts")
    raise click.UsageError("a database does not say where: give --to FOLDER or s3://BUCKET/PREFIX")


def _shrink(path: Path) -> None:
    import sqlite3

    from ingest.event_stores.file_lock import FileLock

    lock = FileLock.acquire(path.with_name(path.name + ".lock"), what=str(path))
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
    finally:
        lock.release()


async def _ask_server(uri: str, given: dict[str, Any], show: Show) -> dict[str, Any]:
    from tracker.transport import Query, Transport

    key = given["api_key"]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = Transport(uri, headers=headers, retry_for_s=RETRY_FOR_S)
    body = {"detach": given["detach"], "keep": given["keep"]}
    try:
        answer = await transport.json(Query("POST", "/api/v1/archive", is_read=False, body=body))
        while answer["state"] == "running":
            show(answer["stage"], answer["done"], answer["total"])
            await asyncio.sleep(POLL_S)
            answer = await transport.json(Query("GET", "/api/v1/archive", is_read=True))
    finally:
        await transport.aclose()
    if answer["state"] != "done":
        raise CommandFailed(f"the server did not finish: {printable(str(answer['error']))}")
    report: dict[str, Any] = answer["report"]
    return report
