"""The JSON of /api/v1/models: logged models, one by its id or those of experiments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ingest.schemas import Answer, JsonFloat, Request

ModelStatus = Literal["PENDING", "READY", "FAILED"]


class SearchModels(Request):
    """Models that are not deleted, the one created last first."""

    experiment_ids: Annotated[list[str], Field(min_length=1, max_length=1000)]
    source_run_id: str | None = Field(None, description="only models that this run made")
    name: str | None = None
    status: ModelStatus | None = None
    max_results: Annotated[int, Field(ge=1, le=1000)] = 100
    page_token: str | None = None
    min_position: int | None = Field(None, description="answer no older than this position")


class ModelPointAnswer(Answer):
    """The latest point of a metric for one dataset, or for none (null)."""

    key: str
    value: JsonFloat
    step: int
    time_us: int
    run_id: str
    dataset_name: str | None
    dataset_digest: str | None


class ModelAnswer(Answer):
    model_id: str
    experiment_id: str
    name: str
    source_run_id: str | None
    model_type: str | None
    status: ModelStatus
    status_message: str | None
    lifecycle_stage: Literal["active", "deleted"]
    created_time_us: int
    updated_time_us: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[ModelPointAnswer]
    points: int = Field(description="how many points its metrics have in all")
    position: int


class ModelsAnswer(Answer):
    models: list[ModelAnswer]
    next_page_token: str | None
    position: int
