"""What a store of MLflow's holds, whichever kind it is, and the interface of its readers.

Times are milliseconds since 1970, as MLflow keeps them; None where it has none.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tracker.events.errors import TrackerError


class SourceUnreadable(TrackerError):
    """This is no store of MLflow's, or one that cannot be read; says why."""


@dataclass(frozen=True, slots=True)
class SourceExperiment:
    experiment_id: str
    name: str
    artifact_location: str | None
    is_deleted: bool
    created_ms: int | None
    updated_ms: int | None
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class SourceDataset:
    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    tags: dict[str, str]


@dataclass(slots=True)
class Points:
    """Metrics of one run in order of (time, key, step, value): columns of one length."""

    keys: list[str] = field(default_factory=list)  # the names that key_numbers count from 0
    key_numbers: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    times_ms: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(slots=True)
class SourceRun:
    run_id: str
    experiment_id: str
    name: str
    user: str
    status: str
    start_ms: int | None
    end_ms: int | None
    is_deleted: bool
    deleted_ms: int | None
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[SourceDataset]
    model_inputs: list[str]
    model_outputs: list[tuple[str, int]]  # (model id, step)
    points: Points


@dataclass(frozen=True, slots=True)
class ModelPoint:
    key: str
    value: float
    step: int
    time_ms: int
    run_id: str
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(slots=True)
class SourceModel:
    model_id: str
    experiment_id: str
    name: str
    model_type: str | None
    source_run_id: str | None
    status: str  # PENDING, READY or FAILED
    status_message: str | None
    created_ms: int | None
    updated_ms: int | None
    is_deleted: bool
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[ModelPoint]


@dataclass(slots=True)
class Skips:
    """What was not taken over: each reason, how often, and some of what it was."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, kind: str, reason: str, what: str, *, count: int = 1) -> None:
        """`kind` is what was skipped (param, run, artifact), `what` names this one."""
        self.counts[kind, reason] += count
        named = self.examples.setdefault((kind, reason), [])
        if len(named) < 5:
            named.append(what)

    def __len__(self) -> int:
        return self.counts.total()


class Source(Protocol):
    """A store of MLflow's, read without changing it. What cannot be read is put into `skips`.

    Raises SourceUnreadable.
    """

    skips: Skips

    async def notes(self) -> Sequence[str]:
        """What a person should know about this source, such as an unknown version."""
        ...

    async def counts(self) -> tuple[int, int, int]:
        """(experiments, runs, logged models), about."""
        ...

    async def experiments(self) -> Sequence[SourceExperiment]: ...

    def runs(self) -> AsyncIterator[SourceRun]:
        """Every run, whole, one after the other."""
        ...

    def models(self) -> AsyncIterator[SourceModel]: ...

    async def aclose(self) -> None: ...
