"""Building projections anew from a log that nobody serves at the moment.

Beside a live server the runner does it (see `projections.runner`); here it is done in one
go: a new build, folded to the end of the log, then switched to, then the old one removed.
It stops at the first batch it cannot fold, and the old build stays.
"""

from __future__ import annotations

from collections.abc import Callable

from projections.build_store import Build, BuildStore
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.projection import Projection
from projections.rounds import groups_until

OnPosition = Callable[[int], None]


async def fold_into(
    projection: Projection,
    log: EventLogReader,
    *,
    until: int | None = None,
    on_position: OnPosition,
) -> None:
    """Fold everything from the checkpoint to `until`, or to the end of the log.

    Raises what reading, decoding or folding raises; what was folded before stays.
    """
    position = await projection.position()
    if until is not None and position >= until:
        return
    async for group in groups_until(log, after=position, until=until):
        await projection.apply(group)
        on_position(await projection.position())


async def rebuild(
    kind: ProjectionKind, builds: BuildStore, log: EventLogReader, *, on_position: OnPosition
) -> Build:
    """Build one projection anew and let it serve. Nobody else may fold meanwhile."""
    old = await builds.current(kind.name)
    build, projection = await builds.begin(kind, log)
    try:
        await fold_into(projection, log, on_position=on_position)
    except BaseException:
        await projection.aclose()
        await builds.remove(build)
        raise
    await projection.aclose()
    await builds.switch(build)
    if old is not None:
        await builds.retire(old)
    return build
