"""What an import took over, how much of it was new, and what it left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tracker.integrations.mlflow_import.source import Skips, SourceModel, SourceRun


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

    def add_run(self, run: SourceRun) -> None:
        self.runs += 1
        self.params += len(run.params)
        self.tags += len(run.tags)
        self.metrics += len(run.points.about.keys)
        self.points += run.points.about.points
        self.inputs += len(run.datasets)

    def add_model(self, model: SourceModel) -> None:
        self.models += 1
        self.model_points += len(model.points)


@dataclass(slots=True)
class FileCounts:
    files: int = 0
    bytes: int = 0
    references: int = 0


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
