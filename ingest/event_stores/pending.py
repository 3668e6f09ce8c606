"""An append on its way into a group, and whom to tell what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ingest.event_stores.base import AppendResult
from ingest.event_stores.group import ClientAppend, DecisionAppend


@dataclass(frozen=True, slots=True)
class PendingAppend:
    append: ClientAppend | DecisionAppend
    future: asyncio.Future[AppendResult]

    @property
    def size(self) -> int:
        return len(self.append.batch.payload) if isinstance(self.append, ClientAppend) else 0
