"""The JSON of the native HTTP API: requests and answers, as pydantic models.

The OpenAPI document is generated from these. Times are microseconds since 1970 UTC in
integers. A float that JSON cannot carry is the string "NaN", "Infinity" or "-Infinity".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonFloat = float | Literal["NaN", "Infinity", "-Infinity"]
RunIdText = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\-]{0,255}$")]
WriterIdText = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\-]{0,63}$")]
View = Literal["active_only", "deleted_only", "all"]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


# -- errors ---------------------------------------------------------------------------


class ErrorBody(Answer):
    code: str = Field(description="machine-readable, for example sequence_gap")
    message: str = Field(description="one sentence that says what to change")
    details: dict[str, Any] = {}


class ErrorAnswer(Answer):
    error: ErrorBody


# -- append ---------------------------------------------------------------------------


class AppendEvent(Request):
    type: str
    time_us: int
    data: dict[str, Any] = {}
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1


class AppendRequest(Request):
    """The plain JSON form of a batch; one sequence number per event, from first_seq on.

    An event of type metrics.logged carries {"metrics": {key: number}, "step": n}.
    """

    run_id: RunIdText | Literal[""]
    writer_id: WriterIdText
    epoch: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    first_seq: Annotated[int, Field(ge=1, le=2**63 - 1)]
    events: Annotated[list[AppendEvent], Field(min_length=1)]


class AppendAnswer(Answer):
    outcome: Literal["appended", "duplicate", "trimmed"]
    next_seq: int
    position: int


class WriterAnswer(Answer):
    writer_id: str
    run_id: str
    epoch: int
    next_seq: int
    position: int
    received_at_us: int
    lease_expires_us: int | None


class ConnectedWriterAnswer(Answer):
    """`live`: it holds a lease. `lost`: its run goes on, and nobody reports for that."""

    writer_id: str
    run_id: str
    run_name: str | None = Field(description="null while the run is not known yet")
    run_start_time_us: int | None
    state: Literal["live", "lost"]
    epoch: int | None
    next_seq: int = Field(description="everything below it has been received")
    position: int | None = Field(description="of its latest batch")
    received_at_us: int | None = Field(description="when its latest batch was received")
    lease_expires_us: int | None
    about: dict[str, Any] = Field(description="its process where that is known: host, pid …")


class ConnectedWritersAnswer(Answer):
    writers: list[ConnectedWriterAnswer]
    live_count: int
    is_whole: bool = Field(description="false when there are more than were asked for")


class LeaseRequest(Request):
    """A shipper's word on a writer.

    live: the process runs. closed: it ended its run itself or left in order. dead: it is
    gone without a word, and everything it spooled below next_seq has been delivered.
    """

    writer_id: WriterIdText
    run_id: RunIdText | Literal[""]
    state: Literal["live", "closed", "dead"] = "live"
    next_seq: int | None = None
    reason: Annotated[str, Field(max_length=256)] | None = None
    detail: Annotated[str, Field(max_length=2048)] | None = None


class LeasesRequest(Request):
    leases: Annotated[list[LeaseRequest], Field(max_length=10_000)]


class LeaseAnswer(Answer):
    writer_id: str
    expires_us: int | None
    outcome: Literal["renewed", "released", "run_ended", "not_owner", "behind", "unknown_writer"]


class LeasesAnswer(Answer):
    ttl_s: float
    leases: list[LeaseAnswer]


# -- experiments ----------------------------------------------------------------------


class CreateExperiment(Request):
    name: Annotated[str, Field(min_length=1, max_length=500)]
    artifact_location: str | None = None
    tags: dict[str, str] = {}


class PatchExperiment(Request):
    """name renames; tags sets (a null deletes); lifecycle_stage 'active' restores."""

    name: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    tags: dict[str, str | None] | None = None
    lifecycle_stage: Literal["active", "deleted"] | None = None


class ExperimentAnswer(Answer):
    experiment_id: str
    name: str
    lifecycle_stage: str
    artifact_location: str | None
    created_time_us: int
    updated_time_us: int
    tags: dict[str, str]
    run_count: int
    last_run_time_us: int | None
    position: int = Field(description="read at this position to see one's own write")


class ExperimentsAnswer(Answer):
    experiments: list[ExperimentAnswer]
    next_page_token: str | None
    position: int


# -- runs -----------------------------------------------------------------------------


class PointAnswer(Answer):
    value: JsonFloat
    step: int
    time_us: int


class MetricAnswer(Answer):
    last: PointAnswer
    first: PointAnswer
    min: JsonFloat | None
    min_step: int | None
    max: JsonFloat | None
    max_step: int | None
    count: int
    nan_count: int


class ParamConflictAnswer(Answer):
    key: str
    value: str
    writer_id: str


class RunWriterAnswer(Answer):
    writer_id: str
    epoch: int
    next_seq: int
    last_position: int
    lease_expires_us: int | None
    about: dict[str, Any]


class InputAnswer(Answer):
    """A dataset that the run read; its context is the tag mlflow.data.context."""

    name: str
    digest: str
    source_type: str
    source: str
    schema_: str = Field(alias="schema")  # the bare name is a method of every model
    profile: str
    tags: dict[str, str]


class ModelLinkAnswer(Answer):
    """A logged model that the run read (step 0) or made; see /api/v1/models."""

    model_id: str
    step: int


class RunAnswer(Answer):
    run_id: str
    name: str
    experiment_id: str
    user_id: str
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
    liveness: Literal["live", "lost", "ended"]
    lifecycle_stage: str
    start_time_us: int
    end_time_us: int | None
    end_reason: str | None
    end_detail: str | None
    parent_run_id: str | None
    dropped: int = Field(description="records the client lost, see events.dropped")
    last_position: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, MetricAnswer]
    conflicts: list[ParamConflictAnswer]
    inputs: list[InputAnswer]
    model_inputs: list[ModelLinkAnswer]
    model_outputs: list[ModelLinkAnswer]
    writers: list[RunWriterAnswer]
    position: int


class PatchRun(Request):
    """PATCH /api/v1/runs/{run_id}: a null in tags deletes the tag."""

    name: str | None = None
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"] | None = None
    end_time_us: int | None = None
    tags: dict[str, str | None] | None = None
    params: dict[str, str] | None = Field(
        default=None, description="new params; another value for one that is there is refused"
    )
    lifecycle_stage: Literal["active", "deleted"] | None = None


class SearchRuns(Request):
    experiment_ids: list[str] = []
    experiment_names: list[str] = []
    filter: Annotated[str, Field(max_length=65_536)] = ""
    order_by: Annotated[list[str], Field(max_length=32)] = []
    view: View = "active_only"
    max_results: Annotated[int, Field(ge=1, le=50_000)] = 100
    page_token: str | None = None
    min_position: int | None = Field(None, description="answer no older than this position")
    as_of_position: int | None = Field(None, description="as it was at this position")
    as_of_time: int | None = Field(
        None, description="as the server knew it at this time, in microseconds since 1970"
    )
    columns: Annotated[list[str], Field(max_length=1000)] | None = Field(
        None, description="only these of params.K, metrics.K and tags.K; default all"
    )


class RunsAnswer(Answer):
    runs: list[RunAnswer]
    next_page_token: str | None
    position: int


class KeysAnswer(Answer):
    """Keys for completion; is_reduced says that there may be more."""

    keys: list[str]
    is_reduced: bool
    position: int


# -- metrics --------------------------------------------------------------------------


class MetricsAnswer(Answer):
    run_id: str
    metrics: dict[str, MetricAnswer]
    position: int


class HistoryAnswer(Answer):
    run_id: str
    key: str
    steps: list[int]
    times_us: list[int]
    values: list[JsonFloat]
    next_page_token: str | None
    position: int


class BucketsAnswer(Answer):
    run_id: str
    key: str
    is_reduced: bool
    points: int
    first_step: list[int]
    last_step: list[int]
    first_time_us: list[int]
    last_time_us: list[int]
    count: list[int]
    nan_count: list[int]
    min: list[JsonFloat]
    max: list[JsonFloat]
    first: list[JsonFloat]
    last: list[JsonFloat]
    position: int


class MetricsQuery(Request):
    run_ids: Annotated[list[RunIdText], Field(min_length=1, max_length=1000)]
    keys: Annotated[list[str], Field(min_length=1, max_length=1000)]
    start_step: int | None = None
    end_step: int | None = None
    buckets: Annotated[int, Field(ge=1, le=20_000)] = 1000
    min_position: int | None = None
    as_of_position: int | None = Field(None, description="as it was at this position")
    as_of_time: int | None = Field(
        None, description="as the server knew it at this time, in microseconds since 1970"
    )


class MetricsQueryAnswer(Answer):
    series: list[BucketsAnswer]


# -- operations -----------------------------------------------------------------------


class ProjectionAnswer(Answer):
    name: str
    version: int
    position: int
    lag: int


class ReadyAnswer(Answer):
    status: Literal["ready", "starting", "unavailable"]
    head: int
    projections: list[ProjectionAnswer]
    artifacts: Literal["ready", "unavailable"] = Field(
        description="the artifact store; without it, runs are recorded and files wait"
    )


class VersionAnswer(Answer):
    """What runs here. `event_store` is null where a server keeps artifacts only."""

    version: str
    api: Literal["v1"] = "v1"
    event_store: Literal["sqlite", "postgresql", "memory"] | None
    artifact_store: Literal["folder", "s3"]
