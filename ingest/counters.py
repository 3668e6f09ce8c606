"""What the server counts of itself; plain numbers, so that counting costs nothing."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from ingest.event_stores.base import AppendOutcome


@dataclass(slots=True)
class ServerCounters:
    started_at: float = field(default_factory=time.monotonic)
    last_activity: float = field(default_factory=time.monotonic)
    requests: Counter[int] = field(default_factory=Counter)  # by status
    refusals: Counter[str] = field(default_factory=Counter)  # by code
    appends: Counter[AppendOutcome] = field(default_factory=Counter)
    records: int = 0
    points: int = 0
    bytes: int = 0
    in_flight_bytes: int = 0
    blob_bytes_in: int = 0
    blob_bytes_out: int = 0
    open_streams: int = 0
