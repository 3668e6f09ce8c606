"""Models through the real `mlflow` package: autologging, log_model, load_model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mlflow_clients import CLIENTS, run_client
from tests.support.processes import running_server


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("client", CLIENTS)
def test_models_are_logged_and_loaded(client: str, tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        assert "modelled with" in run_client(client, server, "client_models.py")
