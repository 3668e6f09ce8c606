"""Programs that drive the real MLflow, each in the interpreter of one of its releases."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.processes import environment

ROOT = Path(__file__).parents[2]
NEWEST = ROOT / ".venv-mlflow" / "bin" / "python"
OLDER = ROOT / ".venv-mlflow-old" / "bin" / "python"
PROGRAMS = ROOT / "tests" / "mlflow"


def program(
    python: Path, name: str, home: Path, *arguments: object, uri: str, **more: str
) -> subprocess.Popen[str]:
    """Start tests/mlflow/`name` with the plugin's tracking URI of the server at `uri`.

    Its end waits until all is delivered, unless `more` says otherwise.
    """
    assert python.exists(), f"{python} is missing; `make test` installs it"
    return subprocess.Popen(
        [str(python), "-W", "ignore", str(PROGRAMS / name), *map(str, arguments)],
        env=environment(
            home,
            MLFLOW_TRACKING_URI=f"tracker+{uri}",
            **{"TRACKER_EXIT_WAIT_S": "90", **more},
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_program(
    python: Path, name: str, home: Path, *arguments: object, uri: str, **more: str
) -> tuple[str, Any]:
    """The first line it prints, and the last one as JSON."""
    process = program(python, name, home, *arguments, uri=uri, **more)
    try:
        output, errors = process.communicate(timeout=280)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0, errors
    lines = output.strip().split("\n")
    return lines[0], json.loads(lines[-1])
