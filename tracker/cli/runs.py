"""`tracker runs`: search, show, compare, delete and restore."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import click

from tracker.cli.as_of import as_of_of, as_of_options
from tracker.cli.connection import connected, failures_told
from tracker.cli.formats import count, json_form, printable, short_id
from tracker.cli.grid import print_grid
from tracker.cli.lookup import experiment_names, find_experiment, find_run
from tracker.cli.options import connection_options, option, repeatable_option, view_option
from tracker.cli.output import json_option, note, result_json
from tracker.cli.run_columns import chosen_columns, default_columns
from tracker.cli.run_comparison import compare, comparison_json, print_comparison
from tracker.cli.run_page import print_run
from tracker.client import Client
from tracker.entities import RunRecord
from tracker.refusals import ApiRefusal

PAGE_DEFAULT: Final = 50
COMPARED_MAX: Final = 20


@click.group("runs")
def command() -> None:
    """Search, show, compare, delete and restore runs.

    Where a RUN is asked for, its id, the beginning of its id, or its name will do.
    """


@command.command("search")
@repeatable_option("--experiment", "-e", "experiments", env="TRACKER_RUNS_EXPERIMENT",
        metavar="NAME", help="Only runs of this experiment (name or id).")  # fmt: skip
@option("--filter", "filter_text", env="TRACKER_RUNS_FILTER", default="", metavar="TEXT",
        help="For example: metrics.loss.min < 0.1 AND params.lr = '0.01'.")  # fmt: skip
@repeatable_option("--order-by", env="TRACKER_RUNS_ORDER_BY", metavar="FIELD [ASC|DESC]",
        help="For example: metrics.loss ASC. [default: newest first]")  # fmt: skip
@option("--max-results", env="TRACKER_RUNS_MAX_RESULTS", type=click.IntRange(1),
        default=PAGE_DEFAULT, show_default=True, help="How many to show.")  # fmt: skip
@option("--columns", env="TRACKER_RUNS_COLUMNS", metavar="LIST",
        help="What to show, such as name,status,metrics.loss.min,params.lr,tags.team.")  # fmt: skip
@view_option("TRACKER_RUNS_VIEW")
@as_of_options("RUNS")
@connection_options
@json_option
def search(
    experiments: tuple[str, ...],
    filter_text: str,
    order_by: tuple[str, ...],
    max_results: int,
    columns: str | None,
    view: str,
    as_of: int | None,
    as_of_position: int | None,
    uri: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """List runs, newest first.

    The filter is MLflow's language and more: AND, OR, NOT, parentheses, IN, LIKE, RLIKE,
    IS NULL, metrics.KEY.min, duration > 1h, start_time > now-7d.
    """
    then = as_of_of(as_of, as_of_position)
    with connected(uri, api_key) as client, failures_told(filter_text=filter_text):
        ids = [find_experiment(client, name).experiment_id for name in experiments]
        found = client.search_runs(ids, filter_text, view, max_results, order_by, **then)
        if as_json:
            result_json([json_form(run.to_dictionary()) for run in found])
        elif columns:
            print_grid(chosen_columns(found, columns))
        elif found:
            names = experiment_names(client, [run.info.experiment_id for run in found])
            now_us = time.time_ns() // 1000
            print_grid(
                default_columns(found, experiments=names, now_us=now_us),
                note_left_out=" (choose with --columns, or see all with --json)",
            )
    if not as_json:
        _tell_count(found, has_more=found.token is not None)


@command.command("show")
@click.argument("run")
@as_of_options("RUNS")
@connection_options
@json_option
def show(
    run: str,
    as_of: int | None,
    as_of_position: int | None,
    uri: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Show everything about RUN: times, how it ended, metrics, params, tags, writers."""
    then = as_of_of(as_of, as_of_position)
    with connected(uri, api_key) as client:
        found = find_run(client, run)
        if then:
            found = client.get_run(found.info.run_id, **then)
        if as_json:
            result_json(json_form(found.to_dictionary()))
            return
        experiment_id = found.info.experiment_id
        names = experiment_names(client, [experiment_id])
        print_run(found, experiment=names[experiment_id], parent=_parent(client, found))


@command.command("compare")
@click.argument("runs", nargs=-1, required=True)
@option("--only-different", env="TRACKER_RUNS_ONLY_DIFFERENT", is_flag=True,
        help="Leave out what is the same in all runs.")  # fmt: skip
@connection_options
@json_option
def compare_runs(
    runs: tuple[str, ...], only_different: bool, uri: str | None, api_key: str | None, as_json: bool
) -> None:
    """Show RUNS side by side, with what differs marked."""
    if not 2 <= len(runs) <= COMPARED_MAX:
        raise click.UsageError(f"name 2 to {COMPARED_MAX} runs to compare")
    with connected(uri, api_key) as client:
        found = [find_run(client, text) for text in runs]
    lines = compare(found, only_different=only_different)
    if as_json:
        result_json(comparison_json(found, lines))
        return
    print_comparison(found, lines)
    if not lines:
        note("the runs do not differ")


@command.command("delete")
@click.argument("runs", nargs=-1, required=True)
@connection_options
@json_option
def delete(runs: tuple[str, ...], uri: str | None, api_key: str | None, as_json: bool) -> None:
    """Delete RUNS; they can be restored."""
    with connected(uri, api_key) as client:
        found = [find_run(client, text) for text in runs]
        for run in found:
            client.delete_run(run.info.run_id)
            if not as_json:
                undo = f"undo: tracker runs restore {short_id(run.info.run_id)}"
                note(f"deleted {printable(run.info.run_name)} ({undo})")
        _print_json(client, found, as_json=as_json)


@command.command("restore")
@click.argument("runs", nargs=-1, required=True)
@connection_options
@json_option
def restore(runs: tuple[str, ...], uri: str | None, api_key: str | None, as_json: bool) -> None:
    """Bring deleted RUNS back."""
    with connected(uri, api_key) as client:
        found = [find_run(client, text) for text in runs]
        for run in found:
            client.restore_run(run.info.run_id)
            if not as_json:
                note(f"restored {printable(run.info.run_name)}")
        _print_json(client, found, as_json=as_json)


def _print_json(client: Client, changed: Sequence[RunRecord], *, as_json: bool) -> None:
    if as_json:
        after = [client.get_run(run.info.run_id) for run in changed]
        result_json([json_form(run.to_dictionary()) for run in after])


def _tell_count(found: Sequence[RunRecord], *, has_more: bool) -> None:
    shown = count(len(found), "run")
    note(f"{shown}, and there are more: raise --max-results" if has_more else shown)


def _parent(client: Client, run: RunRecord) -> str | None:
    parent_run_id = run.info.parent_run_id
    if parent_run_id is None:
        return None
    try:
        parent = client.get_run(parent_run_id)
    except ApiRefusal:
        return parent_run_id  # It has not arrived yet; children may come first.
    return f"{parent.info.run_name} ({short_id(parent_run_id)})"
