"""A large file whose upload is cut off on both sides, and finished without beginning anew."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

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


@pytest.mark.slow
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
            # Slow enough that both can be killed in the middle.
            proxy.part_delay_s = 0.3
            training = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(large)],
                env=environment(tmp_path, TRACKER_URI=proxy.uri, TRACKER_SHIPPER="thread"),
                stdout=subprocess.PIPE,
                text=True,
            )
            assert training.stdout is not None
            run_id = training.stdout.readline().strip()
            proxy.wait_for_parts(5, timeout_s=60)
            metrics = server.get(f"/api/v1/runs/{run_id}")["metrics"]
            assert metrics["loss"]["last"] | {"time_us": 0} == {
                "value": 0.25,
                "step": 1,
                "time_us": 0,
            }, "metrics must not wait for the upload"
            assert server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"] == []
            training.kill()
            training.communicate(timeout=10)
            server.kill()
            stored = proxy.parts_stored
            assert 5 <= stored < FILE_BYTES // ARTIFACT_PART_BYTES
            large.unlink()
            proxy.part_delay_s = 0.0
            proxy.parts_stored = 0
            returning = threading.Timer(1.0, server.start)
            returning.start()
            done = subprocess.run(
                [sys.executable, "-m", "tracker", "sync"],
                env=environment(tmp_path, TRACKER_URI=proxy.uri),
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            returning.join()
            assert done.returncode == 0, done.stdout + done.stderr
            # Up to three were on their way when both were killed; none that was stored is
            # sent again.
            parts = -(-FILE_BYTES // ARTIFACT_PART_BYTES)
            assert parts - stored - 3 <= proxy.parts_stored <= parts - stored
        with Client(server.uri) as client:
            place = Path(client.download_artifacts(run_id, "models", tmp_path / "into"))
        assert hashlib.sha256((place / "large.bin").read_bytes()).hexdigest() == digest
        assert not list((tmp_path / "spool").rglob("blobs/*"))
        deadline = time.monotonic() + 20
        while server.get(f"/api/v1/runs/{run_id}")["status"] != "FAILED":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        server.stop()
