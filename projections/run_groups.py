"""Runs counted by what they have in common, with aggregates of their metrics.

What a group is, for every store: the runs a search finds, by the values of at most three
fields (params, tags, attributes); a run without a value is in the group None. A metric's
aggregates are over the last values of the group's runs, NaN left out. Without fields there
is one group, which counts the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from projections.read_models import RunSearch

GROUP_FIELDS_MAX: Final = 3
GROUP_METRICS_MAX: Final = 100
GROUPS_MAX: Final = 10_000
GROUP_ATTRIBUTES: Final = frozenset(
    {"status", "user_id", "experiment_id", "parent_run_id", "end_reason", "run_name"}
)


@dataclass(frozen=True, slots=True)
class GroupSearch:
    """`search` says which runs; its order and page are not looked at."""

    search: RunSearch
    fields: Sequence[str] = ()  # params.KEY, tags.KEY or one of GROUP_ATTRIBUTES
    metrics: Sequence[str] = ()  # keys
    max_results: int = 1000


@dataclass(frozen=True, slots=True)
class MetricGroup:
    count: int  # of runs with a value that is a number
    mean: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class RunGroup:
    values: Sequence[str | None]
    count: int
    metrics: Mapping[str, MetricGroup] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupPage:
    """The greatest groups first. `runs` are all that match, also beyond these groups."""

    groups: Sequence[RunGroup]
    runs: int
    is_reduced: bool
    position: int


@runtime_checkable
class RunGroupStore(Protocol):
    """A runs store that can also group. Raises InvalidQuery like search_runs."""

    async def group_runs(self, groups: GroupSearch) -> GroupPage: ...
