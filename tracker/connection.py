"""The way to one server: where it is, what was written there, and requests to it.

Finds the server of this machine when the destination is "local", and remembers the
position of the latest command, so that reads are answered no older than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from tracker import config, destination, local_server
from tracker.transport import Params, Query, Transport

API: Final = "/api/v1"
# Well below local_server.IDLE_EXIT_S.
LOCAL_LOOK_INTERVAL_S: Final = 10.0


class Connection:
    """To be used and closed on one event loop; opened when it is first used.

    Every request raises a QueryFailed of tracker.refusals when it is not answered as asked.
    """

    def __init__(
        self,
        uri: str | None,
        *,
        api_key: str | None,
        workspace: str | None,
        retry_for_s: float,
    ) -> None:
        given = destination.destination().uri if uri is None else uri
        self.uri = destination.parse_uri(given, source="uri")
        self.position = 0
        self._headers = {"X-Tracker-Workspace": workspace or config.workspace()}
        key = api_key or config.api_key()
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._retry_for_s = retry_for_s
        self._transport: Transport | None = None
        self._opening = asyncio.Lock()
        self._local_until = 0.0

    async def aclose(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    def saw_position(self, position: int) -> None:
        self.position = max(self.position, position)

    async def read(self, path: str, params: Params = ()) -> Any:
        query = Query("GET", path, is_read=True, params=self.at_position(params))
        return await (await self.opened()).json(query)

    async def search(self, path: str, body: Mapping[str, Any]) -> Any:
        """A question in a POST's body, or a request that may be repeated without harm."""
        query = Query("POST", path, is_read=True, body=body)
        return await (await self.opened()).json(query)

    async def command(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """An edit; what is read from now on includes it."""
        query = Query(method, path, is_read=False, body=body)
        answer = await (await self.opened()).json(query)
        self.saw_position(answer["position"])
        return answer

    async def patch(self, path: str, **changes: Any) -> None:
        """Change what is given; None changes nothing."""
        given = {name: value for name, value in changes.items() if value is not None}
        await self.command("PATCH", path, given)

    def at_position(self, params: Params) -> Params:
        return [*params, ("min_position", str(self.position))] if self.position else params

    async def opened(self) -> Transport:
        async with self._opening:
            if self.uri == destination.LOCAL:
                return await self._opened_here()
            if self._transport is None:
                self._transport = self._to(self.uri)
            return self._transport

    async def _opened_here(self) -> Transport:
        """Looks again now and then: the server of this machine leaves when it is idle."""
        if self._transport is not None and time.monotonic() < self._local_until:
            return self._transport
        uri = await asyncio.to_thread(local_server.ensure_running, config.home())
        self._local_until = time.monotonic() + LOCAL_LOOK_INTERVAL_S
        if self._transport is None or self._transport.uri != uri:
            await self.aclose()
            self._transport = self._to(uri)
        return self._transport

    def _to(self, uri: str) -> Transport:
        return Transport(uri, headers=self._headers, retry_for_s=self._retry_for_s)
