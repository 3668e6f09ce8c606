"""How a search begins, as it was chosen; kept for a while.

To choose costs a look at the data, and the same search is asked again and again: for its next
page, and by whoever has it on the screen. What was chosen a moment ago is right still, or so
nearly right that to look again costs more; wrong it can only be in time, never in its rows.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from projections.search import ast

KEPT_S: Final = 10.0
KEPT_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """Walk along the order, or drive: by a condition, by the experiments, or by all runs.

    A walk `by` something looks up only the runs that this would drive to, and has in `driven` how
    it drives to them. What is in `sets` is tested by a set of all runs that fulfil it, made once
    for a statement, instead of a look at each run.
    """

    walks: bool = False
    by: ast.Expression | None = None
    by_experiments: bool = False
    sets: frozenset[ast.Expression] = frozenset()
    driven: Choice | None = None

    @property
    def behind_a_page(self) -> Choice:
        """How the next pages begin: how far a walk by something would go there is not known."""
        return self if self.driven is None else self.driven

    def fits(self, conditions: Sequence[ast.Expression]) -> bool:
        """Whether it speaks of these conditions only."""
        return (self.by is None or self.by in conditions) and self.sets.issubset(conditions)


class Choices:
    """Those of the searches that were asked last. For several threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int], tuple[float, Choice]] = OrderedDict()

    def known(self, name: str, page: int) -> Choice | None:
        """What was chosen lately for a search of this fingerprint and size of page."""
        with self._lock:
            at, choice = self._kept.get((name, page), (0.0, None))
            return choice if self._clock() - at < KEPT_S else None

    def keep(self, name: str, page: int, choice: Choice) -> None:
        with self._lock:
            self._kept[name, page] = (self._clock(), choice)
            self._kept.move_to_end((name, page))
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
