"""What a helper writes to its log: one line when a writer's trouble begins, changes or ends.

A server that is away for an hour is one line, not one a second.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tracker.shipper.state import DeliveryState

_log = logging.getLogger("tracker.shipper")


class Journal:
    def __init__(self) -> None:
        self._problems: dict[tuple[str, str], str] = {}

    def note(self, states: Sequence[DeliveryState]) -> None:
        """Log what has changed since the last call."""
        problems: dict[tuple[str, str], str] = {}
        for state in states:
            before = self._problems.get((state.writer_id, state.uri))
            if state.problem:
                problems[state.writer_id, state.uri] = state.problem
                if state.problem != before:
                    _log.warning("%s: %s: %s", _name(state), state.status, state.problem)
            elif before:
                _log.info("%s: goes on", _name(state))
        self._problems = problems


def _name(state: DeliveryState) -> str:
    return f"run {state.run_id or '(workspace)'} to {state.uri}"
