"""An append on its way into a group, and whom to tell what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ingest.event_stores.base import AppendResult
from ingest.event_stores.group import Append, ClientAppend
from ingest.event_stores.importing import ImportAppend


@dataclass(frozen=True, slots=True)
class PendingAppend:
    append: Append
    future: asyncio.Future[AppendResult]

    @property
    def size(self) -> int:
        match self.append:
            case ClientAppend():
                return len(self.append.batch.payload)
            case ImportAppend():
                return self.append.size
            case _:
                return 0
