"""What a store of MLflow's holds, whichever kind it is, and the interface of its readers.

Times are milliseconds since 1970, as MLflow keeps them; None where it has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from tracker.events.errors import TrackerError

if TYPE_CHECKING:
    from tracker.integrations.mlflow_import.points import RunPoints


NOT_KEPT_HERE: Final = "there is no such thing here; it stays in MLflow's store"


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
    points: RunPoints


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
    """A store of MLflow's, read without changing it. What cannot be read, and what there is no
    place for here (traces, registered models), is put into `skips`.

    Raises SourceUnreadable.
    """

    skips: Skips

    async def notes(self) -> Sequence[str]:
        """What a person should know about this source, such as an unknown version."""
        ...

    async def counts(self) -> tuple[int, int, int]:
        """(experiments, runs, logged models), about."""
        ...

    async def count_not_taken(self) -> None:
        """Put into `skips` what there is no place for here, as NOT_KEPT_HERE."""
        ...

    async def experiments(self) -> Sequence[SourceExperiment]: ...

    def runs(self) -> AsyncIterator[SourceRun]:
        """Every run, one after the other; its points are read when they are asked for."""
        ...

    def models(self) -> AsyncIterator[SourceModel]: ...

    async def aclose(self) -> None: ...
