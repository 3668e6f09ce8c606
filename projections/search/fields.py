"""Which left sides a search may name, by entity: their names, aliases and types.

The aliases are MLflow's (`created` for start_time, `attr.` for attributes …), so that its
filters are a subset; they end at this table, and the tree holds canonical names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FieldType(StrEnum):
    TEXT = "text"
    NUMBER = "a number"
    TIME = "a time"
    DURATION = "a duration"
    FLAG = "true or false"


class Kind(StrEnum):
    """What a prefix before the first dot selects."""

    ATTRIBUTE = "attributes"
    METRIC = "metrics"
    PARAM = "params"
    TAG = "tags"
    DATASET = "datasets"


PREFIXES: Final[Mapping[str, Kind]] = {
    "attributes": Kind.ATTRIBUTE,
    "attribute": Kind.ATTRIBUTE,
    "attr": Kind.ATTRIBUTE,
    "run": Kind.ATTRIBUTE,
    "metrics": Kind.METRIC,
    "metric": Kind.METRIC,
    "params": Kind.PARAM,
    "param": Kind.PARAM,
    "parameters": Kind.PARAM,
    "parameter": Kind.PARAM,
    "tags": Kind.TAG,
    "tag": Kind.TAG,
    "datasets": Kind.DATASET,
    "dataset": Kind.DATASET,
}


@dataclass(frozen=True, slots=True)
class Catalog:
    """The left sides of one entity. `aliases` lead to names in `attributes`."""

    entity: str
    kinds: frozenset[Kind]
    attributes: Mapping[str, FieldType]
    aliases: Mapping[str, str]

    def attribute(self, name: str) -> str | None:
        """The canonical name of an attribute, or None."""
        canonical = self.aliases.get(name, name)
        return canonical if canonical in self.attributes else None

    def names(self) -> list[str]:
        return sorted((*self.attributes, *self.aliases))


DATASET_FIELDS: Final = frozenset({"name", "digest", "context"})

RUNS: Final = Catalog(
    entity="run",
    kinds=frozenset(Kind),
    attributes={
        "run_id": FieldType.TEXT,
        "run_name": FieldType.TEXT,
        "experiment_id": FieldType.TEXT,
        "experiment_name": FieldType.TEXT,
        "user_id": FieldType.TEXT,
        "status": FieldType.TEXT,
        "liveness": FieldType.TEXT,
        "lifecycle_stage": FieldType.TEXT,
        "artifact_uri": FieldType.TEXT,
        "parent_run_id": FieldType.TEXT,
        "end_reason": FieldType.TEXT,
        "end_detail": FieldType.TEXT,
        "start_time": FieldType.TIME,
        "end_time": FieldType.TIME,
        "duration": FieldType.DURATION,
        "children": FieldType.NUMBER,
        "dropped": FieldType.NUMBER,
        "is_child": FieldType.FLAG,
    },
    aliases={
        "name": "run_name",
        "run name": "run_name",
        "Run name": "run_name",
        "created": "start_time",
        "Created": "start_time",
        "user": "user_id",
        "experiment": "experiment_name",
    },
)

EXPERIMENTS: Final = Catalog(
    entity="experiment",
    kinds=frozenset({Kind.ATTRIBUTE, Kind.TAG}),
    attributes={
        "experiment_id": FieldType.TEXT,
        "name": FieldType.TEXT,
        "lifecycle_stage": FieldType.TEXT,
        "artifact_location": FieldType.TEXT,
        "creation_time": FieldType.TIME,
        "last_update_time": FieldType.TIME,
    },
    aliases={"experiment_name": "name"},
)
