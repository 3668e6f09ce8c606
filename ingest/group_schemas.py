"""The JSON of POST /api/v1/runs/groups."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingest.schemas import Answer, JsonFloat, Request, View
from projections.run_groups import GROUP_FIELDS_MAX, GROUP_METRICS_MAX, GROUPS_MAX


class GroupRuns(Request):
    """Which runs, by what, and the metrics whose last values are aggregated.

    Without group_by there is one group: the count of the search.
    """

    experiment_ids: list[str] = Field(default_factory=list)
    filter: Annotated[str, Field(max_length=65_536)] = ""
    view: View = "active_only"
    group_by: Annotated[list[str], Field(max_length=GROUP_FIELDS_MAX)] = Field(
        default_factory=list,
        description="params.KEY, tags.KEY, status, user_id, experiment_id, parent_run_id …",
    )
    metrics: Annotated[list[str], Field(max_length=GROUP_METRICS_MAX)] = Field(default_factory=list)
    max_results: Annotated[int, Field(ge=1, le=GROUPS_MAX)] = 1000


class MetricGroupAnswer(Answer):
    count: int
    mean: JsonFloat | None
    min: JsonFloat | None
    max: JsonFloat | None


class RunGroupAnswer(Answer):
    values: list[str | None] = Field(description="one for each of group_by; null: it has none")
    count: int
    metrics: dict[str, MetricGroupAnswer]


class GroupsAnswer(Answer):
    groups: list[RunGroupAnswer]
    runs: int = Field(description="all runs that match, also beyond these groups")
    is_reduced: bool
    position: int
