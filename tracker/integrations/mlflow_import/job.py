"""One import: from a store of MLflow's into a server, in the order experiments, runs, models."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from tracker.events.ids import is_run_id
from tracker.events.types import Event, EventType
from tracker.integrations.mlflow_import.experiments import ExperimentImport
from tracker.integrations.mlflow_import.facts import experiment_events, model_events, run_events
from tracker.integrations.mlflow_import.files import FileImport
from tracker.integrations.mlflow_import.places import FilePlaces, PlaceSkipped
from tracker.integrations.mlflow_import.report import ImportReport
from tracker.integrations.mlflow_import.sending import Sender, facts_writer, writer_id
from tracker.integrations.mlflow_import.source import Source, SourceModel, SourceRun
from tracker.shipper.transmit import BatchRefused, WriterRefused

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""(stage, done, total)."""
_Item = TypeVar("_Item")
# A commit of the server's serves what arrives together, and there it waits for its disk.
_AT_ONCE: Final = 8


async def count_source(source: Source, places: FilePlaces, on_progress: OnProgress) -> ImportReport:
    """What an import would take over; nothing is sent, and no tracking server is asked."""
    report = ImportReport(skips=source.skips, is_dry_run=True)
    started = time.monotonic()
    report.notes.extend(await source.notes())
    await source.count_not_taken()
    _, runs, models = await source.counts()
    for experiment in await source.experiments():
        experiment_events(experiment, experiment.experiment_id, report.skips)
        report.counts.experiments += 1
    async for run in source.runs():
        run_events(run, run.experiment_id, report.skips, is_experiment_deleted=False)
        await _count_files(report, places, run.artifact_uri, run.run_id)
        report.counts.add_run(run)
        on_progress("runs", report.counts.runs, runs)
    async for model in source.models():
        model_events(model, model.experiment_id, report.skips)
        await _count_files(report, places, model.artifact_uri, model.model_id)
        report.counts.add_model(model)
        on_progress("models", report.counts.models, models)
    report.seconds = time.monotonic() - started
    return report


async def _count_files(report: ImportReport, places: FilePlaces, uri: str, owner: str) -> None:
    if not uri or not places.takes_files:
        return
    try:
        tree = places.tree_of(uri)
        found = await tree.files(owner, report.skips)
    except PlaceSkipped as error:
        if places.notes_references and error.is_elsewhere:
            report.files.references += 1
        else:
            report.skips.add("artifacts", error.reason, f"{owner}: {uri}")
        return
    report.files.files += len(found)
    report.files.bytes += sum(file.size for file in found)


class Import:
    """Takes a source over. Raises SourceUnreadable, ImportInterrupted."""

    def __init__(
        self, source: Source, sender: Sender, places: FilePlaces, on_progress: OnProgress
    ) -> None:
        self._source = source
        self._sender = sender
        self._places = places
        self._on_progress = on_progress
        self.report = ImportReport(skips=source.skips)
        self._experiments = ExperimentImport(sender, source.skips, self.report.notes)

    async def run(self) -> ImportReport:
        started = time.monotonic()
        report = self.report
        report.notes.extend(await self._source.notes())
        await self._source.count_not_taken()
        _, runs, models = await self._source.counts()
        await self._experiments.take(await self._source.experiments())
        report.counts.experiments = len(self._experiments.ids)
        with tempfile.TemporaryDirectory(prefix="tracker-import-") as scratch:
            files = FileImport(
                self._sender, self._places, Path(scratch), report.skips, report.files
            )

            async def take_run(run: SourceRun) -> None:
                take = partial(self._run, run, files)
                if await self._is_taken("run", run.run_id, run.experiment_id, take):
                    report.counts.add_run(run)
                self._on_progress("runs", report.counts.runs, runs)

            async def take_model(model: SourceModel) -> None:
                take = partial(self._model, model, files)
                if await self._is_taken("model", model.model_id, model.experiment_id, take):
                    report.counts.add_model(model)
                self._on_progress("models", report.counts.models, models)

            await _each(self._source.runs(), take_run)
            await _each(self._source.models(), take_model)
        report.sent = self._sender.records
        report.seconds = time.monotonic() - started
        return report

    async def _is_taken(
        self, kind: str, item_id: str, experiment_id: str, take: Callable[[str], Awaitable[None]]
    ) -> bool:
        """Take a run or a model into its experiment here, and say whether that was done; what
        the server refuses for good is skipped."""
        target = self._experiments.ids.get(experiment_id)
        if target is None:
            self.report.skips.add(kind, "its experiment is not there", item_id[:100])
            return False
        if not is_run_id(item_id):
            self.report.skips.add(kind, "its id is none that ids are here", item_id[:100])
            return False
        try:
            await take(target)
        except (BatchRefused, WriterRefused) as error:
            self.report.skips.add(kind, f"refused by the server: {error}", item_id)
            return False
        return True

    async def _run(self, run: SourceRun, files: FileImport, target: str) -> None:
        is_deleted = run.experiment_id in self._experiments.deleted
        events = run_events(run, target, self.report.skips, is_experiment_deleted=is_deleted)
        here = await self._sender.run(run.run_id)
        known = _next_seqs(here)
        facts = facts_writer("f", run.run_id, events)
        next_seq = known.get(facts, 1)
        if facts not in known and _has(known, "import-f-"):
            next_seq = await self._sender.next_seq(facts)
            is_restored = here["lifecycle_stage"] == "deleted" and not (
                run.is_deleted or is_deleted
            )
            events = _said_again(run, events, is_restored=is_restored)
        sent = await self._sender.events(run.run_id, facts, events, next_seq=next_seq)
        sent += await self._points(run, known)
        if known and not sent:
            self.report.unchanged_runs += 1
        await files.take(run.artifact_uri, run_id=run.run_id, time_us=events[-1].time_us)

    async def _points(self, run: SourceRun, known: Mapping[str, int]) -> int:
        """How many points were sent."""
        about = run.points.about
        if not about.points:
            return 0
        writer = writer_id("m", run.run_id, *about)
        if writer not in known and _has(known, "import-m-"):
            self.report.skips.add(
                "metrics",
                "the run has other points than when it was imported; "
                "import it into an empty store to have them all",
                run.run_id,
            )
            return 0
        next_seq = known.get(writer, 1)
        if known and next_seq <= about.points:
            next_seq = await self._sender.next_seq(writer)
        return await self._sender.points(run.run_id, writer, run.points, next_seq=next_seq)

    async def _model(self, model: SourceModel, files: FileImport, target: str) -> None:
        events = model_events(model, target, self.report.skips)
        writer = facts_writer("x", model.model_id, events)
        await self._sender.events("", writer, events, next_seq=await self._sender.next_seq(writer))
        await files.take(
            model.artifact_uri, run_id="", time_us=events[-1].time_us, model_id=model.model_id
        )


async def _each(items: AsyncIterator[_Item], take: Callable[[_Item], Awaitable[None]]) -> None:
    """Take every item, some at once. The first error ends it all, and is raised as it is."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: _Item) -> None:
        try:
            await take(item)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for item in items:
                await slots.acquire()
                group.create_task(one(item))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _next_seqs(run: Mapping[str, Any]) -> dict[str, int]:
    """The next sequence number of each writer that the server has of a run."""
    return {each["writer_id"]: int(each["next_seq"]) for each in run.get("writers", ())}


def _has(known: Mapping[str, int], prefix: str) -> bool:
    return any(writer.startswith(prefix) for writer in known)


def _said_again(run: SourceRun, events: Sequence[Event], *, is_restored: bool) -> list[Event]:
    """Facts that changed at the source since an import: they come after what is known."""
    now_us = time.time_ns() // 1000
    later = [event._replace(time_us=max(now_us, event.time_us)) for event in events]
    last_us = later[-1].time_us
    if is_restored:
        later.append(Event(EventType.RUN_RESTORED, last_us, {}))
    return [*later, Event(EventType.RUN_UPDATED, last_us, {"name": run.name})]
