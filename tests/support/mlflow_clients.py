"""MLflow's own client in environments of its own (see the Makefile), run to its end.

Whatever fails in it fails the test. Importing mlflow takes seconds: few scripts, many claims
each.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.support.processes import ServerProcess, environment

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = ROOT / "tests" / "mlflow"
CLIENTS: Final = {
    "newest": ROOT / ".venv-mlflow",
    "a year old": ROOT / ".venv-mlflow-old",
}
# Seconds of work, but importing mlflow alone took a minute on a machine with twenty at work.
TIMEOUT_S: Final = 300


def run_client(client: str, server: ServerProcess, script: str, **more: str) -> str:
    """Run a script of tests/mlflow against the server; its output."""
    python = CLIENTS[client] / "bin" / "python"
    assert python.exists(), f"there is no {python}: `make test` installs it"
    done = subprocess.run(
        [str(python), str(SCRIPTS / script)],
        env=environment(
            server.home,
            MLFLOW_TRACKING_URI=server.uri,
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="2",
            MLFLOW_DISABLE_TELEMETRY="true",
            MPLBACKEND="Agg",
            **more,
        ),
        cwd=server.home,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout
