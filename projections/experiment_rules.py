"""The rules of experiments: how events change them, and which one a run belongs to.

A run names its experiment, gives its id, does both or neither (then it is Default). The
active experiment of that name is taken; else the one of the given id, if there is such;
else one is created with the id that follows from the name, salted when that id is held by
an experiment that was renamed or deleted since. So whoever names an experiment first,
with or without a network, creates the same one.

Experiments are renamed and deleted by the server only, which decides at a position: for
them, unlike for all else, a run that arrives later meets the experiment as it is by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from projections.run_rules import is_later
from projections.runs_state import (
    ACTIVE,
    BEFORE_ALL,
    DELETED,
    Changes,
    ExperimentState,
    RunsLoader,
    Said,
)
from tracker.events.ids import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME, experiment_id_for
from tracker.events.types import Event, EventType

# A name that an id follows from is better than no name, and worse than any that was said.
_IMPLIED: Final = BEFORE_ALL + 1

DEFAULT_EXPERIMENT: Final = ExperimentState(
    experiment_id=DEFAULT_EXPERIMENT_ID,
    name=DEFAULT_EXPERIMENT_NAME,
    name_order_us=_IMPLIED,
    created_us=0,
    updated_us=0,
)
"""Exists in every new store."""


class Experiments:
    """The experiments in memory, found by id and by name; others are loaded when asked for."""

    def __init__(self, loader: RunsLoader) -> None:
        self._loader = loader
        self._by_id: dict[str, ExperimentState] = {}
        # Every id that has had this name in memory: a first look, to be checked.
        self._ids_by_name: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def bind(self, data: Mapping[str, Any], time_us: int, position: int, changes: Changes) -> str:
        """The id of the experiment that a run.started with this data belongs to."""
        name, given_id = data.get("experiment_name"), data.get("experiment_id")
        experiment = self._resolve(name, given_id)
        _touch(experiment, time_us, position)
        changes.experiments[experiment.experiment_id] = experiment
        return experiment.experiment_id

    def apply(self, event: Event, order_us: int, position: int, changes: Changes) -> None:
        """Apply an experiment.* event. The experiment exists from the first one on."""
        experiment_id = event.data["experiment_id"]
        experiment = self._get(experiment_id) or self._create(experiment_id, "", BEFORE_ALL)
        _touch(experiment, event.time_us, position)
        changes.experiments[experiment_id] = experiment
        _RULES[event.type](experiment, event.data, order_us, changes)
        self._remember(experiment)

    def _resolve(self, name: str | None, given_id: str | None) -> ExperimentState:
        if name is None:
            experiment_id = given_id or DEFAULT_EXPERIMENT_ID
            return self._get(experiment_id) or self._create(experiment_id, "", BEFORE_ALL)
        active = self._active_named(name)
        if active is not None:
            return active
        if given_id is not None:
            given = self._get(given_id)
            if given is not None and given.name != "":
                return given
        salt = 0
        while True:
            experiment_id = experiment_id_for(name, salt=salt)
            taken = self._get(experiment_id)
            if taken is None:
                return self._create(experiment_id, name, _IMPLIED)
            if taken.name == "":  # so far known by its id only
                taken.name, taken.name_order_us = name, _IMPLIED
                self._remember(taken)
                return taken
            salt += 1

    def _active_named(self, name: str) -> ExperimentState | None:
        # What is in memory may have changed since it was stored, in both directions.
        ids = self._ids_by_name.get(name, set()).union(self._loader.experiments_named(name))
        for experiment_id in sorted(ids):
            experiment = self._get(experiment_id)
            if experiment and experiment.name == name and experiment.lifecycle_stage == ACTIVE:
                return experiment
        return None

    def _get(self, experiment_id: str) -> ExperimentState | None:
        experiment = self._by_id.get(experiment_id)
        if experiment is None:
            experiment = self._loader.experiment(experiment_id)
            if experiment is not None:
                self._remember(experiment)
        return experiment

    def _create(self, experiment_id: str, name: str, name_order_us: int) -> ExperimentState:
        experiment = ExperimentState(experiment_id, name, name_order_us)
        self._remember(experiment)
        return experiment

    def _remember(self, experiment: ExperimentState) -> None:
        self._by_id[experiment.experiment_id] = experiment
        self._ids_by_name.setdefault(experiment.name, set()).add(experiment.experiment_id)


def _touch(experiment: ExperimentState, time_us: int, position: int) -> None:
    experiment.created_us = min(experiment.created_us, time_us)
    experiment.updated_us = max(experiment.updated_us, time_us)
    experiment.last_position = position


def _created(
    experiment: ExperimentState, data: Mapping[str, Any], order_us: int, changes: Changes
) -> None:
    _renamed(experiment, data, order_us, changes)
    location = data.get("artifact_location")
    if location is not None and location > (experiment.artifact_location or ""):
        experiment.artifact_location = location
    _tags_set(experiment, data, order_us, changes)


def _renamed(
    experiment: ExperimentState, data: Mapping[str, Any], order_us: int, changes: Changes
) -> None:
    name = data["name"]
    if (order_us, name) > (experiment.name_order_us, experiment.name):
        experiment.name_order_us, experiment.name = order_us, name


def _tags_set(
    experiment: ExperimentState, data: Mapping[str, Any], order_us: int, changes: Changes
) -> None:
    for key, value in (data.get("tags") or {}).items():
        _say_tag(experiment, key, Said(order_us, value), changes)


def _tag_deleted(
    experiment: ExperimentState, data: Mapping[str, Any], order_us: int, changes: Changes
) -> None:
    _say_tag(experiment, data["key"], Said(order_us, None), changes)


def _say_tag(experiment: ExperimentState, key: str, said: Said, changes: Changes) -> None:
    before = experiment.tags.get(key)
    if before is None or is_later(said, before):
        experiment.tags[key] = said
        changes.experiment_tags.add((experiment.experiment_id, key))


def _deleted(
    experiment: ExperimentState, data: Mapping[str, Any], order_us: int, changes: Changes
) -> None:
    _say_lifecycle(experiment, DELETED, order_us)


def _restored(
    experiment: ExperimentState, data: Mapping[str, Any], order_us: int, changes: Changes
) -> None:
    _say_lifecycle(experiment, ACTIVE, order_us)


def _say_lifecycle(experiment: ExperimentState, stage: str, order_us: int) -> None:
    if (order_us, stage) > (experiment.lifecycle_order_us, experiment.lifecycle_stage):
        experiment.lifecycle_order_us, experiment.lifecycle_stage = order_us, stage


_Rule = Callable[[ExperimentState, Mapping[str, Any], int, Changes], None]
_RULES: Final[Mapping[str, _Rule]] = {
    EventType.EXPERIMENT_CREATED: _created,
    EventType.EXPERIMENT_RENAMED: _renamed,
    EventType.EXPERIMENT_TAGS_SET: _tags_set,
    EventType.EXPERIMENT_TAG_DELETED: _tag_deleted,
    EventType.EXPERIMENT_DELETED: _deleted,
    EventType.EXPERIMENT_RESTORED: _restored,
}
EXPERIMENT_EVENTS: Final = frozenset(_RULES)
