"""`tracker import mlflow SRC`: take over what MLflow tracked, with its ids and times."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli.connection import CommandFailed, failures_told
from tracker.cli.formats import printable
from tracker.cli.options import option
from tracker.cli.output import json_option, note, result, result_json, table
from tracker.cli.transfer_bar import transfer_bar

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from tracker.integrations.mlflow_import.places import FilePlaces
    from tracker.integrations.mlflow_import.report import ImportReport
    from tracker.integrations.mlflow_import.sending import Sender
    from tracker.integrations.mlflow_import.source import Source


@click.group("import")
def command() -> None:
    """Take over what other trackers recorded."""


@command.command("mlflow")
@click.argument("src", metavar="SRC")
@option(
    "--to",
    "uri",
    env="TRACKER_IMPORT_TO",
    metavar="URI",
    help="The server, such as http://host:5000, or 'local'. [default: see tracker doctor]",
)
@option(
    "--api-key",
    env="TRACKER_API_KEY",
    metavar="KEY",
    help="The key the server asks for, if it does.",
)
@option(
    "--artifacts-root",
    env="TRACKER_IMPORT_ARTIFACTS_ROOT",
    metavar="PLACE",
    help="What mlflow-artifacts:/ stands for: the folder that MLflow's server keeps it in (its "
    "--artifacts-destination), or the server's address, such as http://host:5000.",
)
@option(
    "--no-artifacts",
    env="TRACKER_IMPORT_NO_ARTIFACTS",
    is_flag=True,
    help="Leave files where they are.",
)
@option(
    "--references",
    env="TRACKER_IMPORT_REFERENCES",
    is_flag=True,
    help="Note in each run where its files lie, if that is s3://… or the like.",
)
@option(
    "--dry-run",
    env="TRACKER_IMPORT_DRY_RUN",
    is_flag=True,
    help="Read SRC and say what is there; send nothing.",
)
@json_option
def mlflow(src: str, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Import an MLflow database or a folder mlruns.

    SRC is sqlite:///PATH (or the path of the file), postgresql://… or a folder mlruns.
    MLflow itself need not be installed.

    Experiments, runs, params, all points of all metrics, tags, datasets, logged models,
    what is deleted, and files: with their ids and times. Repeating an import changes
    nothing; one that was stopped goes on. Files are read where SRC says that they lie; a
    relative path begins at SRC's folder.

    Exit code 1 if something was skipped.
    """
    with failures_told(), transfer_bar() as show:
        report = asyncio.run(_imported(src, given, show))
    if as_json:
        result_json(report.as_json())
    else:
        _tell(report)
    if report.skips:
        raise SystemExit(1)


async def _imported(src: str, given: dict[str, Any], show: Any) -> ImportReport:
    import aiohttp

    from tracker.integrations.mlflow_import.job import Import, count_source

    source = await _source(src)
    try:
        async with aiohttp.ClientSession(trust_env=True) as session:
            places = _places(src, given, session)
            if given["dry_run"]:
                return await count_source(source, places, show)
            sender = await _sender(session, given)
            return await Import(source, sender, places, show).run()
    finally:
        await source.aclose()


async def _source(src: str) -> Source:
    from tracker.integrations.mlflow_import.database import DatabaseSource
    from tracker.integrations.mlflow_import.folders import FolderSource
    from tracker.integrations.mlflow_import.tables import SqliteTables, open_tables

    if "://" in src and not src.startswith("file:"):
        return await DatabaseSource.open(await open_tables(src))
    path = _path(src)
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return await DatabaseSource.open(SqliteTables(path))
    raise CommandFailed(
        f"{src} is not there", hint="Name a folder mlruns, a SQLite file, or postgresql://…"
    )


def _path(src: str) -> Path:
    """What a source that is no address of a database names: PATH, file:PATH or file://PATH."""
    from urllib.parse import unquote

    if not src.startswith("file:"):
        return Path(src)
    return Path(unquote(src.removeprefix("file:").removeprefix("//")))


def _places(src: str, given: dict[str, Any], session: ClientSession) -> FilePlaces:
    from tracker.integrations.mlflow_import.places import FilePlaces
    from tracker.integrations.mlflow_import.served import MlflowServer
    from tracker.integrations.mlflow_import.tables import sqlite_path

    base = Path.cwd()
    if src.startswith("sqlite:"):
        base = sqlite_path(src).absolute().parent
    elif "://" not in src or src.startswith("file:"):
        base = _path(src).absolute().parent
    root = given["artifacts_root"]
    if root is not None and not root.startswith(("http://", "https://")):
        root = Path(root)
        if not root.is_dir():
            raise CommandFailed(
                f"{root} is no folder of this machine",
                hint="Name a folder, or an MLflow server as http://host:5000.",
            )
    return FilePlaces(
        base=base,
        root=MlflowServer(session, root) if isinstance(root, str) else root,
        takes_files=not given["no_artifacts"],
        notes_references=given["references"],
    )


async def _sender(session: ClientSession, given: dict[str, Any]) -> Sender:
    from tracker import config, destination
    from tracker.credentials import key_for
    from tracker.integrations.mlflow_import.sending import Sender
    from tracker.local_server import ensure_running
    from tracker.shipper.transmit import Transmitter

    uri = given["uri"] or destination.destination().uri
    uri = destination.parse_uri(uri, source="--to")
    if uri == destination.LOCAL:
        uri = await asyncio.to_thread(ensure_running, config.home())
    key = given["api_key"]
    transmitter = Transmitter(
        session, uri, key_of=lambda address: key or key_for(config.home(), address)
    )
    return Sender(transmitter, workspace=config.workspace())


def _tell(report: ImportReport) -> None:
    for each in report.notes:
        note(f"note: {printable(each, characters_max=1000)}")
    counts = report.as_json()
    kinds = ["experiments", "runs", "params", "tags", "metrics", "points", "inputs", "models",
             "model_points", "artifacts", "references"]  # fmt: skip
    table(["kind", "count"], [(kind.replace("_", " "), f"{counts[kind]:,}") for kind in kinds])
    size = report.files.bytes / 1e6
    if report.is_dry_run:
        result(f"read in {report.seconds:.1f} s; nothing was sent ({size:,.1f} MB of files)")
    else:
        result(
            f"{report.sent:,} records sent in {report.seconds:.1f} s, {size:,.1f} MB of files; "
            f"{report.unchanged_runs:,} runs were here already"
        )
    for (kind, reason), count in sorted(report.skips.counts.items()):
        result(f"skipped: {count:,} × {kind}: {printable(reason, characters_max=500)}")
        for example in report.skips.examples[kind, reason]:
            result(f"    {printable(example, characters_max=200)}")
