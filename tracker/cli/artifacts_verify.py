"""`tracker artifacts verify`: read files again and compare them with their digests."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import click

from tracker.cli.artifacts_store_options import store_options
from tracker.cli.formats import count, printable, size
from tracker.cli.options import option
from tracker.cli.output import json_option, result, result_json
from tracker.cli.progress import Progress, progress_on_stderr


@click.command("verify")
@click.argument("run", required=False, metavar="[RUN]")
@option(
    "--all", "is_all", env="TRACKER_ARTIFACTS_ALL", is_flag=True,
    help="Every blob of the store and every file of every run and model.",
)  # fmt: skip
@store_options
@json_option
def command(run: str | None, is_all: bool, as_json: bool, **given: Any) -> None:
    """Read the files of RUN (a run's or a logged model's id) again, or all of them.

    Finds blobs that are lost, that have other bytes than their SHA-256 says, and files
    whose length is another than was logged. Reads the event log and the artifact store
    directly, whether a server runs or not. Exit code 1 if anything is off.
    """
    if (run is None) == (not is_all):
        raise click.UsageError("give the id of a RUN, or --all")
    with progress_on_stderr("verifying") as progress:
        reports = asyncio.run(_verify(given, run, progress))
    findings = sum(report.findings_count for report in reports.values())
    if as_json:
        said = {
            name: asdict(report) | {"is_clean": report.is_clean} for name, report in reports.items()
        }
        result_json({"is_clean": findings == 0, "workspaces": said})
    else:
        _tell(reports)
    if findings:
        raise SystemExit(1)


async def _verify(given: dict[str, Any], run: str | None, progress: Progress) -> dict[str, Any]:
    from ingest.artifact_verifying import verify_all, verify_tree
    from ingest.gc_opening import opened_workspaces
    from ingest.settings import load_settings

    settings = load_settings(**given)
    reports: dict[str, Any] = {}
    async with opened_workspaces(settings, progress=progress) as workspaces:
        for each in workspaces:
            if run is None:
                reports[each.name] = await verify_all(each.runs, each.store, progress=progress)
            elif await _is_there(each.runs, run):
                reports[each.name] = await verify_tree(
                    each.runs, each.store, run, progress=progress
                )
    if not reports:
        raise click.ClickException(f"there is no run and no model {run!r} with artifacts")
    return reports


async def _is_there(runs: Any, owner: str) -> bool:
    if await runs.get_artifact_folder(owner, "") is not None:
        return True
    return await runs.get_run(owner, live_run_ids=frozenset()) is not None


def _tell(reports: dict[str, Any]) -> None:
    for name, report in reports.items():
        for finding in report.findings:
            result(f"{finding.fault}: {finding.digest[:16]}… {printable(finding.message)}")
        more = report.findings_count - len(report.findings)
        if more:
            result(f"… and {more:,} more")
        looked_at = (
            f"{count(report.files, 'file')} ({count(report.references, 'reference')}), "
            f"{count(report.blobs, 'blob')}, {size(report.bytes)}, in workspace {name}"
        )
        clean = (
            "clean" if report.is_clean else f"NOT CLEAN: {count(report.findings_count, 'finding')}"
        )
        result(f"{clean}: {looked_at}")
