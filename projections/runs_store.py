"""The runs projection: the fold's changed rows and the checkpoint together.

Its tables are those of one build (see `projections.build_store`); queries read them through
connections of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Final

from projections import runs_rows as rows
from projections.artifact_rules import ArtifactChanges, Place, file_row, folder_row
from projections.connection import Connection, WritableConnection
from projections.experiment_rules import DEFAULT_EXPERIMENT
from projections.file_tables import FileTables
from projections.fold_tables import FoldTables
from projections.model_rules import model_row
from projections.projection import DecodedBatch
from projections.runs_ahead import load_ahead
from projections.runs_fold import RunsFold
from projections.runs_rows import SQL, SqlRunsLoader
from projections.runs_state import Changes

RUNS_VERSION: Final = 3
"""Raised with every change of schema or fold: then the projection is built anew."""

# What errors of a live projection leave behind; a rebuild has none of it.
LIVE_TABLES: Final = frozenset({"dead_letter"})


class RunsProjection:
    """See projection.Projection. On a file, which is laid out when it is new, or other tables."""

    name: Final = "runs"
    version: Final = RUNS_VERSION

    def __init__(self, tables: Path | FoldTables) -> None:
        if isinstance(tables, Path):
            tables = FileTables(tables, "runs", put_first_rows)
        self._tables = tables
        self._skipped: Counter[str] = Counter()
        self._fold: RunsFold | None = None  # made from the tables when it is needed

    async def position(self) -> int:
        return self._tables.position

    async def apply(self, batches: Sequence[DecodedBatch]) -> None:
        new = [item for item in batches if item[0].last_position > self._tables.position]
        if not new:
            return
        # While it is away its memory may be ahead of the tables; then it is made anew.
        before, self._fold = self._fold, None

        def folded(connection: Connection) -> RunsFold:
            fold = before or self._new_fold(connection)
            load_ahead(connection, fold, new)
            fold.fold(new)
            return fold

        fold = await self._tables.look(folded)
        changes = fold.take_changes()
        async with self._tables.moving(new[-1][0].last_position) as write:
            await write.run(lambda connection: put_changes(connection, changes))
        fold.settle(changes)
        self._fold = fold

    async def state_hash(self) -> Mapping[str, str]:
        return await self._tables.hashes(without=LIVE_TABLES)

    async def aclose(self) -> None:
        await self._tables.aclose()

    # -- beyond the interface -----------------------------------------------------------

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many events of which type were skipped since the file was opened."""
        return self._skipped

    async def put_dead_letter(self, *, position: int, run_id: str, reason: str) -> None:
        """Remember a batch that cannot be folded. Raises ProjectionStoreFailed."""
        row = (position, run_id, reason)
        await self._tables.put(lambda c: c.executemany(SQL["insert_dead_letter"], [row]))

    async def dead_letters(self) -> list[tuple[int, str, str]]:
        """(position, run id, reason) of everything that could not be folded."""
        rows = await self._tables.look(lambda c: c.execute(SQL["dead_letters"]).fetchall())
        return [tuple(row) for row in rows]

    def _new_fold(self, connection: Connection) -> RunsFold:
        runs_count, keys_count = connection.execute(SQL["counts"]).fetchone()
        return RunsFold(
            SqlRunsLoader(connection),
            runs_count=runs_count,
            keys_count=keys_count,
            skipped=self._skipped,
        )


def put_changes(connection: WritableConnection, changes: Changes) -> None:
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


def _put_artifacts(connection: WritableConnection, changes: ArtifactChanges) -> None:
    put = connection.executemany
    put(
        SQL["put_artifact"],
        [file_row(*item) for item in sorted(changes.files.items(), key=itemgetter(0))],
    )
    folders = sorted(changes.folders.items(), key=itemgetter(0))
    put(SQL["put_artifact_folder"], [folder_row(*item) for item in folders if item[1].files])
    gone = [place for place, folder in folders if not folder.files]
    put(SQL["remove_artifact_folder"], gone)


def _put_experiment_tags(connection: WritableConnection, changes: Changes) -> None:
    gone: list[Place] = []
    back: list[Place] = []
    deleted: list[rows.Row] = []
    standing: list[rows.Row] = []
    for experiment_id, key in sorted(changes.experiment_tags):
        order_us, value = changes.experiments[experiment_id].tags[key]
        if value is None:
            gone.append((experiment_id, key))
            deleted.append((experiment_id, key, order_us))
        else:
            back.append((experiment_id, key))
            standing.append((experiment_id, key, value, order_us))
    put = connection.executemany
    put(SQL["remove_experiment_tag"], gone)
    put(SQL["remove_experiment_tag_deleted"], back)
    put(SQL["put_experiment_tag_deleted"], deleted)
    put(SQL["put_experiment_tag"], standing)


def put_first_rows(connection: WritableConnection) -> None:
    connection.execute(SQL["insert_projection"], {"version": RUNS_VERSION})
    connection.executemany(SQL["put_experiment"], [rows.experiment_row(DEFAULT_EXPERIMENT)])
