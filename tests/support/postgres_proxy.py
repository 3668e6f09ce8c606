"""A TCP proxy in front of PostgreSQL that cuts the line when it is told to, on loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

# How the driver sends COMMIT: a simple query, its length, its text, a zero byte.
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
# How it prepares the statement that commits by itself, and uses it from then on.
_PREPARED = re.compile(rb"P.{4}(__asyncpg_stmt_\w+)\x00[^\x00]*\bmoved AS", re.DOTALL)


class PostgresProxy:
    """Cuts connections: all at once, or each one at its next COMMIT."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()
        self.cut_after_commit = False
        """Pass COMMIT on, and let the client never hear of it."""
        self.cut_before_commit = False
        self.is_refusing = False
        self.is_silent = False
        """Nothing gets through, and nobody is told: a pulled cable."""
        self.cuts = 0

    def cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        down = asyncio.create_task(self._pass_on(up_reader, writer))
        try:
            await self._pass_up(reader, up_writer, writer)
        finally:
            # What PostgreSQL still has to say about a COMMIT is for nobody any more, but it
            # must get to read it.
            await asyncio.sleep(0.05)
            down.cancel()
            for end in (writer, up_writer):
                end.transport.abort()
                self._writers.discard(end)

    async def _pass_up(
        self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, down: asyncio.StreamWriter
    ) -> None:
        committing: set[bytes] = set()
        try:
            while data := await reader.read(65536):
                while self.is_silent:
                    await asyncio.sleep(0.01)
                is_commit = _COMMIT in data or any(name in data for name in committing)
                committing |= {b"\x00" + name + b"\x00" for name in _PREPARED.findall(data)}
                if is_commit and self.cut_before_commit:
                    self.cuts += 1
                    return
                if is_commit and self.cut_after_commit:
                    self.cuts += 1
                    down.transport.abort()
                up.write(data)
                await up.drain()
                if is_commit and self.cut_after_commit:
                    return
        except OSError:
            return

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                while self.is_silent:
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()


@asynccontextmanager
async def running_postgres_proxy(dsn: str) -> AsyncIterator[tuple[PostgresProxy, str]]:
    """(the proxy, the DSN of the same database through it)."""
    place = urlsplit(dsn)
    assert place.hostname is not None
    assert place.port is not None
    proxy = PostgresProxy((place.hostname, place.port))
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = f"{place.username}@" if place.username else ""
    try:
        yield proxy, urlunsplit(place._replace(netloc=f"{user}127.0.0.1:{port}"))
    finally:
        proxy.cut_all()
        server.close()
        await asyncio.sleep(0.1)
