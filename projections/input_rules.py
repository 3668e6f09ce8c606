"""The rules of a run's inputs: the datasets that were read, and what is said of them.

An input is known by its name and digest. What describes it is said by the greatest order, of
equal orders by the greater text; of each of its tags likewise. So an input logged twice, for
training and later for validation, is one input, and every order of arrival ends the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tracker.events.limits import INT64_MIN

CONTEXT_TAG: Final = "mlflow.data.context"
"""The tag that says what a dataset was read for."""

InputKey = tuple[str, str]
"""(name, digest)"""


class InputFacts(NamedTuple):
    order_us: int = INT64_MIN
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


_UNSAID: Final = InputFacts()


@dataclass(slots=True)
class InputState:
    facts: InputFacts = _UNSAID
    tags: dict[str, tuple[int, str]] = field(default_factory=dict)  # (order_us, value)


@dataclass(slots=True)
class RunInputs:
    """A run's inputs, and which of them changed."""

    inputs: dict[InputKey, InputState] = field(default_factory=dict)
    changed: set[InputKey] = field(default_factory=set)

    def __len__(self) -> int:
        return sum(1 + len(each.tags) for each in self.inputs.values())

    def __bool__(self) -> bool:
        return True


def say_input(inputs: RunInputs, data: Mapping[str, Any], order_us: int) -> None:
    key = (data["name"], data["digest"])
    state = inputs.inputs.setdefault(key, InputState())
    said = InputFacts(
        order_us,
        data.get("source_type") or "",
        data.get("source") or "",
        data.get("schema") or "",
        data.get("profile") or "",
    )
    state.facts = max(state.facts, said)
    for name, value in (data.get("tags") or {}).items():
        state.tags[name] = max(state.tags.get(name, (INT64_MIN, "")), (order_us, value))
    inputs.changed.add(key)


def input_rows(run_no: int, inputs: RunInputs) -> Iterator[tuple[Any, ...]]:
    for name, digest in sorted(inputs.changed):
        facts = inputs.inputs[name, digest].facts
        yield (run_no, name, digest, *facts)


def input_tag_rows(run_no: int, inputs: RunInputs) -> Iterator[tuple[Any, ...]]:
    for name, digest in sorted(inputs.changed):
        for key, (order_us, value) in sorted(inputs.inputs[name, digest].tags.items()):
            yield (run_no, name, digest, key, value, order_us)
