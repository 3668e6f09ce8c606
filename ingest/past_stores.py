"""Which read stores answer a request: those that serve now, or those of an earlier position."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from ingest.components import SETTINGS
from ingest.errors import Busy, InvalidRequest, StoreUnavailable
from ingest.messages import query_int
from ingest.routes.table import QueryParameter
from ingest.state import EVENT_STORE, LEASES, READ_STORES, ReadStores
from projections.builds import Builds
from projections.past_builds import PastBuilds, PastNotReady, PastUnavailable
from projections.past_positions import position_at

PAST_BUILDS: web.AppKey[PastBuilds] = web.AppKey("past_builds", PastBuilds)

AS_OF: Final = (
    QueryParameter("as_of_position", "as it was at this position", type="integer"),
    QueryParameter(
        "as_of_time",
        "as the server knew it at this time, in microseconds since 1970",
        type="integer",
    ),
)
AS_OF_NAMES: Final = frozenset(parameter.name for parameter in AS_OF)


async def past_builds(app: web.Application) -> AsyncIterator[None]:
    """A cleanup context: builds are kept beside the store, and removed with the server."""
    path = app[SETTINGS].store_path
    with tempfile.TemporaryDirectory(prefix="tracker-past-") as folder:
        beside = Path(folder) if path is None else Builds.beside(path).folder
        app[PAST_BUILDS] = builds = PastBuilds(app[EVENT_STORE], beside)
        yield
        await builds.aclose()


async def asked_stores(request: web.Request, *, run_id: str | None = None) -> ReadStores:
    """The stores that the query parameters as_of_… ask for; of one run only, if given.

    `live_run_ids_of` says who was live. Raises InvalidRequest, and Busy while a state of
    long ago is being put together.
    """
    return await stores_at(
        request,
        query_int(request, "as_of_position"),
        query_int(request, "as_of_time"),
        run_id=run_id,
    )


async def stores_at(
    request: web.Request, position: int | None, time_us: int | None, *, run_id: str | None = None
) -> ReadStores:
    """See asked_stores."""
    at = await _position_of(request, position, time_us)
    if at is None:
        return request.app[READ_STORES]
    try:
        return await request.app[PAST_BUILDS].at(at, run_id=run_id)
    except PastNotReady as error:
        raise Busy(str(error), retry_after_s=2.0) from error
    except PastUnavailable as error:
        raise StoreUnavailable(str(error), retry_after_s=30.0) from error


def live_run_ids_of(request: web.Request, stores: ReadStores) -> frozenset[str]:
    """Who reports, or, of the past, who had not ended: nobody knows more of it."""
    then: frozenset[str] | None = getattr(stores, "live_run_ids", None)
    return request.app[LEASES].live_run_ids() if then is None else then


async def _position_of(
    request: web.Request, position: int | None, time_us: int | None
) -> int | None:
    if position is not None and time_us is not None:
        raise InvalidRequest("give as_of_position or as_of_time, not both", field="as_of_time")
    if position is None and time_us is None:
        return None
    log = request.app[EVENT_STORE]
    last = (await log.head()).next_position - 1
    if position is None:
        assert time_us is not None
        if time_us > time.time_ns() // 1000:
            raise InvalidRequest("as_of_time: this time has not come yet", field="as_of_time")
        return await position_at(log, time_us)
    if not 0 <= position <= last:
        raise InvalidRequest(
            f"as_of_position: {position} is not from 0 to {last}, the log's last position",
            field="as_of_position",
        )
    return position
