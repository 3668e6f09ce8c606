"""The services of docker-compose.yml as plain processes, with the environment it gives them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.support.compose import ROOT, compose_file
from tests.support.debian import debian_program
from tests.support.http_server import BATCH, batch_body, events_body
from tests.support.postgres import FAST, in_thread, running_postgres
from tests.support.processes import environment, free_port, start_script
from tests.support.s3_server import running_s3
from tracker.events.types import Event

SECRETS = {"TRACKER_API_KEY": "a-key", "POSTGRES_PASSWORD": "one", "S3_SECRET_KEY": "two"}
KEY = {"Authorization": "Bearer a-key"}

TRAINING = """
import tracker
with tracker.start_run(run_name="through the proxy") as run:
    print(run.info.run_id, flush=True)
    for step in range(50):
        tracker.log_metric("loss", step / 2, step=step)
    assert tracker.flush(timeout=120)
"""


@dataclass
class Topology:
    proxy: str
    servers: dict[str, tuple[subprocess.Popen[bytes], int]]


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    folder = tmp_path_factory.mktemp("compose")
    services = compose_file(SECRETS)["services"]
    with ExitStack() as stack:
        places = {
            "postgres:5432": stack.enter_context(postgres_of(services["postgres"])),
            "http://s3:8333": stack.enter_context(s3_of(services["s3"], folder / "s3")),
        }
        servers = {}
        for name in ("server-1", "server-2"):
            port = free_port()
            process = server_of(services[name], places, folder / name, port)
            stack.callback(process.wait)
            stack.callback(process.kill)
            servers[name] = (process, port)
        for name, (process, port) in servers.items():
            wait_until_it_answers(f"http://127.0.0.1:{port}/health", process, folder / name / "log")
        ports = {name: port for name, (_, port) in servers.items()}
        yield Topology(stack.enter_context(proxy_of(ports, folder / "proxy")), servers)


@contextmanager
def postgres_of(service: dict[str, Any]) -> Iterator[str]:
    given = service["environment"]

    async def make(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        user, password = given["POSTGRES_USER"], given["POSTGRES_PASSWORD"]
        await connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        await connection.execute(f"CREATE DATABASE {given['POSTGRES_DB']} OWNER {user}")
        await connection.close()

    settings = dict(option.split("=") for option in service["command"] if "=" in option)
    with running_postgres({**settings, **FAST, "shared_buffers": "32MB"}) as server:
        in_thread(make(server.dsn()))
        yield f"127.0.0.1:{server.port}"


@contextmanager
def s3_of(service: dict[str, Any], folder: Path) -> Iterator[str]:
    given = service["environment"]
    key_id, secret = given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"]
    with running_s3(folder, key_id=key_id, secret=secret) as server:
        yield server.endpoint


def server_of(
    service: dict[str, Any], places: dict[str, str], home: Path, port: int
) -> subprocess.Popen[bytes]:
    """Started by nothing but its environment, as the image's command does."""
    home.mkdir()
    given = dict(service["environment"])
    for name, text in given.items():
        for place, here in places.items():
            given[name] = given[name].replace(place, here)
        assert isinstance(text, str), f"{name} must be quoted"
    given |= {"TRACKER_HOST": "127.0.0.1", "TRACKER_PORT": str(port)}
    own = {k: v for k, v in environment(home).items() if not k.startswith("AWS_")}
    del own["TRACKER_SPOOL_DIR"]
    with (home / "log").open("wb") as log:
        command = [sys.executable, "-m", "tracker", "server"]
        return subprocess.Popen(command, env=own | given, stdout=log, stderr=log)


@contextmanager
def proxy_of(ports: dict[str, int], folder: Path) -> Iterator[str]:
    folder.mkdir()
    port = free_port()
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for name, here in ports.items():
        text = text.replace(f"{name}:5000", f"127.0.0.1:{here}")
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("access_log off;", f"access_log off; {temporary}")
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    program = debian_program("nginx", packages=("nginx",))
    user = "user root;" if os.getuid() == 0 else ""
    command = [str(program.path), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    command += ["-g", f"daemon off; pid {folder / 'pid'}; {user}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=program.environment, stdout=log, stderr=log)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"no answer from {url}:\n{log.read_text()[-4000:]}")


async def test_a_training_a_blob_and_a_dead_server_through_the_proxy(
    topology: Topology, tmp_path: Path
) -> None:
    proxy = topology.proxy
    training = start_script(
        tmp_path,
        TRAINING,
        TRACKER_URI=proxy,
        TRACKER_API_KEY="a-key",
        TRACKER_EXIT_WAIT_S="90",
    )
    output, errors = await asyncio.to_thread(training.communicate, None, 180)
    assert training.returncode == 0, errors
    run_id = output.strip()
    async with aiohttp.ClientSession(headers=KEY) as session:

        async def ask(method: str, url: str, **how: Any) -> tuple[int, Any]:
            async with session.request(method, url, **how) as answer:
                text = await answer.read()
                is_json = answer.content_type == "application/json"
                return answer.status, (await answer.json()) if is_json else text

        # Every server answers for it.
        for _, port in topology.servers.values():
            head = (await ask("GET", f"http://127.0.0.1:{port}/ready"))[1]["head"]
            status, run = await ask(
                "GET", f"http://127.0.0.1:{port}/api/v1/runs/{run_id}?min_position={head}"
            )
            assert (status, run["status"]) == (200, "FINISHED")

        blob = os.urandom(100_000)
        sha256 = hashlib.sha256(blob).hexdigest()
        status, _ = await ask("PUT", f"{proxy}/api/v1/blobs/{sha256}", data=blob)
        assert status in (200, 201)

        process, _ = topology.servers["server-1"]
        process.kill()
        process.wait()

        for turn in range(6):
            first = 2 + 3 * turn
            body = (
                batch_body(first, 3, writer_id="w9", run_id="run-9")
                if turn
                else events_body(
                    1, *[Event("run.started", 1, {"name": "x"})] * 4, writer_id="w9", run_id="run-9"
                )
            )
            status, answer = await ask("POST", f"{proxy}/api/v1/append", data=body, headers=BATCH)
            assert (status, answer["outcome"]) == (200, "appended")
        assert (await ask("GET", f"{proxy}/api/v1/blobs/{sha256}"))[1] == blob
        assert (await ask("GET", f"{proxy}/api/v1/runs/{run_id}"))[0] == 200


async def test_nobody_comes_in_without_the_key(topology: Topology) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{topology.proxy}/api/v1/experiments") as answer,
    ):
        assert answer.status == 401


def test_no_log_of_a_server_has_a_secret(tmp_path_factory: pytest.TempPathFactory) -> None:
    logs = list(tmp_path_factory.getbasetemp().glob("compose*/server-*/log"))

    assert logs
    for log in logs:
        assert not re.search(r"a-key|:one@|two", log.read_text())
