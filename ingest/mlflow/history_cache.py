"""The history a client is paging through, kept while it does.

A page of MLflow's is an offset into the whole history in order of time. Sorting a million
points for each of forty pages would be a waste, so what the first page was cut from stays
for the pages that follow, which then all show one state. A first page is always read anew.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final

from ingest.mlflow.history_columns import History

KEPT_BYTES_MAX: Final = 128 * 1024 * 1024
KEPT_S: Final = 30.0

_Name = tuple[str, str]


class HistoryCache:
    """Used from one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Name, tuple[float, History]] = OrderedDict()

    def get(self, run_id: str, key: str) -> History | None:
        self._forget_old()
        kept = self._kept.get((run_id, key))
        if kept is None:
            return None
        self.keep(run_id, key, kept[1])
        return kept[1]

    def keep(self, run_id: str, key: str, history: History) -> None:
        """Keep it for a while, in place of what was kept longest."""
        # Looked after even if nobody asks again.
        asyncio.get_running_loop().call_later(KEPT_S + 1, self._forget_old)
        self._kept[run_id, key] = (time.monotonic() + KEPT_S, history)
        self._kept.move_to_end((run_id, key))
        self._forget_old()
        while sum(h.nbytes for _, h in self._kept.values()) > KEPT_BYTES_MAX:
            self._kept.popitem(last=False)

    def drop(self, run_id: str, key: str) -> None:
        self._kept.pop((run_id, key), None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        while self._kept and next(iter(self._kept.values()))[0] < now:
            self._kept.popitem(last=False)
