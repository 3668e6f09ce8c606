"""BuildStore in one PostgreSQL: a schema per build, and one row that says which serves.

A build is made, and removed, in one transaction with its row, so that a crash leaves it whole
or not at all; what it leaves unfinished is removed by the next leader. A build that was
replaced is kept for a while, as other servers may be reading from it in pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from projections import build_store
from projections.build_progress import BuildProgress
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.postgres.connection import ANSWER_S, PostgresConnection, PostgresPlace
from projections.postgres.errors import DRIVER_ERRORS, store_failed
from projections.postgres.layout import CHECKPOINTS, definition, tables
from projections.postgres.sessions import Session
from projections.postgres.tables import (
    IDLE_IN_TRANSACTION_S,
    LeadershipLost,
    PostgresBuild,
    PostgresTables,
)
from projections.projection import Projection, ProjectionStoreFailed
from projections.runs_store import put_first_rows as put_first_runs_rows
from projections.series_projection import put_first_rows as put_first_series_rows

T = TypeVar("T")

RETIRE_S: Final = 300.0
"""Requests that began before a switch are over by then, long exact histories included."""
ASK_S: Final = 0.5
SWEEP_S: Final = 30.0

_FIRST_ROWS: Final = {"runs": put_first_runs_rows, "series": put_first_series_rows}
_COLUMNS: Final = "b.workspace, b.name, b.number, b.version, b.schema_name"
_BEGIN: Final = (
    "BEGIN; SET LOCAL statement_timeout = 60000; SET LOCAL lock_timeout = 2000; "
    f"SET LOCAL idle_in_transaction_session_timeout = {round(IDLE_IN_TRANSACTION_S * 1000)}"
)
_CURRENT: Final = f"""
SELECT {_COLUMNS} FROM tracker.projection p
JOIN tracker.projection_build b USING (workspace, name, number)
WHERE p.workspace = $1 AND p.name = $2
"""
_POSITIONS: Final = """
SELECT p.name, b.version, b.position FROM tracker.projection p
JOIN tracker.projection_build b USING (workspace, name, number)
WHERE p.workspace = $1 ORDER BY p.name
"""
_POSITION: Final = """
SELECT position FROM tracker.projection_build WHERE workspace = $1 AND name = $2 AND number = $3
  AND EXISTS (SELECT FROM pg_namespace WHERE nspname = schema_name)
"""
_NEXT_NUMBER: Final = """
INSERT INTO tracker.projection AS p VALUES ($1, $2, NULL, 1)
ON CONFLICT (workspace, name) DO UPDATE SET last_number = p.last_number + 1
RETURNING last_number
"""
_STORE_NUMBER: Final = "SELECT number FROM tracker.store WHERE workspace = $1"
_INSERT: Final = "INSERT INTO tracker.projection_build VALUES ($1, $2, $3, $4, 0, $5, NULL)"
# Nobody takes the lease over while a change of the builds is under way. One that is paused in
# the middle of it is ended by PostgreSQL soon, and a new leader finds it done or not begun.
_FENCE: Final = """
SELECT FROM tracker.projection_lease WHERE workspace = $1 AND token = $2 FOR NO KEY UPDATE
"""
# Two statements: in one, the first could not see the row that the second has changed already.
_RETIRE: Final = """
UPDATE tracker.projection_build b SET retired_at = now() FROM tracker.projection p
WHERE p.workspace = $1 AND p.name = $2 AND b.workspace = p.workspace AND b.name = p.name
  AND b.number = p.number AND b.number <> $3
"""
_SWITCH: Final = """
UPDATE tracker.projection SET number = $3 WHERE workspace = $1 AND name = $2
"""
_LEFT: Final = f"""
SELECT {_COLUMNS} FROM tracker.projection_build b
JOIN tracker.projection p USING (workspace, name)
WHERE b.workspace = $1 AND b.number IS DISTINCT FROM p.number
  AND CASE WHEN b.retired_at IS NULL THEN $3
      ELSE b.retired_at < now() - $2::float8 * interval '1 s' END
"""
_REMOVE: Final = """
DELETE FROM tracker.projection_build b WHERE workspace = $1 AND name = $2 AND number = $3
AND NOT EXISTS (
    SELECT FROM tracker.projection p
    WHERE p.workspace = b.workspace AND p.name = b.name AND p.number = b.number
)
RETURNING number
"""
_ASK: Final = """
INSERT INTO tracker.projection_rebuild AS r VALUES ($1, $2, 0, 0, false, NULL)
ON CONFLICT (workspace, name) DO UPDATE SET position = 0, head = 0, is_done = false, error = NULL
WHERE r.is_done OR r.error IS NOT NULL
"""
_ASKED: Final = """
SELECT name FROM tracker.projection_rebuild
WHERE workspace = $1 AND NOT is_done AND error IS NULL
"""
_TELL: Final = """
UPDATE tracker.projection_rebuild SET position = $3, head = $4, is_done = $5, error = $6
WHERE workspace = $1 AND name = $2
  AND EXISTS (SELECT FROM tracker.projection_lease l WHERE l.workspace = $1 AND l.token = $7)
"""
_PROGRESS: Final = """
SELECT name, position, head, is_done, error FROM tracker.projection_rebuild
WHERE workspace = $1 ORDER BY name
"""


class PostgresBuilds:
    """See build_store.BuildStore. `token` is that of the leadership under which it changes
    anything; who only looks needs none."""

    def __init__(
        self,
        place: PostgresPlace,
        workspace: str,
        *,
        token: Callable[[], int] = lambda: -1,
        retire_s: float = RETIRE_S,
    ) -> None:
        self._place, self._workspace = place, workspace
        self._token = token
        self._retire_s = retire_s
        self._session = Session(place, name="postgres-builds")
        self._asked_at = self._swept_at = 0.0

    async def current(self, name: str) -> PostgresBuild | None:
        rows = await self._ask(_CURRENT, self._workspace, name)
        return PostgresBuild(*rows[0]) if rows else None

    async def positions(self) -> list[tuple[str, int, int]]:
        """(name, version, position) of every serving build."""
        return [tuple(row) for row in await self._ask(_POSITIONS, self._workspace)]

    async def begin(
        self, kind: ProjectionKind, log: EventLogReader
    ) -> tuple[PostgresBuild, Projection]:
        build = await self._change(lambda connection: self._make(connection, kind))
        return build, await self.open(kind, build, log)

    async def open(
        self, kind: ProjectionKind, build: build_store.Build, log: EventLogReader
    ) -> Projection:
        own = _own(build)
        rows = await self._ask(_POSITION, self._workspace, own.name, own.number)
        if not rows:
            raise ProjectionStoreFailed(f"{own.label} is not there any more")
        session = Session(self._place, name=f"postgres-{kind.name}", tables=tables(kind.name))
        position = rows[0][0]
        return kind.open(PostgresTables(session, own, position=position, token=self._token), log)

    async def switch(self, build: build_store.Build) -> None:
        own = _own(build)
        await self._analyse(own)

        def switch(connection: PostgresConnection) -> None:
            for sql in (_RETIRE, _SWITCH):
                connection.direct(sql, own.workspace, own.name, own.number)

        await self._change(switch)

    async def remove(self, build: build_store.Build) -> None:
        await self._change(lambda connection: _drop(connection, _own(build)))

    async def retire(self, build: build_store.Build) -> None:
        """It was marked by the switch; `remove_leftovers` removes it in time."""

    async def remove_leftovers(self) -> None:
        await self._sweep(unfinished=True)

    async def asked(self) -> Sequence[str]:
        now = time.monotonic()
        if now - self._asked_at < ASK_S:
            return ()
        self._asked_at = now
        if now - self._swept_at > min(SWEEP_S, self._retire_s):
            await self._sweep(unfinished=False)
        return [name for (name,) in await self._ask(_ASKED, self._workspace)]

    async def tell(self, progress: BuildProgress) -> None:
        p, said = progress, (progress.position, progress.head, progress.is_done, progress.error)
        await self._ask(_TELL, self._workspace, p.name, *said, self._token())

    async def ask_for(self, name: str) -> None:
        """Have whoever leads build this projection anew, unless that is under way."""
        await self._ask(_ASK, self._workspace, name)

    async def progress(self) -> list[BuildProgress]:
        return [BuildProgress(*row) for row in await self._ask(_PROGRESS, self._workspace)]

    async def aclose(self) -> None:
        await self._session.aclose()

    async def _sweep(self, *, unfinished: bool) -> None:
        self._swept_at = time.monotonic()
        for row in await self._ask(_LEFT, self._workspace, self._retire_s, unfinished):
            await self.remove(PostgresBuild(*row))

    def _make(self, connection: PostgresConnection, kind: ProjectionKind) -> PostgresBuild:
        workspace = self._workspace
        number: int = connection.direct(_NEXT_NUMBER, workspace, kind.name)[0][0]
        store: int = connection.direct(_STORE_NUMBER, workspace)[0][0]
        schema = f"tracker_{store}_{kind.name}_{number}"
        build = PostgresBuild(workspace, kind.name, number, kind.version, schema)
        connection.direct(_INSERT, workspace, kind.name, number, kind.version, schema)
        script = [
            f"CREATE SCHEMA {schema}",
            f"SET LOCAL search_path = {schema}",
            *definition(kind.name),
            # A workspace's name is letters, digits, - and _ only.
            f"CREATE VIEW {CHECKPOINTS} AS SELECT name, version::bigint, position "
            f"FROM tracker.projection_build WHERE workspace = '{workspace}' "
            f"AND name = '{kind.name}' AND number = {number}",
        ]
        connection.script(";\n".join(script))
        connection.tables = tables(kind.name)
        _FIRST_ROWS[kind.name](connection)
        return build

    async def _analyse(self, build: PostgresBuild) -> None:
        """A schema that was filled just now has no statistics yet, and plans need them."""
        filled = ", ".join(name for name in tables(build.name) if name != CHECKPOINTS)
        begin = f"{_BEGIN}; SET LOCAL search_path = {build.schema}"
        try:
            await self._session.in_transaction(begin, lambda c: c.script(f"ANALYZE {filled}"))
        except DRIVER_ERRORS as error:
            raise store_failed(error, f"{build.label} cannot be analysed") from error

    async def _change(self, work: Callable[[PostgresConnection], T]) -> T:
        """In one transaction, and only while this server leads."""

        def changed(connection: PostgresConnection) -> T:
            if not connection.direct(_FENCE, self._workspace, self._token()):
                raise LeadershipLost("another server folds now")
            return work(connection)

        try:
            return await self._session.in_transaction(_BEGIN, changed)
        except DRIVER_ERRORS as error:
            raise store_failed(error, "the builds of the projections cannot be changed") from error

    async def _ask(self, sql: str, *arguments: Any) -> list[Any]:
        try:
            return await self._session.run(
                lambda connection: connection.direct(sql, *arguments, within_s=ANSWER_S)
            )
        except DRIVER_ERRORS as error:
            raise store_failed(error, "the builds of the projections cannot be read") from error


def _drop(connection: PostgresConnection, build: PostgresBuild) -> None:
    """Never what serves, even if whoever asks for it does not know that it does."""
    if connection.direct(_REMOVE, build.workspace, build.name, build.number):
        connection.script(f"DROP SCHEMA IF EXISTS {build.schema} CASCADE")


def _own(build: build_store.Build) -> PostgresBuild:
    assert isinstance(build, PostgresBuild)
    return build
