"""`tracker rebuild`: build projections anew from the log."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import click

from tracker.cli.connection import RETRY_FOR_S, CommandFailed, failures_told
from tracker.cli.formats import printable
from tracker.cli.options import connection_options, option
from tracker.cli.output import json_option, result, result_json
from tracker.cli.progress import Progress, progress_on_stderr
from tracker.cli.stores import is_server, store_path_of

POLL_S: Final = 0.5


@click.command("rebuild")
@click.argument("store", required=False, metavar="[STORE]")
@option(
    "--projection",
    env="TRACKER_REBUILD_PROJECTION",
    type=click.Choice(["runs", "series", "all"]),
    default="all",
    show_default=True,
    help="What to build anew.",
)
@connection_options
@json_option
def command(
    store: str | None, projection: str, uri: str | None, api_key: str | None, as_json: bool
) -> None:
    """Build projections anew from the log, and let the new ones serve.

    STORE is a file (a path or sqlite:///PATH) that no server has open, or a server's
    address; with --uri http://… the server does it beside the serving ones, while reads
    and appends go on. Without either, the file that `tracker server` uses here.
    """
    server = store if store is not None and is_server(store) else None
    if store is None and uri is not None and is_server(uri):
        server = uri
    with progress_on_stderr("rebuilding") as progress, failures_told():
        if server is not None:
            built = asyncio.run(_ask_server(server, api_key, projection, progress))
        else:
            built = _rebuild_file(store_path_of(store), projection, progress)
    if as_json:
        result_json(built)
        return
    for each in built:
        result(f"{each['projection']}: built anew up to position {each['position']:,}")


def _rebuild_file(path: Path, projection: str, progress: Progress) -> list[dict[str, Any]]:
    from ingest.event_stores.file_lock import FileLock, StoreInUse

    try:
        lock = FileLock.acquire(path.with_name(path.name + ".lock"), what=str(path))
    except StoreInUse as error:
        raise CommandFailed(
            str(error).split(";")[0],
            hint="Let that server do it: tracker rebuild --uri http://HOST:PORT",
        ) from error
    try:
        return asyncio.run(_rebuild_all(path, projection, progress))
    finally:
        lock.release()


async def _rebuild_all(path: Path, projection: str, progress: Progress) -> list[dict[str, Any]]:
    from ingest.event_stores.sqlite_reader import SqliteLogReader
    from projections.builds import Builds
    from projections.file_builds import FileBuilds
    from projections.kinds import KINDS
    from projections.rebuild import rebuild

    built = []
    builds = Builds.beside(path)
    builds.remove_leftovers()
    log = SqliteLogReader(path)
    try:
        head = (await log.head()).next_position - 1
        for kind in KINDS:
            if projection in (kind.name, "all"):
                started = time.monotonic()

                def on_position(at: int, name: str = kind.name) -> None:
                    progress(name, at, head)

                build = await rebuild(kind, FileBuilds(builds), log, on_position=on_position)
                built.append(
                    {
                        "projection": kind.name,
                        "position": head,
                        "file": build.label,
                        "seconds": round(time.monotonic() - started, 3),
                    }
                )
    finally:
        log.close()
    return built


async def _ask_server(
    uri: str, api_key: str | None, projection: str, progress: Progress
) -> list[dict[str, Any]]:
    from tracker.transport import Query, Transport

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    transport = Transport(uri, headers=headers, retry_for_s=RETRY_FOR_S)
    body = {"projection": projection}
    try:
        answer = await transport.json(Query("POST", "/api/v1/rebuild", is_read=False, body=body))
        while any(each["state"] == "running" for each in answer["rebuilds"]):
            for each in answer["rebuilds"]:
                progress(each["projection"], each["position"], each["head"])
            await asyncio.sleep(POLL_S)
            answer = await transport.json(Query("GET", "/api/v1/rebuild", is_read=True))
    finally:
        await transport.aclose()
    asked: list[dict[str, Any]] = [
        each for each in answer["rebuilds"] if projection in (each["projection"], "all")
    ]
    for each in asked:
        if each["state"] == "failed":
            raise CommandFailed(
                f"{each['projection']} could not be built anew: {printable(str(each['error']))}",
                hint="The old build serves on. `tracker verify` says what is wrong with the log.",
            )
    return asked
