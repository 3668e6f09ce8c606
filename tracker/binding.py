"""Which experiment a run belongs to, and where that was said."""

from __future__ import annotations

from typing import NamedTuple

from tracker import config
from tracker.events import limits
from tracker.events.errors import InvalidEvent
from tracker.events.ids import DEFAULT_EXPERIMENT_NAME, experiment_id_for

_EXPERIMENT_ID_CHARACTERS_MAX = 64


class Binding(NamedTuple):
    """An experiment by name, by id, or by neither (then it is Default)."""

    name: str | None = None
    experiment_id: str | None = None

    @property
    def likely_id(self) -> str:
        """Its id, if no experiment was renamed since; only a server knows for sure."""
        return self.experiment_id or experiment_id_for(self.name or DEFAULT_EXPERIMENT_NAME)

    @property
    def shown(self) -> str:
        return self.name or self.experiment_id or DEFAULT_EXPERIMENT_NAME


def binding_of(experiment_id: object | None, chosen: Binding | None) -> Binding:
    """What was passed, else what set_experiment said, else environment and project."""
    if experiment_id is not None:
        return Binding(experiment_id=checked_id(experiment_id))
    if chosen is not None:
        return chosen
    name, given_id = config.experiment()
    if name:
        return Binding(name=checked_name(name))
    return Binding(experiment_id=checked_id(given_id) if given_id else None)


def checked_name(name: object) -> str:
    """An experiment's name. Raises InvalidEvent."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidEvent(f"an experiment's name must be text that is not empty, not {name!r}")
    if len(name) > limits.EXPERIMENT_NAME_CHARACTERS_MAX:
        raise InvalidEvent(
            f"an experiment's name has at most {limits.EXPERIMENT_NAME_CHARACTERS_MAX} "
            f"characters (experiment_name_characters_max); this one has {len(name)}"
        )
    if any(0xD800 <= ord(c) < 0xE000 for c in name):
        raise InvalidEvent("an experiment's name must be valid Unicode (it has a lone surrogate)")
    return name


def checked_id(experiment_id: object) -> str:
    text = str(experiment_id)
    if not 0 < len(text) <= _EXPERIMENT_ID_CHARACTERS_MAX or not text.isprintable():
        raise InvalidEvent(f"experiment_id {experiment_id!r} is no experiment's id")
    return text
