"""Who comes while the server is still being loaded: answered, or handed over, and never lost."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest

from ingest.binding import listen
from ingest.doorman import Doorman

ASKED = b"GET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connected(listening: socket.socket, said: bytes = b"") -> socket.socket:
    client = socket.create_connection(listening.getsockname(), timeout=60)
    client.sendall(said)
    return client


def let_in(listening: socket.socket, doorman: Doorman) -> list[socket.socket]:
    """Those handed over, and those that the server would accept itself."""
    with suppress(BlockingIOError):
        while True:
            doorman.waiting.append(listening.accept()[0])
    return doorman.waiting


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("said", [ASKED, b"", HEALTH], ids=["asks", "is silent", "health"])
async def test_who_comes_at_the_moment_the_server_is_ready_is_not_lost(
    turns: int, said: bytes
) -> None:
    with listen("127.0.0.1", 0) as listening:
        async with Doorman(listening) as doorman:
            await asyncio.sleep(0.01)
            client = connected(listening, said)
            for _ in range(turns):
                await asyncio.sleep(0)
        for connection in let_in(listening, doorman):
            connection.setblocking(True)
            connection.sendall(b"HTTP/1.1 200 by the server")
            connection.close()

        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.close()


async def test_health_is_answered_and_the_rest_waits_untouched() -> None:
    with listen("127.0.0.1", 0) as listening:
        async with Doorman(listening) as doorman:
            clients = [connected(listening, said) for said in (HEALTH, ASKED, HEALTH[:14], b"")]
            healthy = await asyncio.to_thread(clients[0].recv, 1000)
            while len(doorman.waiting) < 2:
                await asyncio.sleep(0)
        read = []
        for connection in let_in(listening, doorman):
            connection.setblocking(False)
            try:
                read.append(connection.recv(1000))
            except BlockingIOError:
                read.append(b"")
            connection.close()

        assert healthy.endswith(b'{"status":"ok"}')
        assert sorted(read) == sorted([ASKED, HEALTH[:14], b""])
        for client in clients:
            client.close()
