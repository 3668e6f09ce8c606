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


class Doorman:
    """`async with` it; afterwards `waiting` are the connections to hand over.

    It takes one step per connection and awaits nothing in between, so that none is lost when
    the server is ready in the middle of one.
    """

    def __init__(self, listening: socket.socket) -> None:
        self.waiting: list[socket.socket] = []
        self._listening = listening
        self._silent: set[socket.socket] = set()

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._listening, self._accept)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        for connection in self._silent:
            loop.remove_reader(connection)
        self.waiting += self._silent
        self._silent.clear()
        if error is not None:
            for connection in self.waiting:
                connection.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # whoever came has gone
        except OSError:
            # No descriptor is free: the server will see when there is one.
            asyncio.get_running_loop().remove_reader(self._listening)
            return
        connection.setblocking(False)
        self._silent.add(connection)
        asyncio.get_running_loop().add_reader(connection, self._greet, connection)

    def _greet(self, connection: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(connection)
        self._silent.discard(connection)
        try:
            request = connection.recv(_REQUEST_BYTES_MAX, socket.MSG_PEEK)
            if request.startswith(_ASKS_FOR_HEALTH) and request.endswith(b"\r\n\r\n"):
                connection.recv(_REQUEST_BYTES_MAX)
                connection.send(_HEALTHY)  # an empty buffer has room for it
                connection.close()
            else:
                self.waiting.append(connection)
        except OSError:
            connection.close()  # whoever asked has gone
