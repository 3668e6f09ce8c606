"""Naming and creating experiments, with and without a server.

set_experiment asks nobody: an experiment that does not exist yet comes into being with
its first run, wherever that is folded. create_experiment asks the server, because a name
may be taken; without one it records the fact in the spool, under the id that follows
from the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tracker import config
from tracker.binding import Binding, checked_id, checked_name
from tracker.destination import destination
from tracker.events.errors import InvalidEvent
from tracker.events.ids import experiment_id_for
from tracker.events.types import EventType
from tracker.fluent import session
from tracker.refusals import QueryFailed, ServerBusy, ServerUnreachable
from tracker.values import tag_text

if TYPE_CHECKING:
    from tracker.client import Client
    from tracker.entities import Experiment

# create_experiment gives up on a server after this long and uses the spool.
_CREATE_TIMEOUT_S: Final = 2.0


class ChosenExperiment:
    """What set_experiment returns. Anything but what was said is asked of the server, once.

    `experiment_id` is the one that follows from the name if no server answers in time.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._found: Experiment | None = None

    @property
    def name(self) -> str:
        return self._binding.name or self.resolve().name

    @property
    def experiment_id(self) -> str:
        if self._binding.experiment_id is not None:
            return self._binding.experiment_id
        try:
            return self.resolve().experiment_id
        except (QueryFailed, LookupError):
            return self._binding.likely_id

    def resolve(self) -> Experiment:
        """The experiment as the server knows it. Raises QueryFailed or LookupError."""
        if self._found is None:
            name, experiment_id = self._binding.name, self._binding.experiment_id
            client = _quick_client()
            if experiment_id is not None:
                self._found = client.get_experiment(experiment_id)
            else:
                self._found = client.get_experiment_by_name(name or "")
            if self._found is None:
                raise LookupError(f"no experiment is called {name!r} yet; its first run makes it")
        return self._found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.resolve(), name)

    def __repr__(self) -> str:
        return f"<Experiment {self._binding.shown!r}>"


def set_experiment(
    experiment_name: str | None = None, experiment_id: str | None = None
) -> ChosenExperiment:
    """Put the runs started from now on into this experiment, by name or by id.

    Nothing is asked of a server: the name's experiment is created by its first run. Child
    processes inherit the choice.
    """
    if (experiment_name is None) == (experiment_id is None):
        raise InvalidEvent("set_experiment needs either experiment_name or experiment_id")
    if experiment_name is not None:
        chosen = Binding(name=checked_name(experiment_name))
    else:
        chosen = Binding(experiment_id=checked_id(experiment_id))
    session.chosen = chosen
    config.set_for_good(config.EXPERIMENT_NAME, chosen.name)
    config.set_for_good(config.EXPERIMENT_ID, chosen.experiment_id)
    return ChosenExperiment(chosen)


def create_experiment(
    name: str, artifact_location: str | None = None, tags: Mapping[str, Any] | None = None
) -> str:
    """Create an experiment and return its id. Raises ExperimentExists.

    Offline, for "local", or when no server answers within two seconds, the fact waits in
    the spool; if the name turns out to be taken, that experiment stands.
    """
    checked_name(name)
    texts = {key: tag_text(key, value) for key, value in (tags or {}).items()}
    if config.mode() == "online" and not destination().is_local:
        try:
            return _quick_client().create_experiment(name, artifact_location, texts)
        except (ServerUnreachable, ServerBusy):
            pass
    experiment_id = experiment_id_for(name)
    fact = {"experiment_id": experiment_id, "name": name, "tags": texts}
    if artifact_location is not None:
        fact["artifact_location"] = artifact_location
    session.record_workspace_fact(EventType.EXPERIMENT_CREATED, fact)
    return experiment_id


def _quick_client() -> Client:
    from tracker.client import Client

    return Client(retry_for_s=_CREATE_TIMEOUT_S)
