"""Which part a process plays in a run: it owns the run, or it joins one that others own.

The process that starts or resumes a run owns it: when it ends or dies, the run ends. All
others are further writers. The rules, first match wins:

    nested or a new id asked for         own a new run
    TRACKER_RUN_ID with TRACKER_RUN_OWNER  join: the owner's process wrote both for us
    TRACKER_RUN_ID or run_id=, rank > 0  join: rank 0 of the same launch owns it
    TRACKER_RUN_ID or run_id=            own: resume the run (or start it under that id)
    nothing                              own a new run
"""

from __future__ import annotations

import os
from typing import NamedTuple

from tracker import config
from tracker.events.errors import InvalidEvent
from tracker.events.ids import RunId, is_run_id, new_run_id
from tracker.spool.machine import host_name


class Part(NamedTuple):
    run_id: RunId
    is_owner: bool
    is_new: bool  # nobody else can have started the run
    is_inherited: bool = False  # the id came from the environment
    rank: int | None = None


def part_of(*, run_id: str | None, is_nested: bool) -> Part:
    """The part for start_run(run_id=…, nested=…) in this process. Raises InvalidEvent."""
    if run_id is not None and not (isinstance(run_id, str) and is_run_id(run_id)):
        raise InvalidEvent(
            f"run_id {run_id!r} is not one: letters, digits, - and _, at most 256, are allowed"
        )
    rank = config.rank()
    inherited, owner = config.inherited_run()
    if run_id is None and (is_nested or inherited is None):
        return Part(new_run_id(), is_owner=True, is_new=True, rank=rank)
    wanted = run_id or inherited
    assert wanted is not None
    is_inherited = wanted == inherited
    is_owned_elsewhere = is_inherited and owner is not None and owner != owner_name()
    return Part(
        RunId(wanted),
        is_owner=not is_owned_elsewhere and not rank,
        is_new=False,
        is_inherited=is_inherited,
        rank=rank,
    )


def owner_name() -> str:
    """This process as TRACKER_RUN_OWNER names it."""
    return f"{os.getpid()}@{host_name()}"
