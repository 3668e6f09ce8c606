"""What was made of runs, kept for the next page that shows them.

A search that is asked again finds mostly runs that have not changed, and to read and to
make a run takes ten times as long as to find it. So what was made is kept. It stays right
as long as the run's row is the same one: whatever changes anything of a run is a batch of
that run, and each batch of a run changes `last_position` in its row.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, Generic, TypeVar

from projections.connection import Connection, ask_together
from projections.runs_views import SQL, RunRow, fitting, weights_of

T = TypeVar("T")

# As runs_queries.sql counts them; with what is made of them some 30 MB.
KEPT_ENTRIES_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    row: RunRow
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

    def of(self, connection: Connection, run_nos: Sequence[int]) -> list[T]:
        """The first of the runs of these numbers, in their order: as many as a page holds.

        A run that has not changed is the same object as before.
        """
        if not run_nos:
            return []
        asked = {"run_nos": json.dumps(list(run_nos))}
        ask_together(connection, (SQL["runs"], SQL["position"]), asked)
        rows: list[RunRow] = [tuple(row) for row in connection.execute(SQL["runs"], asked)]
        found = self._known(rows)
        missing = [row for row in rows if row[0] not in found]
        weights = {run_no: kept.weight for run_no, kept in found.items()}
        if missing:
            numbers = [row[0] for row in missing]
            weights.update(zip(numbers, weights_of(connection, numbers), strict=True))
        rows = rows[: fitting([weights[row[0]] for row in rows])]
        missing = [row for row in rows if row[0] not in found]
        if missing:
            new = [
                _Kept(row, made, weights[row[0]])
                for row, made in zip(missing, self._make(connection, missing), strict=True)
            ]
            self._keep(new)
            found.update((kept.row[0], kept) for kept in new)
        return [found[row[0]].made for row in rows]

    def _known(self, rows: Sequence[RunRow]) -> dict[int, _Kept[T]]:
        found = {}
        with self._lock:
            for row in rows:
                kept = self._kept.get(row[0])
                if kept is not None and kept.row == row:
                    found[row[0]] = kept
                    self._kept.move_to_end(row[0])
        return found

    def _keep(self, new: Sequence[_Kept[T]]) -> None:
        with self._lock:
            for kept in new:
                before = self._kept.pop(kept.row[0], None)
                self._entries += kept.weight - (before.weight if before else 0)
                self._kept[kept.row[0]] = kept
            while self._entries > self._entries_max:
                _, oldest = self._kept.popitem(last=False)
                self._entries -= oldest.weight
