"""Proving builds in PostgreSQL: every row equals that of a rebuild from the log.

The rebuild is a SQLite file in a temporary folder: rows mean the same in both stores, so the
comparison also proves that they do. Nothing in the database is changed.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from projections.findings import Fault, OnProgress, ProjectionProof, VerifyProgress, VerifyReport
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.postgres.builds import PostgresBuilds
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.errors import DRIVER_ERRORS, reason_of
from projections.postgres.rows import SchemaRows
from projections.postgres.sessions import Session, roll_back
from projections.postgres.tables import PostgresBuild
from projections.rebuild import fold_into
from projections.sqlite import FileRows
from projections.verify_builds import compare
from projections.verify_log import LogToVerify, verify_log

# A rebuild's last part is folded inside of the snapshot that it is compared with.
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = {schema}"
)
_POSITION: Final = "SELECT position FROM projection"


async def verify_postgres(
    log: LogToVerify,
    place: PostgresPlace,
    workspace: str,
    kinds: Sequence[ProjectionKind],
    *,
    on_progress: OnProgress,
) -> VerifyReport:
    """Prove the log, then every serving build of a current version. See verify.verify."""
    report = VerifyReport()
    await verify_log(log, report, on_progress)
    builds = PostgresBuilds(place, workspace)
    try:
        for kind in kinds:
            build = await builds.current(kind.name)
            if build is not None and build.version == kind.version:
                await _verify_build(kind, build, log, place, report, on_progress)
    finally:
        await builds.aclose()
    return report


async def _verify_build(
    kind: ProjectionKind,
    build: PostgresBuild,
    log: EventLogReader,
    place: PostgresPlace,
    report: VerifyReport,
    on_progress: OnProgress,
) -> None:
    head = (await log.head()).next_position - 1
    session = Session(place, name="postgres-verify")
    with tempfile.TemporaryDirectory(prefix="tracker-verify-") as folder:
        path = Path(folder) / "rebuilt.sqlite"
        try:
            position = await session.run(lambda c: _position(c, build, stays=False))
            if position > head:
                report.add(
                    Fault.PROJECTION_AHEAD,
                    f"projection {kind.name} is at {position}, beyond the log's end at {head}",
                    position=position,
                )
                return
            await _fold(kind, path, log, position, on_progress)
            position = await session.run(lambda c: _position(c, build, stays=True))
            await _fold(kind, path, log, position, on_progress)
            proof = ProjectionProof(kind.name, build.version, position, 0, {})
            await session.run(lambda c: _compare(c, path, proof, report, on_progress))
            report.projections.append(proof)
        except (*DRIVER_ERRORS, sqlite3.Error) as error:
            reason = str(error) if isinstance(error, sqlite3.Error) else reason_of(error)
            message = f"{build.label} cannot be read: {reason}"
            report.add(Fault.PROJECTION_UNREADABLE, message)
        except _CannotRebuild as error:
            report.add(
                Fault.PROJECTION_CANNOT_BE_REBUILT,
                f"projection {kind.name} cannot be rebuilt: {error}",
            )
        finally:
            await session.aclose()


class _CannotRebuild(Exception):
    pass


async def _fold(
    kind: ProjectionKind, path: Path, log: EventLogReader, until: int, on_progress: OnProgress
) -> None:
    def on_position(done: int) -> None:
        on_progress(VerifyProgress(kind.name, done, max(until, done)))

    projection = kind.open(path, log)
    try:
        await fold_into(projection, log, until=until, on_position=on_position)
    except Exception as error:  # whatever stops a fold is the finding
        raise _CannotRebuild(f"{type(error).__name__}: {error}") from error
    finally:
        await projection.aclose()


def _position(connection: PostgresConnection, build: PostgresBuild, *, stays: bool) -> int:
    """Where the build is, as a snapshot shows it, which `stays` open."""
    connection.script(_BEGIN.format(schema=build.schema))
    position = int(connection.direct(_POSITION)[0][0])
    if not stays:
        roll_back(connection)
    return position


def _compare(
    connection: PostgresConnection,
    path: Path,
    proof: ProjectionProof,
    report: VerifyReport,
    on_progress: OnProgress,
) -> None:
    rebuilt = sqlite3.connect(path)
    try:
        compare(SchemaRows(connection, proof.name), FileRows(rebuilt), proof, report, on_progress)
    finally:
        rebuilt.close()
        roll_back(connection)
