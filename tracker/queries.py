"""The fluent functions that ask a server, or edit what it has.

Unlike logging these wait and may fail: they raise a QueryFailed of tracker.refusals. What
this process has logged is seen by its own queries, as far as it can be delivered within
five seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from tracker import config
from tracker.binding import binding_of
from tracker.destination import destination, parse_uri
from tracker.fluent import session
from tracker.refusals import QueryFailed

if TYPE_CHECKING:
    from tracker.client import Client
    from tracker.entities import Experiment, Metric, RunRecord

# How long a query waits at least for what this process has logged before it. A shipper that
# has just been started needs one second, on a crowded machine three. Who lets the end of a run
# wait for longer lets a query, too.
_OWN_WRITES_WAIT_S: Final = 5.0
_OWN_WRITES_POLL_S: Final = 0.01

OutputFormat = Literal["pandas", "polars", "arrow", "list"]


class _Clients:
    """One client per destination, kept for its connections."""

    def __init__(self) -> None:
        self.unanswered = 0  # waits in a row that nothing came of; each halves the next
        self._clients: dict[tuple[str, str, str | None], Client] = {}
        self._lock = threading.Lock()

    def client(self, uri: str | None = None) -> Client:
        from tracker.client import Client

        asked = destination().uri if uri is None else parse_uri(uri, source="tracking_uri")
        key = (asked, config.workspace(), config.api_key())
        with self._lock:
            if key not in self._clients:
                self._clients[key] = Client(key[0], key[2], workspace=key[1])
            return self._clients[key]


_clients: Final = _Clients()


def client(uri: str | None = None, *, with_artifacts: bool = False) -> Client:
    """A client of `uri`, or of the present destination, whose answers include what was logged here.

    Files may take long to upload; only questions about artifacts wait for them.
    """
    found = _clients.client(uri)
    unseen = session.unseen_writes(found.uri, with_artifacts=with_artifacts)
    if unseen:
        deadline = time.monotonic() + _own_writes_wait_s() / 2**_clients.unanswered
        for writer_id, next_seq in unseen:
            if _is_delivered(found, writer_id, next_seq, deadline=deadline):
                session.saw_writes(writer_id, next_seq)
                _clients.unanswered = 0
            else:
                _clients.unanswered = min(_clients.unanswered + 1, 10)
    return found


def _own_writes_wait_s() -> float:
    return max(_OWN_WRITES_WAIT_S, config.client_settings().exit_wait_s)


def _is_delivered(found: Client, writer_id: str, next_seq: int, *, deadline: float) -> bool:
    session.ring()
    while True:
        try:
            writer = found.get_writer(writer_id)
        except QueryFailed:
            writer = None  # not heard of yet, or not to be asked: the query itself will tell
        if writer is not None and writer.next_seq >= next_seq:
            found.saw_position(writer.last_position)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_OWN_WRITES_POLL_S)


# -- experiments ------------------------------------------------------------------------


def get_experiment(experiment_id: str) -> Experiment:
    return client().get_experiment(str(experiment_id))


def get_experiment_by_name(name: str) -> Experiment | None:
    """The experiment of this name, an active one first; None if there is none."""
    return client().get_experiment_by_name(name)


def search_experiments(
    view_type: str | int = "active_only",
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: Sequence[str] | None = None,
) -> list[Experiment]:
    """All experiments that match, or the first `max_results`. Raises InvalidQuery."""
    return client().search_experiments(view_type, max_results, filter_string, order_by)


def rename_experiment(experiment_id: str, new_name: str) -> None:
    client().rename_experiment(str(experiment_id), new_name)


def delete_experiment(experiment_id: str) -> None:
    """Delete an experiment; restore_experiment brings it back."""
    client().delete_experiment(str(experiment_id))


def restore_experiment(experiment_id: str) -> None:
    client().restore_experiment(str(experiment_id))


# -- runs -------------------------------------------------------------------------------


def get_run(run_id: str) -> RunRecord:
    """The run as the server knows it. Raises RunNotFound."""
    return client().get_run(run_id)


def get_parent_run(run_id: str) -> RunRecord | None:
    """The run that this one is nested in; None if it is nested in none."""
    found = client()
    parent_run_id = found.get_run(run_id).info.parent_run_id
    return None if parent_run_id is None else found.get_run(parent_run_id)


def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: str | int = "active_only",
    max_results: int = 100_000,
    order_by: Sequence[str] | None = None,
    output_format: OutputFormat = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
) -> Any:
    """The runs that match, newest first unless `order_by` says else.

    Without experiments these are the runs of the present one (see set_experiment), unless
    `search_all_experiments`. `output_format`: a pandas, polars or arrow table, or "list"
    for RunRecords. Raises InvalidQuery.
    """
    if not experiment_ids and not experiment_names and not search_all_experiments:
        present = binding_of(None, session.chosen)
        experiment_names = [present.shown] if present.experiment_id is None else None
        experiment_ids = [present.experiment_id] if present.experiment_id else None
    found = client().search_runs(
        experiment_ids,
        filter_string,
        run_view_type,
        max_results,
        order_by,
        experiment_names=experiment_names,
    )
    if output_format == "list":
        return list(found)
    from tracker.frames import runs_frame

    return runs_frame(found, output_format)


def delete_run(run_id: str) -> None:
    """Delete a run; restore_run brings it back."""
    client().delete_run(run_id)


def restore_run(run_id: str) -> None:
    client().restore_run(run_id)


def get_metric_history(run_id: str, key: str) -> list[Metric]:
    """Every point of a metric, exactly as logged, in order of step."""
    return client().get_metric_history(run_id, key)
