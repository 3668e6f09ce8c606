"""A PostgreSQL with a disk so small that a test can fill it, and make it larger again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil

from tests.support.postgres import (
    FAST,
    PostgresServer,
    fresh_database,
    give_away,
    in_thread,
    running_postgres,
)

_DISK = "size=16m"
_LARGER_DISK = "remount,size=256m"
_FILE_BYTES_MAX = 20 << 20


@contextmanager
def postgres_on_a_small_disk() -> Iterator[tuple[str, Callable[[], None]]]:
    """(the DSN of an empty database, what makes room).

    A disk that can be filled needs root; others fill a file of limited size instead.
    """
    with running_postgres(FAST) as postgres:
        small = _small_tablespace if os.getuid() == 0 else _small_files
        with small(postgres) as disk:
            yield disk


@contextmanager
def _small_tablespace(postgres: PostgresServer) -> Iterator[tuple[str, Callable[[], None]]]:
    folder = Path(tempfile.mkdtemp(prefix="tracker-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", _DISK, "tmpfs", str(folder)], check=True)

    def sql(text: str) -> None:
        in_thread(_execute(postgres.dsn(), text))

    def make_room() -> None:
        subprocess.run(["mount", "-o", _LARGER_DISK, str(folder)], check=True)

    try:
        give_away(folder)
        sql(f"CREATE TABLESPACE small LOCATION '{folder}'")
        sql("CREATE DATABASE small TEMPLATE template0 TABLESPACE small")
        try:
            yield postgres.dsn("small"), make_room
        finally:
            sql("DROP DATABASE small WITH (FORCE)")
            sql("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def _small_files(postgres: PostgresServer) -> Iterator[tuple[str, Callable[[], None]]]:
    assert postgres.process is not None
    process = psutil.Process(postgres.process.pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (_FILE_BYTES_MAX, psutil.RLIM_INFINITY))

    def make_room() -> None:
        for one in (process, *process.children()):
            one.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))

    with fresh_database(postgres.dsn()) as dsn:
        yield dsn, make_room


async def _execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=60)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
