"""What was made of runs, kept for the next page that shows them.

A search that is asked again finds mostly runs that have not changed, and to read and to
make a run takes ten times as long as to find it. So what was made is kept. It stays right
as long as the run's state is the same one: whatever changes anything of a run is a batch of
that run, which changes its last position, or the deletion of its experiment.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

from projections.connection import Connection, ask_together
from projections.runs_views import SQL, RunRow, fitting, weights_of

T = TypeVar("T")

# As runs_queries.sql counts them; with what is made of them some 30 MB.
KEPT_ENTRIES_MAX: Final = 100_000


class RunState(NamedTuple):
    """What tells whether a run has changed. In another build it is another run."""

    run_no: int
    last_position: int
    is_deleted: bool  # by itself or with its experiment
    build: str


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    state: RunState
    made: T
    weight: int


class KeptRuns(Generic[T]):
    """Answers from several threads; keeps what was made of the runs that were asked for last."""

    def __init__(
        self,
        make: Callable[[Connection, Sequence[RunRow]], Sequence[T]],
        *,
        entries_max: int = KEPT_ENTRIES_MAX,
    ) -> None:
        self._make = make
        self._lock = Lock()
        self._kept: OrderedDict[int, _Kept[T]] = OrderedDict()  # by run number
        self._entries, self._entries_max = 0, entries_max

    def of(self, connection: Connection, states: Sequence[RunState]) -> list[T]:
        """The first of these runs, in their order: as many as a page holds.

        A run that has not changed is the same object as before. The states are those of the
        connection's snapshot.
        """
        if not states:
            return []
        found = self._known(states)
        missing = [state for state in states if state.run_no not in found]
        weights = {run_no: kept.weight for run_no, kept in found.items()}
        rows: dict[int, RunRow] = {}
        if missing:
            numbers = [state.run_no for state in missing]
            asked = {"run_nos": json.dumps(numbers)}
            ask_together(connection, (SQL["runs"], SQL["weights"]), asked)
            rows = {row[0]: tuple(row) for row in connection.execute(SQL["runs"], asked)}
            weights.update(zip(numbers, weights_of(connection, numbers), strict=True))
        states = states[: fitting([weights[state.run_no] for state in states])]
        missing = [state for state in states if state.run_no not in found]
        if missing:
            made = self._make(connection, [rows[state.run_no] for state in missing])
            new = [
                _Kept(state, one, weights[state.run_no])
                for state, one in zip(missing, made, strict=True)
            ]
            self._keep(new)
            found.update((kept.state.run_no, kept) for kept in new)
        return [found[state.run_no].made for state in states]

    def _known(self, states: Sequence[RunState]) -> dict[int, _Kept[T]]:
        found = {}
        with self._lock:
            for state in states:
                kept = self._kept.get(state.run_no)
                if kept is not None and kept.state == state:
                    found[state.run_no] = kept
                    self._kept.move_to_end(state.run_no)
        return found

    def _keep(self, new: Sequence[_Kept[T]]) -> None:
        with self._lock:
            for kept in new:
                before = self._kept.pop(kept.state.run_no, None)
                self._entries += kept.weight - (before.weight if before else 0)
                self._kept[kept.state.run_no] = kept
            while self._entries > self._entries_max:
                _, oldest = self._kept.popitem(last=False)
                self._entries -= oldest.weight
