"""Opening what serves: which builds can go on, and which must be made anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from projections.build_store import BuildStore
from projections.kinds import ProjectionKind
from projections.live import LiveProjection
from projections.log import EventLogReader
from projections.projection import ProjectionStoreFailed, StoreAway

logger = logging.getLogger(__name__)


async def open_live(
    builds: BuildStore, kinds: Sequence[ProjectionKind], log: EventLogReader
) -> list[LiveProjection]:
    """The serving build of every kind, after leftovers of crashed builds were removed.

    A build of an older version comes without projection: it serves as it is until a
    rebuild replaces it. A file that is missing, unusable, or ahead of the log (which then
    is another log than it was) is replaced by an empty one. Raises ProjectionStoreFailed
    or UnreadablePointer, with nothing left open.
    """
    await builds.remove_leftovers()
    head = (await log.head()).next_position - 1
    opened: list[LiveProjection] = []
    try:
        for kind in kinds:
            live = await _go_on(builds, kind, log, head)
            opened.append(live if live is not None else await _begin_anew(builds, kind, log))
    except BaseException:
        for live in opened:
            await live.aclose()
        raise
    await builds.remove_leftovers()
    return opened


async def _go_on(
    builds: BuildStore, kind: ProjectionKind, log: EventLogReader, head: int
) -> LiveProjection | None:
    build = await builds.current(kind.name)
    if build is None:
        return None
    if build.version != kind.version:
        return LiveProjection(kind, builds, build, log, None, 0)
    try:
        projection = await builds.open(kind, build, log)
    except StoreAway:
        raise  # it may be of use when it is back
    except ProjectionStoreFailed as error:
        logger.warning("%s is of no use and made anew: %s", build.label, error)
        return None
    position = await projection.position()
    if position > head:
        logger.warning("%s is ahead of the log (%d > %d); made anew", build.label, position, head)
        await projection.aclose()
        return None
    return LiveProjection(kind, builds, build, log, projection, position)


async def _begin_anew(
    builds: BuildStore, kind: ProjectionKind, log: EventLogReader
) -> LiveProjection:
    build, projection = await builds.begin(kind, log)
    await builds.switch(build)
    return LiveProjection(kind, builds, build, log, projection, 0)
