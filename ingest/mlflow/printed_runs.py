"""The JSON of runs in pages, kept as long as the read store keeps the run itself."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import orjson

from ingest.mlflow.entities import run_json
from projections.read_models import LatestRun


class PrintedRuns:
    """The same run is printed once. Used in several threads; at worst one prints it again."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[LatestRun, tuple[str, orjson.Fragment]]
        self._known = WeakKeyDictionary()

    def work_of(self, run: LatestRun) -> int:
        """How many entries there are to print."""
        if run in self._known:
            return 0
        return len(run.metrics) + len(run.params) + len(run.tags)

    def json_of(self, run: LatestRun, location: str) -> orjson.Fragment:
        """See entities.run_json."""
        known = self._known.get(run)
        if known is not None and known[0] == location:
            return known[1]
        fragment = orjson.Fragment(orjson.dumps(run_json(run, location)))
        self._known[run] = (location, fragment)
        return fragment
