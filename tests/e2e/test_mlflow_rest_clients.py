"""The real `mlflow` package as the client: the newest release, and one of a year before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mlflow_clients import CLIENTS, run_client
from tests.support.processes import run_cli, running_server

KEY = "the-key-of-this-server"


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("client", CLIENTS)
def test_what_scripts_do_with_mlflow_works_unchanged(client: str, tmp_path: Path) -> None:
    with running_server(tmp_path, "--api-key", KEY) as server:
        said = run_client(client, server, "client_tour.py", MLFLOW_TRACKING_TOKEN=KEY)
        keys = {"TRACKER_URI": server.uri, "TRACKER_API_KEY": KEY}
        shown = run_cli(tmp_path, "runs", "show", "first", **keys)

    assert "toured with" in said
    assert "FINISHED" in shown.stdout, shown
    verified = run_cli(tmp_path, "verify", str(server.store_path))
    assert verified.returncode == 0, verified.stdout + verified.stderr
