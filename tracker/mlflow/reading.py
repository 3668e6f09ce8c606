"""Runs as they are read: the server's answer, overlaid with what it has not got yet.

Without a server, what this machine recorded is the answer; where that is less than a server
would say, a warning says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from mlflow.entities import Metric, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchUtils

from tracker import config
from tracker.mlflow import entities, spooled
from tracker.mlflow.asking import AskingStore
from tracker.mlflow.errors import Unreachable, is_not_found
from tracker.mlflow.recorder import Recorder

_logger: Final = logging.getLogger("tracker.mlflow")

# A read waits so long for what this process wrote just before; a shipper takes milliseconds.
_OWN_WRITES_WAIT_S: Final = 1.0


class Reading:
    def __init__(self, recorder: Recorder, rest: AskingStore) -> None:
        self._recorder = recorder
        self._rest = rest
        self._statuses: dict[str, str] = {}

    def is_delivered(self, run_id: str) -> bool:
        """Whether the server's answer includes what this machine recorded; waits a moment."""
        wait_s = _OWN_WRITES_WAIT_S if self._rest.server.address() is not None else 0.0
        return self._recorder.is_delivered(run_id, wait_s=wait_s)

    def status(self, run_id: str) -> str | None:
        """The status that was recorded here, or last read; None for a run nobody here knows."""
        return self._recorder.pending(run_id).status or self._statuses.get(run_id)

    def run(self, run_id: str) -> Run:
        is_delivered = self.is_delivered(run_id)
        try:
            found = self._rest.get_run(run_id)
        except Unreachable:
            pending = self._recorder.pending(run_id)
            if not pending.is_begun:
                raise
            return entities.run_of(pending)
        except MlflowException as error:
            pending = self._recorder.pending(run_id)
            if not is_not_found(error) or not pending.is_begun:
                raise
            return entities.run_of(pending)
        self._statuses[run_id] = found.info.status
        if is_delivered:
            return entities.with_own_uri(found)
        return entities.run_of(self._recorder.pending(run_id), found)

    def metric_history(
        self,
        run_id: str,
        metric_key: str,
        max_results: int | None,
        page_token: str | None,
    ) -> PagedList[Metric]:
        is_delivered = self.is_delivered(run_id)
        try:
            found = self._rest.get_metric_history(run_id, metric_key, max_results, page_token)
        except Unreachable:
            if not self._recorder.pending(run_id).is_begun:
                raise
            _logger.warning(
                "no server answers: the history of %s is what still lies in this machine's spool",
                metric_key,
            )
            return PagedList(self._spooled_points(run_id, metric_key), None)
        except MlflowException as error:
            pending = self._recorder.pending(run_id)
            if not is_not_found(error) or not pending.is_begun:
                raise
            return PagedList(self._spooled_points(run_id, metric_key), None)
        if is_delivered or page_token or found.token:
            return found
        # Undelivered points may be among the server's by now: each is listed once.
        known = {(m.step, m.timestamp, repr(m.value)) for m in found}
        more = self._spooled_points(run_id, metric_key)
        fresh = [m for m in more if (m.step, m.timestamp, repr(m.value)) not in known]
        return PagedList([*found, *fresh], None)

    def _spooled_points(self, run_id: str, key: str) -> list[Metric]:
        points = spooled.points(config.client_settings().spool_dir, run_id, key)
        return [
            Metric(key, entities.clipped(value), time_us // 1000, step)
            for step, time_us, value in points
        ]

    def search(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: Any,
        max_results: int,
        order_by: Any,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        """The server's page, with the runs it does not know yet merged into the first one."""
        waiting = [
            pending for pending in self._recorder.begun() if not self.is_delivered(pending.run_id)
        ]
        found: list[Run] = []
        token: str | None = None
        try:
            found, token = self._rest._search_runs(
                experiment_ids, filter_string, run_view_type, max_results, order_by, page_token
            )
        except Unreachable:
            if not waiting:
                raise
            _logger.warning("no server answers: only the runs of this process are searched")
        if page_token or not waiting or run_view_type == ViewType.DELETED_ONLY:
            return [entities.with_own_uri(run) for run in found], token
        runs = {run.info.run_id: entities.with_own_uri(run) for run in found}
        servers = {run.info.run_id: run for run in found}
        own = [entities.run_of(p, servers.get(p.run_id)) for p in waiting]
        wanted = {str(experiment_id) for experiment_id in experiment_ids}
        for run in SearchUtils.filter(
            [run for run in own if run.info.experiment_id in wanted], filter_string
        ):
            runs[run.info.run_id] = run
        return SearchUtils.sort(list(runs.values()), order_by)[:max_results], token
