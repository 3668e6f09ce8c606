"""A real S3 server on loopback: SeaweedFS, from its wheel. Without it tests fail, not skip."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.processes import free_port

BUCKET = "tracker"
KEY_ID, SECRET = "AKID", "SECRET123"
START_TIMEOUT_S = 90.0
_PROBE: Final = "probe"
_GRPC_OFFSET: Final = 10_000
# From here on the kernel gives ports to outgoing connections.
_EPHEMERAL: Final = 32_768


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    key_id: str = KEY_ID
    secret: str = SECRET

    @property
    def environment(self) -> dict[str, str]:
        """What makes botocore speak to this server, and to nothing of the machine's own."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextmanager
def running_s3(folder: Path, *, key_id: str = KEY_ID, secret: str = SECRET) -> Iterator[S3Server]:
    folder.mkdir(parents=True, exist_ok=True)
    port, *others = _free_ports(5)
    master, volume, filer, admin = others
    command = [
        *(str(Path(sys.executable).with_name("weed")), "mini", f"-dir={folder}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={port}", f"-master.port={master}"),
        *(f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}"),
        *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        "-master.telemetry=false",
    ]
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "S3_BUCKET": BUCKET,
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    server = S3Server(f"http://127.0.0.1:{port}", key_id, secret)
    try:
        _wait_until_it_answers(server, process, folder / "server.log")
        yield server
    finally:
        process.kill()  # its orderly end takes two seconds, and nobody needs the data
        process.wait()


def _free_ports(count: int) -> list[int]:
    """Free ports; their 10,000th neighbours, which it takes for gRPC, are free too."""
    ports: list[int] = []
    taken: set[int] = set()
    while len(ports) < count:
        port = free_port()
        both = {port, port + _GRPC_OFFSET}
        if port + _GRPC_OFFSET < _EPHEMERAL and not both & taken and _is_free(port + _GRPC_OFFSET):
            ports.append(port)
            taken |= both
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _wait_until_it_answers(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until an object can be put: it refuses strangers (403) before it has a bucket."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with closing(_client_of(server)) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.put_object(Bucket=BUCKET, Key=_PROBE, Body=b"")
                client.delete_object(Bucket=BUCKET, Key=_PROBE)
                return
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
    raise AssertionError(f"the S3 server did not start:\n{log.read_text()[-4000:]}")


def _client_of(server: S3Server) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.key_id,
        aws_secret_access_key=server.secret,
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )
