"""What the runs fold keeps of a run, a writer and an experiment, and where it loads it from.

Plain mutable state, changed by the rules only. Every "order" is an `order_us`: see the
theory in `projections.runs_fold`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from projections.artifact_rules import Artifact, ArtifactChanges, Folder
from projections.input_rules import RunInputs
from projections.metric_summaries import MetricTable
from projections.model_rules import ModelChanges, ModelState
from tracker.events.ids import DEFAULT_EXPERIMENT_ID
from tracker.events.limits import INT64_MAX, INT64_MIN
from tracker.events.types import RunStatus

BEFORE_ALL: Final = INT64_MIN
"""An order below that of every fact: of what no fact has said yet."""
AFTER_ALL: Final = INT64_MAX

ACTIVE: Final = "active"
DELETED: Final = "deleted"


class Said(NamedTuple):
    """A value somebody set. None: deleted, remembered to order late writes."""

    order_us: int
    value: str | None


class ParamValue(NamedTuple):
    """A value of a param, with the earliest order and writer that logged it."""

    order_us: int
    value: str
    writer_id: str


@dataclass(frozen=True, slots=True)
class Guess:
    """Somebody's conclusion that a silent writer is dead; see run.ended in events.types."""

    order_us: int
    status: str
    end_us: int
    reason: str | None
    detail: str | None
    writer_id: str
    seq: int


@dataclass(slots=True)
class WriterState:
    writer_id: str
    run_no: int | None = None  # None: a writer of the workspace, or of more than one run
    epoch: int = 1
    next_seq: int = 1
    clock_us: int = BEFORE_ALL
    last_position: int = 0
    about: Mapping[str, object] | None = None

    def advance(self, time_us: int) -> int:
        """The order of this writer's next fact: its clock, never standing still."""
        clock = self.clock_us + 1
        if time_us > clock:
            clock = time_us
        elif clock > INT64_MAX:
            clock = INT64_MAX
        self.clock_us = clock
        return clock


@dataclass(slots=True)
class RunState:
    run_no: int
    run_id: str
    first_position: int
    experiment_id: str = DEFAULT_EXPERIMENT_ID
    name: str = ""
    name_order_us: int = BEFORE_ALL
    user_id: str = ""
    user_order_us: int = BEFORE_ALL
    parent_run_id: str | None = None
    lifecycle_stage: str = ACTIVE
    lifecycle_order_us: int = BEFORE_ALL
    base_status: str = RunStatus.RUNNING
    status_order_us: int = BEFORE_ALL
    base_reason: str | None = None
    base_detail: str | None = None
    born_order_us: int = AFTER_ALL
    born_writer_id: str = ""
    start_us: int = INT64_MAX
    base_end_us: int | None = None
    end_order_us: int = BEFORE_ALL
    guesses: tuple[Guess, ...] = ()
    owner_writer_id: str | None = None
    owner_order_us: int = BEFORE_ALL
    dropped: int = 0
    last_position: int = 0
    updated_us: int = 0

    @property
    def is_born(self) -> bool:
        """Whether its run.started has arrived."""
        return self.born_writer_id != ""

    @property
    def shown_guess(self) -> Guess | None:
        """The guess that stands for the status: only while nothing ended the run for certain."""
        if self.guesses and not RunStatus(self.base_status).is_terminal:
            return self.guesses[-1]
        return None


@dataclass(slots=True)
class ExperimentState:
    experiment_id: str
    name: str
    name_order_us: int = BEFORE_ALL
    lifecycle_stage: str = ACTIVE
    lifecycle_order_us: int = BEFORE_ALL
    artifact_location: str | None = None
    created_us: int = INT64_MAX
    updated_us: int = INT64_MIN
    last_position: int = 0
    tags: dict[str, Said] = field(default_factory=dict)


@dataclass(slots=True)
class RunDetails:
    """A run's params and tags by key id."""

    params: dict[int, ParamValue] = field(default_factory=dict)
    conflicts: dict[int, dict[str, ParamValue]] = field(default_factory=dict)
    tags: dict[int, Said] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.params) + len(self.conflicts) + len(self.tags)

    def __bool__(self) -> bool:
        return True


@dataclass(slots=True)
class RunEntry:
    """A run in memory. Details, metrics and inputs are None until they are needed."""

    run: RunState
    details: RunDetails | None
    metrics: MetricTable | None
    inputs: RunInputs | None = None
    changed_params: set[int] = field(default_factory=set)
    changed_conflicts: set[int] = field(default_factory=set)
    changed_tags: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        details = 0 if self.details is None else len(self.details)
        inputs = 0 if self.inputs is None else len(self.inputs)
        return 1 + details + inputs + (0 if self.metrics is None else len(self.metrics))


class RunsLoader(Protocol):
    """Reads what was stored before; returns None or nothing for what was never stored."""

    def run(self, run_id: str) -> RunState | None: ...

    def details(self, run_no: int) -> RunDetails: ...

    def metrics(self, run_no: int) -> MetricTable: ...

    def writer(self, writer_id: str) -> WriterState | None: ...

    def experiment(self, experiment_id: str) -> ExperimentState | None: ...

    def experiments_named(self, name: str) -> Sequence[str]:
        """The ids of the experiments stored under this name, of any stage."""
        ...

    def key_id(self, key: str) -> int | None: ...

    def inputs(self, run_no: int) -> RunInputs: ...

    def artifact(self, owner: str, path: str) -> Artifact | None: ...

    def artifact_folder(self, owner: str, path: str) -> Folder | None: ...

    def model(self, model_id: str) -> ModelState | None: ...


@dataclass(slots=True)
class Changes:
    """What a fold changed since it was last asked: the rows to write."""

    runs: dict[str, RunEntry] = field(default_factory=dict)
    writers: dict[str, WriterState] = field(default_factory=dict)
    experiments: dict[str, ExperimentState] = field(default_factory=dict)
    experiment_tags: set[tuple[str, str]] = field(default_factory=set)
    keys: dict[str, int] = field(default_factory=dict)  # new ones only
    artifacts: ArtifactChanges = field(default_factory=ArtifactChanges)
    models: ModelChanges = field(default_factory=ModelChanges)
