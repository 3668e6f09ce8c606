"""From the arguments of start_run, the settings and the environment to a run that records.

A run that is new gets run.started. One that is gone on with gets run.started and
run.resumed: of several run.started the earliest stands for what a run is born with, so
the second one only matters where the first was never seen, for instance because the run's
id was handed out by a scheduler. A run that was only joined gets run.joined.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tracker import config, joining, notices, tag_names
from tracker.binding import Binding, binding_of
from tracker.config import ClientSettings, Mode
from tracker.destination import destination
from tracker.events import limits
from tracker.events.errors import InvalidEvent
from tracker.events.ids import is_run_id
from tracker.events.types import EventType, check_text
from tracker.exits import Outcome
from tracker.joining import Part
from tracker.names import name_for
from tracker.recording import Plan, Recording
from tracker.run import Run
from tracker.values import tag_text

EndRun = Callable[[Run, Outcome], None]
FlushRuns = Callable[[list[Run], float | None], bool]


class Asked(NamedTuple):
    """The arguments of start_run."""

    run_id: str | None = None
    experiment_id: str | None = None
    run_name: str | None = None
    is_nested: bool = False
    parent_run_id: str | None = None
    tags: Mapping[str, Any] | None = None
    description: str | None = None
    mode: str | None = None
    user: str | None = None
    snapshot: str | None = None


def start(
    asked: Asked,
    settings: ClientSettings,
    *,
    parent: Run | None,
    chosen: Binding | None,
    end: EndRun,
    flush: FlushRuns,
) -> Run:
    """Start, resume or join, and record that. Raises for what is wrong with `asked`."""
    part = joining.part_of(run_id=asked.run_id, is_nested=asked.is_nested)
    binding = binding_of(asked.experiment_id, chosen)
    name = _checked_name(asked.run_name) or name_for(part.run_id)
    plan = plan_of(
        part.run_id,
        settings,
        binding=binding,
        mode=_mode(asked.mode, parent, settings),
        run_name=name,
        rank=part.rank,
    )
    run = Run(
        recording=Recording(plan, is_owner=part.is_owner),
        name=name,
        experiment_id=binding.likely_id,
        user_id=asked.user or config.user_name(),
        start_time_us=time.time_ns() // 1000,
        parent_run_id=_parent_run_id(asked, parent),
        tags=_tags(asked),
        end=end,
        flush=flush,
    )
    if part.is_owner:
        run.is_new = part.is_new
        _record_start(run, part, binding, is_named=bool(asked.run_name))
        what = config.snapshot_of(asked.snapshot, settings)
        if part.is_new and what != "none" and plan.mode != "disabled":
            run.take_snapshot(what)
        _say_start(run, part, binding, settings)
    else:
        run.recording.open_joined()
        if run.tags:
            run.set_tags(run.tags)
    return run


def joined_run(
    run_id: str, settings: ClientSettings, *, end: EndRun, flush: FlushRuns, uri: str | None = None
) -> Run:
    """A handle for a run that somebody else owns; its writer opens with the first record.

    `uri`: where its records go, if not to the process's destination.
    """
    if not isinstance(run_id, str) or not is_run_id(run_id):
        raise InvalidEvent(f"run_id {run_id!r} is no run id")
    binding = Binding()
    plan = plan_of(
        run_id, settings, binding=binding, mode=settings.mode, rank=config.rank(), uri=uri
    )
    return Run(
        recording=Recording(plan, is_owner=False),
        name=run_id,
        experiment_id=binding.likely_id,
        user_id=config.user_name(),
        start_time_us=time.time_ns() // 1000,
        parent_run_id=None,
        tags={},
        end=end,
        flush=flush,
    )


def workspace_run(
    settings: ClientSettings, *, end: EndRun, flush: FlushRuns, uri: str | None = None
) -> Run:
    """A handle for facts and files that belong to no run."""
    plan = plan_of("", settings, binding=Binding(), mode=settings.mode, uri=uri)
    return Run(
        recording=Recording(plan, is_owner=False),
        name="",
        experiment_id="",
        user_id=config.user_name(),
        start_time_us=time.time_ns() // 1000,
        parent_run_id=None,
        tags={},
        end=end,
        flush=flush,
    )


def plan_of(
    run_id: str,
    settings: ClientSettings,
    *,
    binding: Binding,
    mode: Mode,
    run_name: str | None = None,
    rank: int | None = None,
    uri: str | None = None,
) -> Plan:
    return Plan(
        run_id=run_id,
        spool_dir=settings.spool_dir,
        workspace=settings.workspace,
        mode=mode,
        uri=destination().uri if uri is None else uri,
        durability=settings.durability,
        experiment_name=binding.name,
        experiment_id=binding.experiment_id,
        run_name=run_name,
        rank=rank,
    )


def _record_start(run: Run, part: Part, binding: Binding, *, is_named: bool) -> None:
    # A run that is resumed by its id keeps its name unless it is given one. Where the id
    # came with the environment nobody else may have named it yet, and the made-up name
    # follows from the id.
    name = run.name if is_named or part.is_new or part.is_inherited else None
    about = {
        tag_names.USER: run.user_id,
        tag_names.RUN_NAME: name,
        tag_names.PARENT_RUN_ID: run.parent_run_id,
    }
    if run.recording.plan.mode != "disabled":
        from tracker import context

        run.tags = {**context.context_tags(), **given(about), **run.tags}
    fact = {
        "experiment_name": binding.name,
        "experiment_id": binding.experiment_id,
        "name": name,
        "parent_run_id": run.parent_run_id,
        "user": run.user_id,
        "start_time_us": run.start_time_us,
        "tags": run.tags,
    }
    run.recording.open_with(EventType.RUN_STARTED, given(fact))
    if not part.is_new:
        run.recording.log_event(EventType.RUN_RESUMED, {})


def _say_start(run: Run, part: Part, binding: Binding, settings: ClientSettings) -> None:
    plan = run.recording.plan
    line = notices.started(
        verb="started" if part.is_new else "resumed",
        name=run.name,
        run_id=run.run_id,
        experiment=binding.shown,
        destination=plan.uri,
        spool=plan.spool_dir / plan.run_id,
        mode=plan.mode,
    )
    notices.notices.say(line, is_quiet=settings.is_quiet)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without those that are None."""
    return {key: value for key, value in values.items() if value is not None}


def _tags(asked: Asked) -> dict[str, str]:
    tags = {key: tag_text(key, value) for key, value in (asked.tags or {}).items()}
    if asked.description is not None:
        tags[tag_names.NOTE] = tag_text(tag_names.NOTE, asked.description)
    return tags


def _mode(asked: str | None, parent: Run | None, settings: ClientSettings) -> Mode:
    """What was passed, else as the run around it, else what the settings say."""
    if asked is not None:
        return config.parse_mode(asked, source="mode")
    return parent.recording.plan.mode if parent else settings.mode


def _parent_run_id(asked: Asked, parent: Run | None) -> str | None:
    if asked.parent_run_id is not None:
        if not isinstance(asked.parent_run_id, str) or not is_run_id(asked.parent_run_id):
            raise InvalidEvent(f"parent_run_id {asked.parent_run_id!r} is no run id")
        return asked.parent_run_id
    if not asked.is_nested:
        return None
    return parent.run_id if parent else config.inherited_run()[0]


def _checked_name(name: object) -> str | None:
    if name is None:
        return None
    characters_max = limits.RUN_NAME_CHARACTERS_MAX
    if not isinstance(name, str):
        raise InvalidEvent(f"run_name must be a string, not {type(name).__name__}")
    check_text(
        name,
        what="run_name",
        bytes_max=4 * characters_max,
        limit_name="run_name_characters_max",
    )
    if len(name) > characters_max:
        raise InvalidEvent(
            f"run_name has {len(name)} characters; at most {characters_max} are allowed "
            "(run_name_characters_max)"
        )
    return name
