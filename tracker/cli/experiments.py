"""`tracker experiments`: create, search, rename, delete and restore."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Final

import click

from tracker.cli.connection import connected, failures_told
from tracker.cli.formats import ago, count, json_form, printable
from tracker.cli.grid import Column, print_grid
from tracker.cli.lookup import find_experiment
from tracker.cli.options import connection_options, option, repeatable_option, view_option
from tracker.cli.output import json_option, note, result, result_json
from tracker.client import Client
from tracker.entities import Experiment

PAGE_DEFAULT: Final = 100


@click.group("experiments")
def command() -> None:
    """Create, search, rename, delete and restore experiments."""


@command.command("create")
@click.argument("name")
@repeatable_option("--tag", "tags", env="TRACKER_EXPERIMENTS_TAG", metavar="KEY=VALUE",
        help="A tag to set.")  # fmt: skip
@option("--artifact-location", env="TRACKER_EXPERIMENTS_ARTIFACT_LOCATION", metavar="URI",
        help="Where artifacts of its runs go. [default: the server's choice]")  # fmt: skip
@connection_options
@json_option
def create(
    name: str,
    tags: tuple[str, ...],
    artifact_location: str | None,
    uri: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Create the experiment NAME and print its id."""
    parsed = dict(_tag(text) for text in tags)
    with connected(uri, api_key) as client:
        experiment_id = client.create_experiment(name, artifact_location, parsed)
        if as_json:
            result_json(_json(client.get_experiment(experiment_id)))
            return
    result(experiment_id)
    note(f"created experiment {printable(name)!r}")


@command.command("search")
@option("--filter", "filter_text", env="TRACKER_EXPERIMENTS_FILTER", default="", metavar="TEXT",
        help="For example: name LIKE 'digits%' AND tags.team = 'vision'.")  # fmt: skip
@repeatable_option("--order-by", env="TRACKER_EXPERIMENTS_ORDER_BY", metavar="FIELD [ASC|DESC]",
        help="For example: name DESC.")  # fmt: skip
@option("--max-results", env="TRACKER_EXPERIMENTS_MAX_RESULTS", type=click.IntRange(1),
        default=PAGE_DEFAULT, show_default=True, help="How many to show.")  # fmt: skip
@view_option("TRACKER_EXPERIMENTS_VIEW")
@connection_options
@json_option
def search(
    filter_text: str,
    order_by: tuple[str, ...],
    max_results: int,
    view: str,
    uri: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """List experiments, latest change first."""
    with connected(uri, api_key) as client, failures_told(filter_text=filter_text):
        found = client.search_experiments(view, max_results, filter_text, order_by)
    if as_json:
        result_json([_json(experiment) for experiment in found])
        return
    if found:
        _print_table(found)
    shown = count(len(found), "experiment")
    note(f"{shown}, and there are more: raise --max-results" if found.token else shown)


@command.command("rename")
@click.argument("experiment")
@click.argument("new_name")
@connection_options
@json_option
def rename(
    experiment: str, new_name: str, uri: str | None, api_key: str | None, as_json: bool
) -> None:
    """Rename EXPERIMENT (a name or an id) to NEW_NAME."""
    with connected(uri, api_key) as client:
        found = find_experiment(client, experiment)
        client.rename_experiment(found.experiment_id, new_name)
        _tell(client, found, f"renamed {found.name!r} to {new_name!r}", as_json=as_json)


@command.command("delete")
@click.argument("experiment")
@connection_options
@json_option
def delete(experiment: str, uri: str | None, api_key: str | None, as_json: bool) -> None:
    """Delete EXPERIMENT (a name or an id); it can be restored, and its name is free again."""
    with connected(uri, api_key) as client:
        found = find_experiment(client, experiment)
        client.delete_experiment(found.experiment_id)
        undo = f"undo: tracker experiments restore {found.experiment_id}"
        _tell(client, found, f"deleted {found.name!r} ({undo})", as_json=as_json)


@command.command("restore")
@click.argument("experiment")
@connection_options
@json_option
def restore(experiment: str, uri: str | None, api_key: str | None, as_json: bool) -> None:
    """Bring the deleted EXPERIMENT (a name or an id) back."""
    with connected(uri, api_key) as client:
        found = find_experiment(client, experiment)
        client.restore_experiment(found.experiment_id)
        _tell(client, found, f"restored {found.name!r}", as_json=as_json)


def _tell(client: Client, changed: Experiment, text: str, *, as_json: bool) -> None:
    """Say what was done; as JSON, what the experiment has become."""
    if as_json:
        result_json(_json(client.get_experiment(changed.experiment_id)))
    else:
        note(printable(text, characters_max=1000))


def _print_table(found: list[Experiment]) -> None:
    now_us = time.time_ns() // 1000
    columns = [
        Column("ID", [e.experiment_id for e in found]),
        Column("NAME", [printable(e.name) for e in found]),
        Column("RUNS", [f"{e.run_count:,}" for e in found], is_right=True),
        Column("LAST RUN", [ago(e.last_run_time_us, now_us=now_us) for e in found]),
        Column("CREATED", [ago(e.creation_time_us, now_us=now_us) for e in found]),
    ]
    if any(e.lifecycle_stage != "active" for e in found):
        columns.append(Column("STAGE", [e.lifecycle_stage for e in found]))
    print_grid(columns)


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--tag")
    return key, value


def _json(experiment: Experiment) -> object:
    return json_form(asdict(experiment))
