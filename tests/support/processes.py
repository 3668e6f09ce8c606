"""Real processes for tests: a tracking server on loopback, and scripts that log to it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 90.0
# How long a projection may be behind on a crowded machine.
PATIENCE_S = 60.0


def _candidates() -> Iterator[int]:
    """Ports below the ephemeral ones; of those that run tests side by side each has its own.

    A port's 10,000th neighbour belongs to whoever has the port: see s3_server.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = [
        port
        for port in range(10_240, 32_768)
        if port % 10_000 * workers // 10_000 == worker % workers
    ]
    start = random.SystemRandom().randrange(len(own))
    while True:
        yield own[start % len(own)]
        start += 1


_ports = _candidates()


def free_port() -> int:
    """A port for a server that is started later, or again and again.

    Not one of those the kernel gives to outgoing connections and to port 0: it would be
    somebody else's by then, and who connects to it too early could reach himself.
    """
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable")


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment with every setting of tracker replaced by the test's own."""
    own = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("TRACKER_", "MLFLOW_"))
    }
    return own | {
        "TRACKER_HOME": str(home),
        "TRACKER_SPOOL_DIR": str(home / "spool"),
        "TRACKER_HELPER_IDLE_S": "2",
        "TRACKER_SNAPSHOT": "none",
        **more,
    }


@dataclass
class ServerProcess:
    """`tracker server` as its user runs it; may be killed and started again on its port."""

    home: Path
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store_path(self) -> Path:
        return self.home / "server" / "tracker.db"

    @property
    def log_path(self) -> Path:
        return self.home / "server.log"

    def start(self) -> None:
        self.store_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tracker", "server", "--port", str(self.port)),
                    *("--backend-store-uri", f"sqlite:///{self.store_path}"),
                    *self.arguments,
                ],
                env=environment(self.home),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log_path.read_text()[-4000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=90)

    def get(self, path: str) -> Any:
        """The answer to GET; one about a min_position is asked for until it can be given."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}{path}", timeout=90) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as refusal:
                is_behind = refusal.code == 503 and "min_position=" in path
                if not is_behind or time.monotonic() >= deadline:
                    raise
                refusal.close()
                time.sleep(0.05)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.uri}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.loads(answer.read())


@contextmanager
def running_server(home: Path, *arguments: str) -> Iterator[ServerProcess]:
    server = ServerProcess(home, arguments=arguments)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def run_cli(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The `tracker` command to its end; the caller looks at returncode, stdout, stderr."""
    return subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def rest_of_its_words(process: subprocess.Popen[str]) -> str:
    """What it still says on stdout until it ends.

    `communicate` would drop what a `readline` before it has read ahead.
    """
    assert process.stdout is not None
    rest = process.stdout.read()
    process.communicate(timeout=180)
    return rest


def start_script(home: Path, script: str, **more: str) -> subprocess.Popen[str]:
    """A Python script in a process of its own, its stdout piped."""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment(home, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
