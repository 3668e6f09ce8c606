"""What the tests of the web UI share: a browser, and a server that has runs to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Look, looking, running_browser
from tests.support.processes import ServerProcess, running_server
from tests.support.ui_runs import experiment_id, log_sweep


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def ui_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home: Path = tmp_path_factory.mktemp("ui")
    with running_server(home, "--artifacts-destination", str(home / "artifacts")) as running:
        log_sweep(running)
        experiment_id(running, "nested")
        yield running


@pytest.fixture(scope="module")
def sweep(ui_server: ServerProcess) -> str:
    """The id of the experiment with twelve runs."""
    return experiment_id(ui_server, "sweep")


@pytest.fixture
def look(browser: Browser, ui_server: ServerProcess) -> Iterator[Look]:
    with looking(browser, ui_server.uri) as opened:
        yield opened
