"""A real PgBouncer in transaction mode in front of a PostgreSQL, on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.debian import Program, debian_program
from tests.support.postgres import give_away, unprivileged
from tests.support.processes import free_port

_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 100
server_reset_query_always = 1
server_reset_query = DISCARD ALL
"""


@contextmanager
def running_pgbouncer(dsn: str, *, pool_size: int = 3) -> Iterator[str]:
    """The DSN of the same database through the pooler. Sessions are wiped between transactions."""
    packages = ("pgbouncer", "libc-ares2", "libevent-2.1-7")
    program = debian_program("pgbouncer", packages=packages)
    folder = Path(tempfile.mkdtemp(prefix="tracker-pgbouncer-"))
    try:
        port = free_port()
        place = urlsplit(dsn)
        database = place.path.lstrip("/")
        text = _CONFIGURATION.format(server_port=place.port, port=port, pool_size=pool_size)
        text = text.replace("* =", f"{database} =").replace(
            f"port={place.port}", f"port={place.port} user={place.username}"
        )
        (folder / "pgbouncer.ini").write_text(text)
        reachable = _copied(program, folder)
        give_away(folder)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(reachable.path), str(folder / "pgbouncer.ini")],
                env=reachable.environment,
                stdout=log,
                stderr=log,
                **unprivileged(),
            )
        try:
            _wait_until_it_listens(port, process, folder / "log")
            yield f"postgresql://{place.username}@127.0.0.1:{port}/{database}"
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copied(program: Program, folder: Path) -> Program:
    """Where an unprivileged user may enter."""
    libraries = program.environment.get("LD_LIBRARY_PATH", "")
    target = folder / "lib"
    target.mkdir()
    for place in filter(None, libraries.split(":")):
        for library in Path(place).glob("*.so*"):
            shutil.copy(library, target)
    path = Path(shutil.copy(program.path, folder))
    return Program(path, program.environment | {"LD_LIBRARY_PATH": str(target)})


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"PgBouncer did not start:\n{log.read_text()[-2000:]}")
