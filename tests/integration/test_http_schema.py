"""The API as its own description says it is: generated requests find no bug of the server's."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.http_server import BATCH, batch_body, events_body
from tests.support.processes import environment, running_server
from tracker.events.types import Event

EXAMPLES = 25


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_generated_request_meets_a_bug(tmp_path: Path) -> None:
    """A query may be refused; whatever is well formed by the document or not, never a 5xx."""
    with running_server(tmp_path / "home", "--log-level", "warning") as server:
        for body in (events_body(1, Event("run.started", 1, {})), batch_body(2, 50)):
            request = urllib.request.Request(
                f"{server.uri}/api/v1/append", data=body, headers=BATCH, method="POST"
            )
            urllib.request.urlopen(request, timeout=10).close()

        tested = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run"),
                f"{server.uri}/api/v1/openapi.json",
                *("--checks", "not_a_server_error"),
                *("--exclude-path", "/api/v1/events/stream"),  # it does not end
                *("--phases", "examples,fuzzing"),
                *("--max-examples", str(EXAMPLES), "--seed", "20261121", "--no-color"),
            ],
            env=environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert server.get("/health") == {"status": "ok"}

    assert tested.returncode == 0, tested.stdout[-6000:]
    log = server.log_path.read_text()
    assert not [line for line in log.splitlines() if '"level":"error"' in line]


def test_the_document_is_valid_json_of_openapi_3_1(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        document = server.get("/api/v1/openapi.json")

    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert any(status.startswith("2") for status in operation["responses"])
    json.dumps(document, allow_nan=False)
