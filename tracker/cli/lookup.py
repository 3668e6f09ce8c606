"""From what a person types to a run or an experiment, or to the nearest there is."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tracker.async_client import quoted
from tracker.cli.connection import CommandFailed
from tracker.cli.formats import printable, short_id
from tracker.client import Client
from tracker.entities import Experiment, RunRecord
from tracker.events.ids import is_run_id
from tracker.refusals import ExperimentNotFound, RunNotFound
from tracker.views import ViewType

# How many runs are looked through for similar names when there is no match.
NEAR_RUNS_MAX = 500
MATCHES_SHOWN = 5


def find_run(client: Client, text: str) -> RunRecord:
    """The run of this id, id prefix or name, deleted ones included. Raises CommandFailed."""
    if is_run_id(text):
        try:
            return client.get_run(text)
        except RunNotFound:
            pass
    # In LIKE an underscore stands for any character, so matches are held against the text.
    found = client.search_runs(
        filter_string=f"run_id LIKE {quoted(text + '%')} OR run_name = {quoted(text)}",
        run_view_type=ViewType.ALL,
        max_results=100,
    )
    matches = [r for r in found if r.info.run_id.startswith(text) or r.info.run_name == text]
    if len(matches) > 1:
        # A name that was used again: the one that is not deleted is meant.
        matches = [r for r in matches if r.info.lifecycle_stage == "active"] or matches
    if len(matches) == 1:
        return client.get_run(matches[0].info.run_id)
    if matches:
        raise CommandFailed(
            f"{printable(text)!r} means {len(matches)} runs: {_listed(matches)}",
            hint="Name one by more of its id.",
        )
    raise CommandFailed(f"there is no run {printable(text)!r}", hint=_near_run(client, text))


def find_experiment(client: Client, text: str) -> Experiment:
    """The experiment of this name or id, deleted ones included. Raises CommandFailed."""
    named = client.get_experiment_by_name(text)
    if named is not None:
        return named
    try:
        return client.get_experiment(text)
    except ExperimentNotFound:
        pass
    known = client.search_experiments(view_type=ViewType.ALL)
    near = difflib.get_close_matches(text, [e.name for e in known], n=1)
    hint = f"Did you mean {printable(near[0])!r}? " if near else ""
    raise CommandFailed(
        f"there is no experiment {printable(text)!r}",
        hint=f"{hint}`tracker experiments search` lists them.",
    )


def experiment_names(client: Client, experiment_ids: Sequence[str]) -> dict[str, str]:
    """id -> name of experiments that runs belong to; an unknown id names itself."""
    wanted = sorted(set(experiment_ids))
    if not wanted:
        return {}
    condition = f"experiment_id IN ({', '.join(map(quoted, wanted))})"
    found = client.search_experiments(view_type=ViewType.ALL, filter_string=condition)
    return {**dict(zip(wanted, wanted, strict=True)), **{e.experiment_id: e.name for e in found}}


def _near_run(client: Client, text: str) -> str:
    recent = client.search_runs(run_view_type=ViewType.ALL, max_results=NEAR_RUNS_MAX)
    containing = [r for r in recent if text.lower() in r.info.run_name.lower()]
    if containing:
        return f"Did you mean {_listed(containing)}?"
    by_word = {r.info.run_name: r for r in recent} | {r.info.run_id: r for r in recent}
    # Against whole ids a mistyped prefix never looks similar, so prefixes are compared too.
    by_word |= {r.info.run_id[: len(text)]: r for r in recent}
    near = difflib.get_close_matches(text, list(by_word), n=1)
    if near:
        return f"Did you mean {_listed([by_word[near[0]]])}?"
    if not recent:
        return "There are no runs yet. What was logged may still be in the spool: tracker sync"
    return "`tracker runs search` lists runs; an id, the start of one, or a name will do."


def _listed(runs: Sequence[RunRecord]) -> str:
    shown = [
        f"{printable(r.info.run_name)} ({short_id(r.info.run_id)})" for r in runs[:MATCHES_SHOWN]
    ]
    rest = [f"{len(runs) - MATCHES_SHOWN} more"] if len(runs) > MATCHES_SHOWN else []
    return ", ".join(shown + rest)
