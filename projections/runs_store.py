"""The runs projection on one SQLite file: the fold's changed rows and the checkpoint together.

The file is that of one build (see `projections.builds`). This object holds its only writing
connection; queries read through connections of their own.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Final

from projections import runs_rows as rows
from projections import sql
from projections.artifact_rules import ArtifactChanges, file_row, folder_row
from projections.experiment_rules import DEFAULT_EXPERIMENT
from projections.model_rules import model_row
from projections.projection import CheckpointMoved, DecodedBatch, ProjectionStoreFailed
from projections.runs_fold import RunsFold
from projections.runs_rows import SQL, SqliteRunsLoader
from projections.runs_state import Changes
from projections.sqlite import is_about_the_store, open_for_writing, table_hashes

RUNS_VERSION: Final = 2
"""Raised with every change of schema or fold: then the projection is built anew."""

# What errors of a live projection leave behind; a rebuild has none of it.
LIVE_TABLES: Final = frozenset({"dead_letter"})


class RunsProjection:
    """See projection.Projection."""

    name: Final = "runs"
    version: Final = RUNS_VERSION

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_for_writing(
            path, schema=sql.load("runs_schema.sql"), fill=_put_first_rows
        )
        self._skipped: Counter[str] = Counter()
        self._position = int(self._connection.execute(SQL["position"]).fetchone()[0])
        self._fold: RunsFold | None = None  # made from the file when it is needed

    async def position(self) -> int:
        return self._position

    async def apply(self, batches: Sequence[DecodedBatch]) -> None:
        new = [item for item in batches if item[0].last_position > self._position]
        if not new:
            return
        to = new[-1][0].last_position
        # While it is away its memory may be ahead of the file; then it is made anew.
        fold, self._fold = self._fold, None
        try:
            fold = fold or self._new_fold()
            fold.fold(new)
            changes = fold.take_changes()
            self._store(changes, to)
        except sqlite3.Error as error:
            if is_about_the_store(error):
                raise ProjectionStoreFailed(f"{self._path}: {error}") from error
            raise
        fold.settle(changes)
        self._fold, self._position = fold, to

    async def state_hash(self) -> Mapping[str, str]:
        return table_hashes(self._connection, without=LIVE_TABLES)

    async def aclose(self) -> None:
        self._connection.close()

    # -- beyond the interface -----------------------------------------------------------

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many events of which type were skipped since the file was opened."""
        return self._skipped

    def put_dead_letter(self, *, position: int, run_id: str, reason: str) -> None:
        """Remember a batch that cannot be folded. Raises ProjectionStoreFailed."""
        try:
            self._connection.execute(SQL["insert_dead_letter"], (position, run_id, reason))
        except sqlite3.Error as error:
            raise ProjectionStoreFailed(f"{self._path}: {error}") from error

    def dead_letters(self) -> list[tuple[int, str, str]]:
        """(position, run id, reason) of everything that could not be folded."""
        return self._connection.execute(SQL["dead_letters"]).fetchall()

    def _new_fold(self) -> RunsFold:
        runs_count, keys_count = self._connection.execute(SQL["counts"]).fetchone()
        return RunsFold(
            SqliteRunsLoader(self._connection),
            runs_count=runs_count,
            keys_count=keys_count,
            skipped=self._skipped,
        )

    def _store(self, changes: Changes, to: int) -> None:
        connection = self._connection
        checkpoint = {"from": self._position, "to": to}
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute(SQL["move_checkpoint"], checkpoint).rowcount != 1:
                raise CheckpointMoved(f"{self._path} is not at position {self._position} any more")
            put_changes(connection, changes)
            connection.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def put_changes(connection: sqlite3.Connection, changes: Changes) -> None:
    """Write what changed, one upsert per touched key, in order of the keys."""
    put = connection.executemany
    put(SQL["insert_key"], changes.keys.items())
    experiments = sorted(changes.experiments.items())
    put(SQL["put_experiment"], [rows.experiment_row(experiment) for _, experiment in experiments])
    _put_experiment_tags(connection, changes)
    entries = sorted(changes.runs.values(), key=lambda entry: entry.run.run_no)
    put(SQL["put_run"], [rows.run_row(entry.run) for entry in entries])
    put(SQL["put_writer"], [rows.writer_row(w) for _, w in sorted(changes.writers.items())])
    put(SQL["put_param"], chain.from_iterable(map(rows.param_rows, entries)))
    put(SQL["remove_conflicts"], chain.from_iterable(map(rows.touched_conflicts, entries)))
    put(SQL["put_conflict"], chain.from_iterable(map(rows.conflict_rows, entries)))
    put(SQL["put_tag"], chain.from_iterable(map(rows.tag_rows, entries)))
    put(SQL["put_metric"], chain.from_iterable(map(rows.metric_rows, entries)))
    put(SQL["put_input"], chain.from_iterable(map(rows.run_input_rows, entries)))
    put(SQL["put_input_tag"], chain.from_iterable(map(rows.run_input_tag_rows, entries)))
    _put_artifacts(connection, changes.artifacts)
    models = changes.models
    put(SQL["put_model"], [model_row(model) for _, model in sorted(models.models.items())])
    put(SQL["put_model_metric"], sorted(models.metrics))
    put(SQL["put_run_model"], sorted(models.links))


def _put_artifacts(connection: sqlite3.Connection, changes: ArtifactChanges) -> None:
    put = connection.executemany
    put(
        SQL["put_artifact"],
        [file_row(*item) for item in sorted(changes.files.items(), key=itemgetter(0))],
    )
    folders = sorted(changes.folders.items(), key=itemgetter(0))
    put(SQL["put_artifact_folder"], [folder_row(*item) for item in folders if item[1].files])
    gone = [place for place, folder in folders if not folder.files]
    put(SQL["remove_artifact_folder"], gone)


def _put_experiment_tags(connection: sqlite3.Connection, changes: Changes) -> None:
    for experiment_id, key in sorted(changes.experiment_tags):
        order_us, value = changes.experiments[experiment_id].tags[key]
        if value is None:
            connection.execute(SQL["remove_experiment_tag"], (experiment_id, key))
            row = (experiment_id, key, order_us)
            connection.execute(SQL["put_experiment_tag_deleted"], row)
        else:
            connection.execute(SQL["remove_experiment_tag_deleted"], (experiment_id, key))
            connection.execute(SQL["put_experiment_tag"], (experiment_id, key, value, order_us))


def _put_first_rows(connection: sqlite3.Connection) -> None:
    connection.execute(SQL["insert_projection"], {"version": RUNS_VERSION})
    connection.execute(SQL["put_experiment"], rows.experiment_row(DEFAULT_EXPERIMENT))
