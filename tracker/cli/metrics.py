"""`tracker metrics`: one metric of a run as a plot, as exact numbers, or the list of them."""

from __future__ import annotations

import csv
import difflib
import shutil
import sys
from typing import Final

import click

from tracker.cli.as_of import AsOf, as_of_of, as_of_options
from tracker.cli.connection import CommandFailed, connected
from tracker.cli.formats import count, json_form, number, printable, short_id
from tracker.cli.grid import print_grid
from tracker.cli.lookup import find_run
from tracker.cli.options import connection_options, option
from tracker.cli.output import json_option, note, result, result_json
from tracker.cli.plot import draw, is_drawable
from tracker.cli.run_page import metric_columns
from tracker.client import Client
from tracker.entities import MetricSummary, RunRecord

HEIGHT_MAX_DEFAULT: Final = 24
BUCKETS_PER_CHARACTER: Final = 2


@click.command("metrics")
@click.argument("run")
@click.argument("key", required=False)
@option("--log", env="TRACKER_METRICS_LOG", is_flag=True, help="Logarithmic values.")
@option("--start-step", env="TRACKER_METRICS_START_STEP", type=int, metavar="STEP",
        help="Leave out what is before this step.")  # fmt: skip
@option("--end-step", env="TRACKER_METRICS_END_STEP", type=int, metavar="STEP",
        help="Leave out what is after this step.")  # fmt: skip
@option("--width", env="TRACKER_METRICS_WIDTH", type=click.IntRange(20, 1000),
        help="Characters across. [default: the terminal's]")  # fmt: skip
@option("--height", env="TRACKER_METRICS_HEIGHT", type=click.IntRange(6, 500),
        help="Lines down. [default: what fits, at most 24]")  # fmt: skip
@option("--csv", "as_csv", env="TRACKER_METRICS_CSV", is_flag=True,
        help="Print every point: step,time_us,value.")  # fmt: skip
@as_of_options("METRICS")
@connection_options
@json_option
def command(
    run: str,
    key: str | None,
    log: bool,
    start_step: int | None,
    end_step: int | None,
    width: int | None,
    height: int | None,
    as_csv: bool,
    as_of: int | None,
    as_of_position: int | None,
    uri: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Plot the metric KEY of RUN; without KEY, list the metrics of RUN.

    The plot shows every spike: each column of dots reaches from the true minimum to the
    true maximum of its steps. --json and --csv print the exact points.
    """
    then = as_of_of(as_of, as_of_position)
    with connected(uri, api_key) as client:
        found = find_run(client, run)
        if then:
            found = client.get_run(found.info.run_id, **then)
        if key is None:
            _print_keys(found, as_json=as_json)
            return
        if key not in found.data.summaries:
            raise _unknown_key(found, key)
        if as_csv or as_json:
            _print_points(client, found, key, start_step, end_step, then, as_csv=as_csv)
            return
        columns, rows = _size(width, height)
        series = client.metric_buckets(
            found.info.run_id, key, buckets=columns * BUCKETS_PER_CHARACTER,
            start_step=start_step, end_step=end_step, **then,
        )  # fmt: skip
    if not is_drawable(series, log=log):
        raise CommandFailed(
            f"{printable(key)} has no {'positive ' if log else ''}number to draw "
            f"among {count(series.points, 'point')} there",
            hint="--csv prints the points." if series.points else "",
        )
    _print_title(found, key, found.data.summaries[key], series.points)
    result("\n".join(draw(series, width=columns, height=rows, log=log)))


def _print_title(run: RunRecord, key: str, summary: MetricSummary, points: int) -> None:
    name = f"{printable(run.info.run_name)} ({short_id(run.info.run_id)})"
    result(f"{click.style(printable(key), bold=True)}  {name}, {count(points, 'point')}")
    parts = [f"last {number(summary.last)} at {summary.last_step:,}"]
    if summary.min is not None and summary.min_step is not None:
        parts.append(f"min {number(summary.min)} at {summary.min_step:,}")
    if summary.max is not None and summary.max_step is not None:
        parts.append(f"max {number(summary.max)} at {summary.max_step:,}")
    if summary.nan_count:
        parts.append(f"{summary.nan_count:,} NaN")
    result(click.style(" · ".join(parts), fg="bright_black"))


def _print_keys(run: RunRecord, *, as_json: bool) -> None:
    summaries = dict(sorted(run.data.summaries.items()))
    if as_json:
        result_json(json_form(run.to_dictionary()["data"]["summaries"]))
    elif summaries:
        print_grid(metric_columns(summaries))
        note(f"{count(len(summaries), 'metric')}; plot one with: tracker metrics RUN KEY")
    else:
        note("the run has no metrics")


def _print_points(
    client: Client,
    run: RunRecord,
    key: str,
    start_step: int | None,
    end_step: int | None,
    then: AsOf,
    *,
    as_csv: bool,
) -> None:
    """Every point, page by page, so that a long series needs little memory."""
    run_id = run.info.run_id
    pages = client.iter_metric_history(
        run_id, key, start_step=start_step, end_step=end_step, **then
    )
    if not as_csv:
        points = [
            {"step": point.step, "time_us": point.timestamp_us, "value": json_form(point.value)}
            for page in pages
            for point in page
        ]
        result_json({"run_id": run_id, "key": key, "points": points})
        return
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("step", "time_us", "value"))
    for page in pages:
        rows.writerows(zip(page.steps, page.times_us, map(repr, page.values), strict=True))


def _unknown_key(run: RunRecord, key: str) -> CommandFailed:
    known = sorted(run.data.summaries)
    near = difflib.get_close_matches(key, known, n=3) or known[:5]
    there = f"Did you mean {', '.join(map(printable, near))}?" if near else "It has no metrics."
    name = printable(run.info.run_name)
    return CommandFailed(f"{name} has no metric {printable(key)!r}", hint=there)


def _size(width: int | None, height: int | None) -> tuple[int, int]:
    terminal = shutil.get_terminal_size((100, 30))
    return width or terminal.columns, height or max(8, min(terminal.lines - 5, HEIGHT_MAX_DEFAULT))
