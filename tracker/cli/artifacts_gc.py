"""`tracker artifacts gc`: remove blobs that nothing refers to, in two steps days apart."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from typing import Any, Final

import click

from tracker.cli.artifacts_store_options import store_options
from tracker.cli.formats import count, size
from tracker.cli.options import option
from tracker.cli.output import json_option, note, result, result_json
from tracker.cli.progress import Progress, progress_on_stderr

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")


class Duration(click.ParamType[float]):
    """A length of time such as 7d or 90m, in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value).strip().lower())
        if match is None:
            self.fail(f"{str(value)[:40]!r} is no length of time; write 7d, 12h, 30m or 0s")
        return float(match[1]) * _UNITS[match[2]]


@click.command("gc")
@option(
    "--dry-run", env="TRACKER_ARTIFACTS_DRY_RUN", is_flag=True,
    help="Say what would be done, and do nothing.",
)  # fmt: skip
@option(
    "--undo-window", env="TRACKER_ARTIFACTS_UNDO_WINDOW", type=Duration(), default="7d",
    show_default=True, metavar="TIME",
    help="How long a condemned blob waits, and how old an unused upload must be.",
)  # fmt: skip
@option(
    "--undo", env="TRACKER_ARTIFACTS_UNDO", is_flag=True,
    help="Take back all condemnations; what was removed is gone.",
)  # fmt: skip
@store_options
@json_option
def command(dry_run: bool, undo_window: float, undo: bool, as_json: bool, **given: Any) -> None:
    """Remove the blobs that no artifact of any run or model refers to.

    The first collection that finds such a blob condemns it; the first one after the undo
    window removes it. Until then it can be read, and a new upload, a new artifact that
    refers to it, or --undo takes it back. Artifacts of deleted runs count: they can be
    restored. So does what this machine's spool still has to send.

    Reads the event log and the artifact store directly, whether a server runs or not.
    Killed in the middle, it leaves nothing that the next collection does not finish.
    """
    if undo and dry_run:
        raise click.UsageError("--undo and --dry-run cannot be given together")
    with progress_on_stderr("collecting:") as progress:
        report = asyncio.run(_collect(given, undo_window, dry_run, undo, progress))
    if as_json:
        result_json(asdict(report))
        return
    _tell(report, undo_window, is_undo=undo)


async def _collect(
    given: dict[str, Any], undo_window_s: float, is_dry_run: bool, is_undo: bool, progress: Progress
) -> Any:
    from ingest import gc
    from ingest.binding import InvalidSettings
    from ingest.gc_opening import opened_workspaces
    from ingest.gc_references import References, SpoolReferences, TreeReferences
    from ingest.settings import load_settings

    settings = load_settings(**given)
    async with opened_workspaces(settings, progress=progress) as workspaces:
        stores = {each.name: each.store for each in workspaces}
        if is_undo:
            return await gc.undo(stores)
        for each in workspaces:
            if (await each.log.head()).next_position == 1:
                raise InvalidSettings(
                    f"the log of workspace {each.name} is empty, so it is hardly the one that "
                    "this artifact store belongs to; name its log with --backend-store-uri"
                )
        references: list[References] = [TreeReferences(each.runs, each.log) for each in workspaces]
        references.append(SpoolReferences(settings.spool_folder))
        plan = gc.GcPlan(undo_window_s=undo_window_s, is_dry_run=is_dry_run)
        return await gc.collect(stores, references, plan, progress=progress)


def _tell(report: Any, undo_window_s: float, *, is_undo: bool) -> None:
    if is_undo:
        result(f"taken back: {_tally(report.restored)}")
        return
    would = "would be " if report.is_dry_run else ""
    result(f"stored: {_tally(report.stored)}, in {', '.join(report.workspaces) or 'no workspace'}")
    result(f"referred to: {_tally(report.referred)}")
    result(f"young: {_tally(report.young)}")
    result(f"{would}condemned: {_tally(report.condemned)}")
    result(f"waiting: {_tally(report.waiting)}")
    result(f"{would}taken back: {_tally(report.restored)}")
    result(f"{would}removed: {_tally(report.removed)}")
    if report.condemned.blobs and not report.is_dry_run:
        days = undo_window_s / _UNITS["d"]
        when = f"{days:g} {'day' if days == 1 else 'days'}"
        note(f"what is condemned is removed by a collection in {when}; --undo takes it back")


def _tally(tally: Any) -> str:
    return f"{count(tally.blobs, 'blob')}, {size(tally.bytes)}"
