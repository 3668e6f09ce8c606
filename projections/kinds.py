"""The projections there are: what they are called, their versions, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from projections.fold_tables import FoldTables
from projections.log import EventLogReader
from projections.projection import Projection
from projections.runs_store import RUNS_VERSION, RunsProjection
from projections.series_projection import SERIES_VERSION, SeriesProjection


@dataclass(frozen=True, slots=True)
class ProjectionKind:
    """`open` opens the tables of one build, or creates its file, in the thread that uses it.

    The log is the one that is folded: a projection may read what it folded before again.
    """

    name: str
    version: int
    open: Callable[[Path | FoldTables, EventLogReader], Projection]


KINDS: Final = (
    ProjectionKind("runs", RUNS_VERSION, lambda tables, log: RunsProjection(tables)),
    ProjectionKind("series", SERIES_VERSION, SeriesProjection),
)
