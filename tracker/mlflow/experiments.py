"""Experiments: the server's, or named here while no server answers.

An id that is minted here follows from the name, so that every machine mints the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker.binding import Binding
from tracker.events.ids import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME, experiment_id_for
from tracker.events.types import EventType
from tracker.fluent import session
from tracker.mlflow import entities
from tracker.mlflow.asking import AskingStore
from tracker.mlflow.errors import Unreachable, refusals


class Experiments:
    """Remembers those that this process has met, for when the server is away."""

    def __init__(self, rest: AskingStore) -> None:
        self._rest = rest
        default = entities.local_experiment(DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME)
        self._met: dict[str, Any] = {DEFAULT_EXPERIMENT_ID: default}

    def create(self, name: str, artifact_location: str | None, tags: Any) -> str:
        """Created by the server; without one, recorded under the id that follows from the name."""
        try:
            experiment_id: str = self._rest.create_experiment(name, artifact_location, tags)
        except Unreachable:
            experiment_id = experiment_id_for(name)
            fact: dict[str, Any] = {
                "experiment_id": experiment_id,
                "name": name,
                "tags": {tag.key: str(tag.value) for tag in tags or ()},
            }
            if artifact_location is not None:
                fact["artifact_location"] = artifact_location
            self._record(EventType.EXPERIMENT_CREATED, fact)
        self._met[experiment_id] = entities.local_experiment(experiment_id, name, tags or ())
        return experiment_id

    def get(self, experiment_id: str) -> Any:
        try:
            return self._meet(self._rest.get_experiment(experiment_id))
        except Unreachable:
            known = self._met.get(str(experiment_id))
            if known is None:
                raise
            return known

    def get_by_name(self, name: str) -> Any:
        """None, too, for a name that nobody here has used while no server answers."""
        try:
            found = self._rest.get_experiment_by_name(name)
        except Unreachable:
            return next((e for e in self._met.copy().values() if e.name == name), None)
        return None if found is None else self._meet(found)

    def set_tag(self, experiment_id: str, tag: Any) -> None:
        """Set by the server; without one, recorded, and shown here."""
        try:
            self._rest.set_experiment_tag(experiment_id, tag)
        except Unreachable:
            known = self._met.get(str(experiment_id))
            if known is None:
                raise
            fact = {"experiment_id": known.experiment_id, "tags": {tag.key: str(tag.value)}}
            self._record(EventType.EXPERIMENT_TAGS_SET, fact)
            known._add_tag(tag)

    def binding(self, experiment_id: str) -> Binding:
        """How a run names its experiment: by id, and by name where that is known."""
        known = self._met.get(str(experiment_id))
        return Binding(known.name if known else None, str(experiment_id))

    def _meet(self, experiment: Any) -> Any:
        self._met[experiment.experiment_id] = experiment
        return experiment

    def _record(self, kind: EventType, fact: Mapping[str, Any]) -> None:
        with refusals():
            session.record_workspace_fact(kind, fact, uri=self._rest.server.destination)
