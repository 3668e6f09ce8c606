"""Stores that MLflow itself made, and imports of them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.mlflow_programs import NEWEST, PROGRAMS
from tests.support.processes import ServerProcess, environment, run_cli

# Databases of older releases, as SQLite prints them.
PRINTED = PROGRAMS / "stores"


def old_store(path: Path, release: str = "2.9") -> str:
    """The SQLite database that an older release made, at `path`; its address."""
    with changing(path) as database:
        database.executescript((PRINTED / f"mlflow-{release}.sql").read_text())
    return f"sqlite:///{path}"


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def run_named(path: Path, name: str) -> str:
    with changing(path) as database:
        ((run_id,),) = database.execute("SELECT run_uuid FROM runs WHERE name = ?", (name,))
        return str(run_id)


def mlflow_says(home: Path, *arguments: str) -> dict[str, Any]:
    """What tests/mlflow/import_sources.py prints, for each address."""
    assert NEWEST.exists(), f"{NEWEST} is missing; `make test` installs it"
    done = subprocess.run(
        [str(NEWEST), "-W", "ignore", str(PROGRAMS / "import_sources.py"), *arguments],
        env=environment(home, MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true"),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def imported(
    server: ServerProcess, source: str, *options: str, code: int | None = 0
) -> dict[str, Any]:
    """The report of `tracker import mlflow`, which must end with `code`."""
    done = run_cli(server.home, "import", "mlflow", source, "--to", server.uri, "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
