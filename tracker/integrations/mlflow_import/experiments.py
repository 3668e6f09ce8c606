"""Where each experiment of a source goes here.

Two MLflow stores both have an experiment 1. An id stays where it is free here, or means the
same experiment; else the experiment goes by its name, or gets another id, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

from tracker.events.ids import experiment_id_for
from tracker.events.types import EventType
from tracker.integrations.mlflow_import.facts import experiment_events
from tracker.integrations.mlflow_import.sending import Sender, facts_writer
from tracker.integrations.mlflow_import.source import Skips, SourceExperiment

_PAGE: Final = 1_000


class Known(NamedTuple):
    """An experiment of the server."""

    name: str
    is_deleted: bool


class ExperimentImport:
    """Afterwards `ids` says where each experiment of the source is, `deleted` which are deleted
    there."""

    def __init__(self, sender: Sender, skips: Skips, notes: list[str]) -> None:
        self._sender = sender
        self._skips = skips
        self._notes = notes
        self.ids: dict[str, str] = {}
        self.deleted: set[str] = set()

    async def take(self, experiments: Sequence[SourceExperiment]) -> None:
        here = await self._here()
        for experiment in experiments:
            target = self._target(experiment, here)
            self.ids[experiment.experiment_id] = target
            if experiment.is_deleted:
                self.deleted.add(experiment.experiment_id)
            await self._send(experiment, target, is_here=target in here)
            here[target] = Known(experiment.name, experiment.is_deleted)

    async def _send(self, experiment: SourceExperiment, target: str, *, is_here: bool) -> None:
        events = experiment_events(experiment, target, self._skips)
        writer = facts_writer("e", target, events)
        next_seq = await self._sender.next_seq(writer)
        if next_seq == 1 and is_here:
            # It is not from this source: its name and stage stay what they are.
            events = [e for e in events if e.type == EventType.EXPERIMENT_TAGS_SET]
            writer = facts_writer("e", target, events)
            next_seq = await self._sender.next_seq(writer)
        await self._sender.events("", writer, events, next_seq=next_seq)

    async def _here(self) -> dict[str, Known]:
        """All experiments of the server, by id."""
        here: dict[str, Known] = {}
        token = ""
        while True:
            path = f"/api/v1/experiments?view=all&max_results={_PAGE}"
            answer = await self._sender.ask(path + (f"&page_token={quote(token)}" if token else ""))
            for item in answer["experiments"]:
                is_deleted = item["lifecycle_stage"] == "deleted"
                here[item["experiment_id"]] = Known(item["name"], is_deleted)
            token = answer.get("next_page_token") or ""
            if not token:
                return here

    def _target(self, experiment: SourceExperiment, here: Mapping[str, Known]) -> str:
        """The id that an experiment of the source has here."""
        name, given_id = experiment.name, experiment.experiment_id
        there = here.get(given_id)
        if there is not None and there.name == name:
            return given_id
        named = [i for i, known in here.items() if known.name == name]
        active = [i for i in named if not here[i].is_deleted]
        if active or (named and there is not None):
            target = (active or named)[0]
            self._notes.append(
                f"experiment {given_id} ({name!r}) goes into {target}, which has its name here"
            )
            return target
        if there is None:
            return given_id
        salt = 0
        while (target := str(experiment_id_for(name, salt=salt))) in here:
            salt += 1
        self._notes.append(
            f"experiment {given_id} ({name!r}) has the id {target} here, "
            f"because {given_id} is {there.name!r}"
        )
        return target
