"""A large file whose upload is cut off on both sides, and finished without beginning anew."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.counting_proxy import counting_proxy
from tests.support.processes import ServerProcess, environment
from tracker.client import Client
from tracker.events.limits import ARTIFACT_PART_BYTES

FILE_BYTES = 300 * 1024 * 1024

SCRIPT = """
import sys, tracker
with tracker.start_run() as run:
    print(run.run_id, flush=True)
    tracker.log_metric("loss", 0.5)
    tracker.log_artifact(sys.argv[1], "models")
    tracker.log_metric("loss", 0.25, step=1)
    tracker.flush(120)
"""


def wait_for_metric(server: ServerProcess, run_id: str, *, step: int) -> None:
    """Until the run's loss has come to that step."""
    deadline = time.monotonic() + 60
    last: Mapping[str, Any] = {}
    while last.get("step") != step:
        assert time.monotonic() < deadline, last
        with suppress(urllib.error.HTTPError):
            metrics = server.get(f"/api/v1/runs/{run_id}")["metrics"]
            last = metrics.get("loss", {}).get("last", {})
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_upload_goes_on_after_client_and_server_were_killed(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    rng = random.Random(300)
    with large.open("wb") as file:
        for _ in range(300):
            file.write(rng.randbytes(1024 * 1024))
    digest = hashlib.sha256(large.read_bytes()).hexdigest()
    server = ServerProcess(tmp_path)
    server.start()
    try:
        with counting_proxy(server.uri) as proxy:
            # It comes no further than to its middle, where both are killed.
            proxy.parts_max = 5
            training = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(large)],
                env=environment(tmp_path, TRACKER_URI=proxy.uri, TRACKER_SHIPPER="thread"),
                stdout=subprocess.PIPE,
                text=True,
            )
            assert training.stdout is not None
            run_id = training.stdout.readline().strip()
            proxy.wait_for_parts(5, timeout_s=120)
            wait_for_metric(server, run_id, step=1)  # metrics must not wait for the upload
            assert server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"] == []
            training.kill()
            training.communicate(timeout=90)
            server.kill()
            assert proxy.parts_stored == 5 < FILE_BYTES // ARTIFACT_PART_BYTES
            large.unlink()
            proxy.parts_max = None
            proxy.parts_stored = 0
            returning = threading.Timer(1.0, server.start)
            returning.start()
            done = subprocess.run(
                [sys.executable, "-m", "tracker", "sync"],
                env=environment(tmp_path, TRACKER_URI=proxy.uri),
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
            )
            returning.join()
            assert done.returncode == 0, done.stdout + done.stderr
            # None that was stored is sent again.
            assert proxy.parts_stored == -(-FILE_BYTES // ARTIFACT_PART_BYTES) - 5
        with Client(server.uri) as client:
            place = Path(client.download_artifacts(run_id, "models", tmp_path / "into"))
        assert hashlib.sha256((place / "large.bin").read_bytes()).hexdigest() == digest
        assert not list((tmp_path / "spool").rglob("blobs/*"))
        deadline = time.monotonic() + 90
        while server.get(f"/api/v1/runs/{run_id}")["status"] != "FAILED":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        server.stop()
