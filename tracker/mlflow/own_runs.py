"""Runs that this process owns: when it dies, they have failed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tracker import config, starting
from tracker.binding import Binding
from tracker.events.types import EventType
from tracker.recording import Recording
from tracker.run import Run
from tracker.starting import EndRun, FlushRuns


def own_run(
    run_id: str,
    binding: Binding,
    settings: config.ClientSettings,
    end: EndRun,
    flush: FlushRuns,
    *,
    name: str,
    kind: EventType,
    fact: Mapping[str, Any],
    uri: str,
) -> Run:
    """Its spool begins with `fact`: run.started, or run.resumed for one that had ended."""
    plan = starting.plan_of(
        run_id,
        settings,
        binding=binding,
        mode=settings.mode,
        run_name=name,
        rank=config.rank(),
        uri=uri,
    )
    run = Run(
        recording=Recording(plan, is_owner=True),
        name=name,
        experiment_id=binding.likely_id,
        user_id=str(fact.get("user") or ""),
        start_time_us=int(fact.get("start_time_us") or time.time_ns() // 1000),
        parent_run_id=fact.get("parent_run_id"),
        tags=dict(fact.get("tags") or {}),
        end=end,
        flush=flush,
    )
    run.recording.open_with(kind, fact)
    return run
