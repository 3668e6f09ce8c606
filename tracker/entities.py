"""What queries answer with: frozen records in MLflow's shapes, parsed from the API's JSON.

`run.info.start_time`, `experiment.creation_time` and `metric.timestamp` are milliseconds
since 1970 UTC, as MLflow has them; every one has a twin in microseconds that ends in
`_us`. `run.data.metrics` holds last values; `run.data.summaries` holds the rest that is
known without reading the series. A `RunRecord` is what a server knew of a run when it
answered; `tracker.Run` is the handle of a run that is being recorded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Json = Mapping[str, Any]


class PagedList(list[T], Generic[T]):
    """A list that knows how to go on: `token` asks for what follows, None at the end."""

    def __init__(self, items: Iterable[T], token: str | None) -> None:
        super().__init__(items)
        self.token = token


@dataclass(frozen=True, slots=True)
class Experiment:
    experiment_id: str
    name: str
    artifact_location: str | None
    lifecycle_stage: str
    tags: dict[str, str]
    creation_time_us: int
    last_update_time_us: int
    run_count: int
    last_run_time_us: int | None

    @property
    def creation_time(self) -> int:
        return self.creation_time_us // 1000

    @property
    def last_update_time(self) -> int:
        return self.last_update_time_us // 1000

    @classmethod
    def from_json(cls, answer: Json) -> Experiment:
        return cls(
            experiment_id=answer["experiment_id"],
            name=answer["name"],
            artifact_location=answer["artifact_location"],
            lifecycle_stage=answer["lifecycle_stage"],
            tags=dict(answer["tags"]),
            creation_time_us=answer["created_time_us"],
            last_update_time_us=answer["updated_time_us"],
            run_count=answer["run_count"],
            last_run_time_us=answer["last_run_time_us"],
        )


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of one metric."""

    key: str
    value: float
    step: int
    timestamp_us: int
    run_id: str | None = None

    @property
    def timestamp(self) -> int:
        return self.timestamp_us // 1000


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A metric of a run without its series. `min` and `max` ignore NaN; None if all were."""

    last: float
    last_step: int
    last_time_us: int
    first: float
    first_step: int
    first_time_us: int
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None
    count: int
    nan_count: int

    @classmethod
    def from_json(cls, answer: Json) -> MetricSummary:
        last, first = answer["last"], answer["first"]
        return cls(
            last=float(last["value"]),
            last_step=last["step"],
            last_time_us=last["time_us"],
            first=float(first["value"]),
            first_step=first["step"],
            first_time_us=first["time_us"],
            min=_float_or_none(answer["min"]),
            min_step=answer["min_step"],
            max=_float_or_none(answer["max"]),
            max_step=answer["max_step"],
            count=answer["count"],
            nan_count=answer["nan_count"],
        )


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run's own attributes. `liveness` is live, lost (RUNNING, and nobody reports) or ended."""

    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    lifecycle_stage: str
    start_time_us: int
    end_time_us: int | None
    liveness: str
    end_reason: str | None
    end_detail: str | None
    parent_run_id: str | None
    artifact_uri: str | None = None

    @property
    def run_uuid(self) -> str:
        return self.run_id

    @property
    def start_time(self) -> int:
        return self.start_time_us // 1000

    @property
    def end_time(self) -> int | None:
        return None if self.end_time_us is None else self.end_time_us // 1000

    @property
    def duration_us(self) -> int | None:
        return None if self.end_time_us is None else self.end_time_us - self.start_time_us


@dataclass(frozen=True, slots=True)
class RunData:
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    summaries: dict[str, MetricSummary] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ParamConflict:
    """A param that a writer logged with another value than the one that stands."""

    key: str
    value: str
    writer_id: str


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that recorded for a run: what of it has arrived, and since when it is silent."""

    writer_id: str
    epoch: int
    next_seq: int
    last_position: int
    lease_expires_us: int | None
    about: dict[str, Any]

    @classmethod
    def from_json(cls, answer: Json) -> Writer:
        return cls(**_known(cls, answer))


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the server knew it at `position`. `dropped` counts records its client lost.

    `writers` is filled by get_run and empty in search results.
    """

    info: RunInfo
    data: RunData
    conflicts: tuple[ParamConflict, ...] = ()
    writers: tuple[Writer, ...] = ()
    dropped: int = 0
    position: int = 0

    @classmethod
    def from_json(cls, answer: Json) -> RunRecord:
        summaries = {k: MetricSummary.from_json(m) for k, m in answer["metrics"].items()}
        return cls(
            info=RunInfo(
                run_id=answer["run_id"],
                run_name=answer["name"],
                experiment_id=answer["experiment_id"],
                user_id=answer["user_id"],
                status=answer["status"],
                lifecycle_stage=answer["lifecycle_stage"],
                start_time_us=answer["start_time_us"],
                end_time_us=answer["end_time_us"],
                liveness=answer["liveness"],
                end_reason=answer["end_reason"],
                end_detail=answer["end_detail"],
                parent_run_id=answer["parent_run_id"],
            ),
            data=RunData(
                metrics={key: summary.last for key, summary in summaries.items()},
                params=dict(answer["params"]),
                tags=dict(answer["tags"]),
                summaries=summaries,
            ),
            conflicts=tuple(ParamConflict(**_known(ParamConflict, c)) for c in answer["conflicts"]),
            writers=tuple(map(Writer.from_json, answer["writers"])),
            dropped=answer["dropped"],
            position=answer["position"],
        )

    def to_dictionary(self) -> dict[str, Any]:
        """Plain dicts and lists, as MLflow's Run.to_dictionary gives them and more."""
        return {
            "info": asdict(self.info),
            "data": asdict(self.data),
            "conflicts": list(map(asdict, self.conflicts)),
            "writers": list(map(asdict, self.writers)),
            "dropped": self.dropped,
            "position": self.position,
        }


def _float_or_none(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _known(kind: type[Any], answer: Json) -> dict[str, Any]:
    """The fields this client knows; a newer server may send more."""
    return {name: answer[name] for name in kind.__dataclass_fields__ if name in answer}
