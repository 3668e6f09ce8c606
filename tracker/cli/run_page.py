"""Everything about one run, readable: `tracker runs show`."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from tracker.cli.formats import ago, count, moment, number, printable, short_id, span
from tracker.cli.grid import Column, heading, pairs, print_grid, status_word
from tracker.cli.output import result
from tracker.entities import MetricSummary, RunInfo, RunRecord, Writer

METRICS_SHOWN_MAX = 200


def print_run(run: RunRecord, *, experiment: str, parent: str | None) -> None:
    """Print all that is known; `experiment` and `parent` are names, None for no parent."""
    now_us = time.time_ns() // 1000
    info = run.info
    name = click.style(printable(info.run_name), bold=True)
    result(f"{name}  {status_word(info.status, info.liveness)}")
    pairs(_about(run, experiment=experiment, parent=parent, now_us=now_us))
    _print_metrics(run)
    _print_texts("Params", run.data.params)
    _print_conflicts(run)
    _print_texts("Tags", run.data.tags)
    _print_writers(run.writers, now_us=now_us)


def _about(
    run: RunRecord, *, experiment: str, parent: str | None, now_us: int
) -> list[tuple[str, str]]:
    info = run.info
    entries = [
        ("run id", info.run_id),
        ("experiment", f"{printable(experiment)} ({info.experiment_id})"),
        ("user", printable(info.user_id)),
        ("started", f"{moment(info.start_time_us)} ({ago(info.start_time_us, now_us=now_us)})"),
    ]
    if parent is not None:
        entries.insert(2, ("parent", printable(parent)))
    if info.end_time_us is not None:
        took = f"after {span(info.duration_us)}"
        entries.append(("ended", f"{moment(info.end_time_us)} ({took})"))
    if info.end_reason:
        detail = f": {info.end_detail}" if info.end_detail else ""
        entries.append(("reason", printable(info.end_reason + detail, characters_max=1000)))
    if info.status == "RUNNING":
        entries.append(("liveness", _liveness(info)))
    if info.lifecycle_stage != "active":
        undo = f"tracker runs restore {short_id(info.run_id)}"
        entries.append(("stage", f"{info.lifecycle_stage} (undo: {undo})"))
    if run.dropped:
        lost = f"{count(run.dropped, 'record')} lost by the client; see tracker events"
        entries.append(("dropped", click.style(lost, fg="red")))
    return entries


def _liveness(info: RunInfo) -> str:
    if info.liveness == "live":
        return "live: a writer reports"
    return "lost: no writer reports; late data is still accepted and revives it"


def metric_columns(summaries: Mapping[str, MetricSummary]) -> list[Column]:
    """A table of metrics: last, min, max with their steps, first, how many points."""
    values = list(summaries.values())
    columns = [
        Column("KEY", [printable(key) for key in summaries]),
        Column("LAST", [number(s.last) for s in values], is_right=True),
        Column("STEP", [f"{s.last_step:,}" for s in values], is_right=True),
        Column("MIN", [number(s.min) for s in values], is_right=True),
        Column("AT", [_step(s.min_step) for s in values], is_right=True),
        Column("MAX", [number(s.max) for s in values], is_right=True),
        Column("AT", [_step(s.max_step) for s in values], is_right=True),
        Column("FIRST", [number(s.first) for s in values], is_right=True, leave_out=1),
        Column("POINTS", [f"{s.count:,}" for s in values], is_right=True),
    ]
    if any(s.nan_count for s in values):
        columns.append(Column("NaN", [f"{s.nan_count:,}" for s in values], is_right=True))
    return columns


def _print_metrics(run: RunRecord) -> None:
    summaries = sorted(run.data.summaries.items())
    if not summaries:
        return
    heading(f"Metrics ({len(summaries):,})")
    print_grid(metric_columns(dict(summaries[:METRICS_SHOWN_MAX])))
    if len(summaries) > METRICS_SHOWN_MAX:
        result(f"… and {len(summaries) - METRICS_SHOWN_MAX:,} more: --json prints all")


def _print_texts(title: str, texts: Mapping[str, str]) -> None:
    if texts:
        heading(f"{title} ({len(texts):,})")
        pairs([(printable(key), printable(value)) for key, value in sorted(texts.items())])


def _print_conflicts(run: RunRecord) -> None:
    if not run.conflicts:
        return
    heading(f"Conflicts ({len(run.conflicts):,}): params that were logged with another value too")
    pairs(
        [
            (
                printable(conflict.key),
                f"{printable(run.data.params.get(conflict.key, ''))} stands; "
                f"{printable(conflict.value)} came from writer {short_id(conflict.writer_id)}",
            )
            for conflict in run.conflicts
        ]
    )


def _print_writers(writers: tuple[Writer, ...], *, now_us: int) -> None:
    if not writers:
        return
    heading(f"Writers ({len(writers):,})")
    about = [
        Column(name.upper(), [_about_text(writer, name) for writer in writers])
        for name in ("host", "pid", "rank")
    ]
    print_grid(
        [
            Column("WRITER", [short_id(writer.writer_id) for writer in writers]),
            *(column for column in about if any(column.cells)),
            Column("RECORDS", [f"{writer.next_seq - 1:,}" for writer in writers], is_right=True),
            Column("LAST POSITION", [f"{w.last_position:,}" for w in writers], is_right=True),
            Column("LEASE", [_lease(writer, now_us) for writer in writers]),
        ]
    )


def _about_text(writer: Writer, name: str) -> str:
    value = writer.about.get(name)
    return "" if value is None else printable(str(value))


def _lease(writer: Writer, now_us: int) -> str:
    expires_us = writer.lease_expires_us
    if expires_us is None:
        return "none"
    left_us = expires_us - now_us
    return f"{span(left_us)} left" if left_us > 0 else "expired"


def _step(step: int | None) -> str:
    return "" if step is None else f"{step:,}"
