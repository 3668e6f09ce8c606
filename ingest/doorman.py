"""Answers /health from the first moment on, while the rest of the server is being loaded.

Whoever asks for anything else waits: the doorman looks at a request without taking it from
its socket, and hands the connection to the server when that is ready.
"""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Final, Self

_BODY: Final = b'{"status":"ok"}'
_HEALTHY: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"X-Content-Type-Options: nosniff\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_ASKS_FOR_HEALTH: Final = (b"GET /health ", b"GET /health?")
_REQUEST_BYTES_MAX: Final = 16_384
_REQUEST_TIMEOUT_S: Final = 2.0


class Doorman:
    """`async with` it; afterwards `waiting` are the connections to hand over."""

    def __init__(self, listening: socket.socket) -> None:
        self.waiting: list[socket.socket] = []
        self._listening = listening
        self._greetings: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._accepting = asyncio.create_task(self._accept(), name="doorman")
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks = {self._accepting, *self._greetings}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if error is not None:
            for connection in self.waiting:
                connection.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listening)
            connection.setblocking(False)
            greeting = asyncio.create_task(self._greet(connection))
            self._greetings.add(greeting)
            greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, connection: socket.socket) -> None:
        try:
            await _readable(connection)
            start = connection.recv(len(_ASKS_FOR_HEALTH[0]), socket.MSG_PEEK)
        except asyncio.CancelledError:
            self.waiting.append(connection)
            raise
        except OSError:
            connection.close()
            return
        if start in _ASKS_FOR_HEALTH:
            await _answer(connection)
        else:
            self.waiting.append(connection)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    is_readable = asyncio.Event()
    loop.add_reader(connection, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(connection)


async def _answer(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with connection:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                request = b""
                while b"\r\n\r\n" not in request and len(request) < _REQUEST_BYTES_MAX:
                    chunk = await loop.sock_recv(connection, 4096)
                    if not chunk:
                        return
                    request += chunk
                await loop.sock_sendall(connection, _HEALTHY)
        except (OSError, TimeoutError):
            return  # whoever asked has gone
