"""Delivering everything found under a path, once or watching: what `tracker sync` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracker.shipper.shipper import Shipper
from tracker.shipper.state import DeliveryCounts, DeliveryState, DeliveryStatus
from tracker.shipper.transmit import KeyOf, no_key
from tracker.spool.meta import WriterMeta

PROGRESS_INTERVAL_S: Final = 0.1

OnProgress = Callable[[Sequence[DeliveryState]], None]


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What was delivered, and what was not with the reason."""

    states: Sequence[DeliveryState]
    unreadable: Sequence[str]
    writers: int
    counts: DeliveryCounts

    @property
    def remaining(self) -> Sequence[DeliveryState]:
        """Writers of which something is still undelivered, as far as anybody can know."""
        return [state for state in self.states if not _is_done(state)]

    @property
    def is_complete(self) -> bool:
        return not self.remaining and not self.unreadable


async def sync(
    path: Path,
    *,
    uri_of: Callable[[WriterMeta], str],
    key_of: KeyOf = no_key,
    ends_lost: bool = False,
    is_watching: bool = False,
    on_progress: OnProgress = lambda states: None,
) -> SyncReport:
    """Deliver every writer under `path`, offline ones and copies too.

    Live writers are delivered as far as they have come. With `is_watching` it goes on for
    ever. Cancelled once, it ends and the report says how far it came.
    """
    shipper = Shipper(
        path,
        accepts=lambda meta: meta.mode != "disabled",
        uri_of=uri_of,
        key_of=key_of,
        is_one_shot=not is_watching,
        ends_lost=ends_lost,
    )
    shipping = asyncio.create_task(shipper.run())
    try:
        while not shipping.done():
            await asyncio.wait([shipping], timeout=PROGRESS_INTERVAL_S)
            on_progress(shipper.states)
    except asyncio.CancelledError:
        shipper.stop()
    await shipping
    return SyncReport(
        list(shipper.states), list(shipper.unreadable), shipper.writers_seen, shipper.counts
    )


def _is_done(state: DeliveryState) -> bool:
    if state.status is DeliveryStatus.DELIVERED:
        return True
    return state.status is DeliveryStatus.PENDING and state.is_caught_up
