"""What queries answer with, and the interfaces of the stores that answer them.

Frozen dataclasses inside; `ingest.schemas` gives them their JSON form. Times are
microseconds since 1970 UTC. Metric values are exact float64, NaN included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from projections.columns import Float64s, Int64s
from projections.models_queries import ModelView
from projections.search import ast

T = TypeVar("T")

# In the words of the search language, or as the trees that another language was read into.
Filter: TypeAlias = str | ast.Expression
Order: TypeAlias = Sequence[str | ast.OrderTerm]


class ViewType(StrEnum):
    ACTIVE_ONLY = "active_only"
    DELETED_ONLY = "deleted_only"
    ALL = "all"


class Liveness(StrEnum):
    """LIVE: a writer holds a lease. LOST: running, and nobody reports. ENDED: terminal status."""

    LIVE = "live"
    LOST = "lost"
    ENDED = "ended"


# Of these two there are thousands in a page: tuples are made three times as fast.
class Point(NamedTuple):
    value: float
    step: int
    time_us: int


class MetricSummary(NamedTuple):
    """One metric of one run. `last` is the greatest step, then time, then value."""

    last: Point
    first: Point
    min_value: float | None  # None when every value was NaN
    min_step: int | None
    max_value: float | None
    max_step: int | None
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody counts with
    nan_count: int


@dataclass(frozen=True, slots=True)
class ParamConflict:
    key: str
    value: str
    writer_id: str


@dataclass(frozen=True, slots=True)
class WriterView:
    writer_id: str
    epoch: int
    next_seq: int
    last_position: int
    about: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class InputView:
    """A dataset that a run read. Texts that nobody gave are empty."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: Mapping[str, str]


class ModelLink(NamedTuple):
    """A logged model that a run read or made. `step`: when it was made; 0 for inputs."""

    model_id: str
    step: int


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """A file or a folder of a tree.

    A folder has `files` and the sum of their known sizes. A file is a blob (digest) or a
    reference (uri). `is_deleted`: nothing is there; its order tells a later decision what to
    come after.
    """

    path: str
    is_folder: bool
    size: int | None
    files: int | None = None
    media_type: str | None = None
    digest: str | None = None
    uri: str | None = None
    etag: str | None = None
    time_us: int | None = None
    order_us: int = 0
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactListing:
    """One page of what lies in a folder ('' is the tree); recursive: all files below it."""

    owner: str  # a run id or a model id
    folder: str = ""
    is_recursive: bool = False
    max_results: int = 1000
    page_token: str | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    run_id: str
    name: str
    experiment_id: str
    user_id: str
    status: str
    liveness: Liveness
    lifecycle_stage: str
    start_time_us: int
    end_time_us: int | None
    end_reason: str | None
    end_detail: str | None
    parent_run_id: str | None
    dropped: int
    last_position: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, MetricSummary]
    conflicts: Sequence[ParamConflict] = ()
    inputs: Sequence[InputView] = ()
    model_inputs: Sequence[ModelLink] = ()
    model_outputs: Sequence[ModelLink] = ()
    writers: Sequence[WriterView] = ()  # filled by get_run, not by searches
    # Filled by get_run: who ends the run by dying, and the clock that decides between facts
    # (the greatest of the run's; a decision about it takes a later one).
    owner_writer_id: str | None = None
    order_us: int = 0


class LatestPoint(NamedTuple):
    """Of a metric's points the one of the greatest step, then time, then value."""

    key: str
    value: float
    time_us: int
    step: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LatestRun:
    """A run as a page of MLflow's search shows it: RunView's fields, but for `metrics`.

    Compared by identity, so that what was made of one can be kept beside it.
    """

    run_id: str
    name: str
    experiment_id: str
    user_id: str
    status: str
    lifecycle_stage: str
    start_time_us: int
    end_time_us: int | None
    parent_run_id: str | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[LatestPoint]
    inputs: Sequence[InputView]
    model_inputs: Sequence[ModelLink]
    model_outputs: Sequence[ModelLink]


@dataclass(frozen=True, slots=True)
class ExperimentView:
    experiment_id: str
    name: str
    lifecycle_stage: str
    artifact_location: str | None
    created_time_us: int
    updated_time_us: int
    tags: Mapping[str, str]
    run_count: int = 0  # of active runs
    last_run_time_us: int | None = None
    order_us: int = 0  # the clock of the latest decision about it; a new one takes a later


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: Sequence[T]
    next_page_token: str | None
    position: int  # the projection's checkpoint the page was read at


@dataclass(frozen=True, slots=True)
class RunSearch:
    """One search. `experiment_ids` empty means all.

    `now_us` is the searcher's clock, for durations and `now-7d`; `live_run_ids` are the runs
    with a valid lease.
    """

    experiment_ids: Sequence[str] = ()
    filter: Filter = ""
    order_by: Order = ()
    view: ViewType = ViewType.ACTIVE_ONLY
    max_results: int = 100
    page_token: str | None = None
    live_run_ids: frozenset[str] = field(default_factory=frozenset)
    now_us: int = 0


class KeyKind(StrEnum):
    PARAMS = "params"
    METRICS = "metrics"
    TAGS = "tags"


@dataclass(frozen=True, slots=True)
class KeySearch:
    """Keys that begin with `prefix`; in the latest runs of the experiments, or anywhere."""

    kind: KeyKind
    experiment_ids: Sequence[str] = ()
    prefix: str = ""
    max_results: int = 100


@dataclass(frozen=True, slots=True)
class KeyPage:
    """`is_reduced`: there may be more keys than these."""

    keys: Sequence[str]
    is_reduced: bool
    position: int


class RunsReadStore(Protocol):
    """Answers about experiments and runs. Raises InvalidQuery for filters, orders and tokens."""

    async def position(self) -> int: ...

    async def get_run(self, run_id: str, *, live_run_ids: frozenset[str]) -> RunView | None: ...

    async def search_runs(self, search: RunSearch) -> Page[RunView]: ...

    async def search_latest_runs(self, search: RunSearch) -> Page[LatestRun]:
        """The same runs, with less of each, sooner; the tokens are good for both.

        The same object as before, mostly, for a run that has not changed since.
        """
        ...

    async def get_experiment(self, experiment_id: str) -> ExperimentView | None: ...

    async def get_experiment_by_name(self, name: str) -> ExperimentView | None:
        """The active experiment of this name, else the latest deleted one."""
        ...

    async def search_experiments(
        self,
        *,
        filter: Filter,
        order_by: Order,
        view: ViewType,
        max_results: int,
        page_token: str | None,
    ) -> Page[ExperimentView]: ...

    async def metric_keys(self, run_id: str) -> Sequence[str]: ...

    async def keys(self, search: KeySearch) -> KeyPage:
        """The keys that runs have, in order of key; for completion."""
        ...

    async def get_model(self, model_id: str) -> ModelView | None:
        """The logged model, deleted or not; None until it was created."""
        ...

    async def models_of(self, experiment_ids: Sequence[str]) -> Sequence[ModelView]:
        """The logged models of these experiments that are not deleted, latest first."""
        ...

    async def list_artifacts(self, listing: ArtifactListing) -> Page[ArtifactView]:
        """Entries in order of path (by code point); what is not there lists nothing."""
        ...

    async def get_artifact(self, owner: str, path: str) -> ArtifactView | None:
        """The file at `path`, deleted ones included; None when none was ever there."""
        ...

    async def get_artifact_folder(self, owner: str, path: str) -> ArtifactView | None:
        """The folder at `path` ('' is the tree); None when no file lies below it."""
        ...

    async def every_artifact(
        self, *, after: tuple[str, str] = ("", ""), max_results: int = 1000
    ) -> Sequence[tuple[str, ArtifactView]]:
        """(owner, file) of all trees, references too, in order of both, behind `after`."""
        ...

    async def referred_digests(self, digests: Sequence[str]) -> frozenset[str]:
        """Those of the digests that any tree names now, the trees of deleted runs included.

        Raises ProjectionStoreFailed when something of the log could not be folded: then
        nobody knows what is referred to.
        """
        ...


@dataclass(frozen=True, slots=True)
class SeriesPage:
    """Points in order of step; equal steps in order of arrival. Columns of one length."""

    steps: Int64s
    times_us: Int64s
    values: Float64s


@dataclass(frozen=True, slots=True)
class Buckets:
    """At most N buckets over the steps asked for. Every point lies in exactly one bucket.

    Each bucket says the first and last step it really holds; min, max, first and last are
    those of its points, NaN left out of min and max (nan_count says how many there were).
    `is_reduced` is False when the buckets are the points themselves. `position` is that of the
    log up to which they hold everything.
    """

    is_reduced: bool
    points: int
    first_step: Int64s
    last_step: Int64s
    first_time_us: Int64s
    last_time_us: Int64s
    count: Int64s
    nan_count: Int64s
    min: Float64s
    max: Float64s
    first: Float64s
    last: Float64s
    position: int = 0


class SeriesReadStore(Protocol):
    """Answers about metric series. An unknown run or key is an empty series."""

    async def position(self) -> int: ...

    async def history(
        self, run_id: str, key: str, *, start_step: int | None, end_step: int | None
    ) -> AsyncIterator[SeriesPage]:
        """The exact series, in pages of bounded memory; both ends of the range included."""
        ...

    async def buckets(
        self,
        run_id: str,
        key: str,
        *,
        start_step: int | None,
        end_step: int | None,
        buckets_max: int,
    ) -> Buckets: ...
