"""The projections there are: what they are called, their versions, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from projections.projection import Projection
from projections.runs_store import RUNS_VERSION, RunsProjection


@dataclass(frozen=True, slots=True)
class ProjectionKind:
    """`open` opens or creates the file of one build, in the thread that will use it."""

    name: str
    version: int
    open: Callable[[Path], Projection]


KINDS: Final = (ProjectionKind("runs", RUNS_VERSION, RunsProjection),)
