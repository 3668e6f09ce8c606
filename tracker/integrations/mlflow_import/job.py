"""One import: from a store of MLflow's into a server, in the order experiments, runs, models.

Ids of runs and models stay; ids of experiments stay where they are free here, or are the
same experiment. Two MLflow stores both have an experiment 1: where the id means another one
here, the experiment goes by its name, and the report says so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from tracker.events.ids import experiment_id_for, is_run_id
from tracker.events.types import Event, EventType
from tracker.integrations.mlflow_import.facts import experiment_events, model_events, run_events
from tracker.integrations.mlflow_import.files import FileCounts, FileImport, FilePlaces, files_of
from tracker.integrations.mlflow_import.sending import Sender, writer_id
from tracker.integrations.mlflow_import.source import (
    Skips,
    Source,
    SourceExperiment,
    SourceModel,
    SourceRun,
)
from tracker.shipper.transmit import BatchRefused, WriterRefused

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""(stage, done, total)."""
_PAGE: Final = 1_000


@dataclass(slots=True)
class Counts:
    """What the source holds of each kind, as far as it was taken over."""

    experiments: int = 0
    runs: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0  # keys of runs
    points: int = 0
    inputs: int = 0
    models: int = 0
    model_points: int = 0


@dataclass(slots=True)
class ImportReport:
    counts: Counts = field(default_factory=Counts)
    files: FileCounts = field(default_factory=FileCounts)
    # Records that were appended: none when everything was there.
    sent: int = 0
    unchanged_runs: int = 0
    notes: list[str] = field(default_factory=list)
    skips: Skips = field(default_factory=Skips)
    seconds: float = 0.0
    is_dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self.counts),
            "artifacts": self.files.files,
            "artifact_bytes": self.files.bytes,
            "references": self.files.references,
            "records_sent": self.sent,
            "unchanged_runs": self.unchanged_runs,
            "skipped": [
                {"kind": kind, "reason": reason, "count": count,
                 "examples": self.skips.examples[kind, reason]}
                for (kind, reason), count in sorted(self.skips.counts.items())
            ],
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
            "dry_run": self.is_dry_run,
        }  # fmt: skip


async def count_source(source: Source, places: FilePlaces, on_progress: OnProgress) -> ImportReport:
    """What an import would take over; nothing is sent, and no server is asked."""
    report = ImportReport(skips=source.skips, is_dry_run=True)
    started = time.monotonic()
    report.notes.extend(await source.notes())
    _, runs, _ = await source.counts()
    experiments = await source.experiments()
    report.counts.experiments = len(experiments)
    for experiment in experiments:
        experiment_events(experiment, experiment.experiment_id, report.skips)
    async for run in source.runs():
        _count_run(report.counts, run)
        run_events(run, run.experiment_id, report.skips, is_experiment_deleted=False)
        _count_files(report, places, run.artifact_uri, run.run_id)
        on_progress("runs", report.counts.runs, runs)
    async for model in source.models():
        _count_model(report.counts, model)
        model_events(model, model.experiment_id, report.skips)
        _count_files(report, places, model.artifact_uri, model.model_id)
    report.seconds = time.monotonic() - started
    return report


def _count_files(report: ImportReport, places: FilePlaces, uri: str, owner: str) -> None:
    folder = places.folder_of(uri) if uri and places.takes_files else None
    if folder is not None and folder.is_dir():
        for found in files_of(folder, owner, report.skips):
            report.files.files += 1
            report.files.bytes += found.size


def _count_run(counts: Counts, run: SourceRun) -> None:
    counts.runs += 1
    counts.params += len(run.params)
    counts.tags += len(run.tags)
    counts.metrics += len(run.points.keys)
    counts.points += len(run.points)
    counts.inputs += len(run.datasets)


def _count_model(counts: Counts, model: SourceModel) -> None:
    counts.models += 1
    counts.model_points += len(model.points)


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
        # Where each experiment of the source is here, and which of them are deleted there.
        self._ids: dict[str, str] = {}
        self._deleted: set[str] = set()

    async def run(self) -> ImportReport:
        started = time.monotonic()
        report = self.report
        report.notes.extend(await self._source.notes())
        _, runs, models = await self._source.counts()
        await self._experiments()
        with tempfile.TemporaryDirectory(prefix="tracker-import-") as scratch:
            files = FileImport(
                self._sender, self._places, Path(scratch), report.skips, report.files
            )
            async for run in self._source.runs():
                if await self._guarded(f"run {run.run_id}", self._run, run, files):
                    _count_run(report.counts, run)
                self._on_progress("runs", report.counts.runs, runs)
            async for model in self._source.models():
                if await self._guarded(f"model {model.model_id}", self._model, model, files):
                    _count_model(report.counts, model)
                self._on_progress("models", report.counts.models, models)
        report.sent = self._sender.records
        report.seconds = time.monotonic() - started
        return report

    async def _guarded(self, name: str, take: Any, item: Any, files: FileImport) -> bool:
        """Whether it was taken; what the server refuses for good is skipped with its words."""
        try:
            return bool(await take(item, files))
        except (BatchRefused, WriterRefused) as error:
            self.report.skips.add(name.partition(" ")[0], f"refused: {error}", name)
            return False

    async def _experiments(self) -> None:
        found = await self._source.experiments()
        here = await self._experiments_here()
        for experiment in found:
            target = self._target(experiment, here)
            self._ids[experiment.experiment_id] = target
            if experiment.is_deleted:
                self._deleted.add(experiment.experiment_id)
            events = experiment_events(experiment, target, self.report.skips)
            writer = _facts_writer("e", target, events)
            next_seq = await self._sender.next_seq(writer)
            if next_seq == 1 and target in here:
                # It is not from here: its name and stage stay what they are.
                events = [e for e in events if e.type == EventType.EXPERIMENT_TAGS_SET]
                writer = _facts_writer("e", target, events)
                next_seq = await self._sender.next_seq(writer)
            await self._sender.events("", writer, events, next_seq=next_seq)
            here[target] = experiment.name, experiment.is_deleted
            self.report.counts.experiments += 1

    async def _experiments_here(self) -> dict[str, tuple[str, bool]]:
        """id -> (name, whether it is deleted), of all experiments of the server."""
        here: dict[str, tuple[str, bool]] = {}
        token = ""
        while True:
            path = f"/api/v1/experiments?view=all&max_results={_PAGE}"
            status, answer = await self._sender.ask(
                path + (f"&page_token={quote(token)}" if token else "")
            )
            if status != 200:
                raise BatchRefused(f"the server does not list its experiments (HTTP {status})")
            for item in answer["experiments"]:
                is_deleted = item["lifecycle_stage"] == "deleted"
                here[item["experiment_id"]] = item["name"], is_deleted
            token = answer.get("next_page_token") or ""
            if not token:
                return here

    def _target(self, experiment: SourceExperiment, here: Mapping[str, tuple[str, bool]]) -> str:
        """The id that an experiment of the source has here."""
        name, given_id = experiment.name, experiment.experiment_id
        there = here.get(given_id)
        named = [i for i, (other, is_deleted) in here.items() if other == name]
        active = [i for i in named if not here[i][1]]
        if there is not None and there[0] == name:
            return given_id
        if active or (named and there is not None):
            target = (active or named)[0]
            self.report.notes.append(
                f"experiment {given_id} ({name!r}) goes into {target}, which has its name here"
            )
            return target
        if there is None:
            return given_id
        salt = 0
        while (target := str(experiment_id_for(name, salt=salt))) in here:
            salt += 1
        self.report.notes.append(
            f"experiment {given_id} ({name!r}) has the id {target} here, "
            f"because {given_id} is {there[0]!r}"
        )
        return target

    async def _run(self, run: SourceRun, files: FileImport) -> bool:
        skips = self.report.skips
        target = self._ids.get(run.experiment_id)
        if not is_run_id(run.run_id) or target is None:
            reason = "its experiment is not there" if target is None else "its id is none"
            skips.add("run", reason, run.run_id[:100])
            return False
        events = run_events(
            run, target, skips, is_experiment_deleted=run.experiment_id in self._deleted
        )
        known = await self._writers_of(run.run_id)
        sent = self._sender.records
        facts = _facts_writer("f", run.run_id, events)
        if facts not in known and any(writer.startswith("import-f-") for writer in known):
            events = _said_again(run, events)
        await self._sender.events(run.run_id, facts, events, next_seq=known.get(facts, 1))
        await self._points(run, known)
        if known and sent == self._sender.records:
            self.report.unchanged_runs += 1
        time_us = events[-1].time_us if events else 0
        await files.take(run.artifact_uri, run_id=run.run_id, time_us=time_us)
        return True

    async def _points(self, run: SourceRun, known: Mapping[str, int]) -> None:
        points = run.points
        if not len(points):
            return
        writer = writer_id(
            "m", run.run_id, len(points), points.times_ms[0], points.times_ms[-1],
            max(points.steps), sorted(points.keys),
        )  # fmt: skip
        if writer not in known and any(other.startswith("import-m-") for other in known):
            self.report.skips.add(
                "metrics",
                "the run has other points than when it was imported; "
                "import it into an empty store to have them all",
                run.run_id,
            )
            return
        await self._sender.points(run.run_id, writer, points, next_seq=known.get(writer, 1))

    async def _writers_of(self, run_id: str) -> dict[str, int]:
        """writer id -> next sequence number, of what the server has of the run."""
        status, answer = await self._sender.ask(f"/api/v1/runs/{run_id}")
        if status != 200:
            return {}
        return {each["writer_id"]: int(each["next_seq"]) for each in answer.get("writers", ())}

    async def _model(self, model: SourceModel, files: FileImport) -> bool:
        target = self._ids.get(model.experiment_id)
        if target is None or not is_run_id(model.model_id):
            self.report.skips.add("model", "its experiment is not there", model.model_id[:100])
            return False
        events = model_events(model, target, self.report.skips)
        writer = _facts_writer("x", model.model_id, events)
        await self._sender.events("", writer, events, next_seq=await self._sender.next_seq(writer))
        await files.take(
            model.artifact_uri, run_id="", time_us=events[-1].time_us, model_id=model.model_id
        )
        return True


def _facts_writer(kind: str, owner: str, events: Sequence[Event]) -> str:
    return writer_id(
        kind, owner, [[event.type, event.time_us, dict(event.data)] for event in events]
    )


def _said_again(run: SourceRun, events: Sequence[Event]) -> list[Event]:
    """Facts that changed at the source since an import: they come after what is known."""
    now_us = time.time_ns() // 1000
    later = [event._replace(time_us=max(now_us, event.time_us)) for event in events]
    return [*later, Event(EventType.RUN_UPDATED, later[-1].time_us, {"name": run.name})]
