"""One HTTP session to one server: requests, retries, and refusals as errors.

What may be asked twice is asked again until `retry_for_s` is over, with full jitter and
never sooner than Retry-After says: reads after 429, 502, 503, 504 and lost connections;
commands only when they cannot have been carried out, which is when no connection was made
or when the server says that it did not begin.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tracker.refusals import ApiRefusal, NotATracker, QueryFailed, ServerUnreachable, refusal_of

if TYPE_CHECKING:
    import aiohttp

Params: TypeAlias = Sequence[tuple[str, str]]

JSON: Final = "application/json"
RETRYABLE_STATUS: Final = frozenset({429, 502, 503, 504})
NOT_BEGUN_CODES: Final = frozenset({"busy", "shutting_down", "projection_behind"})
FIRST_DELAY_S: Final = 0.1
DELAY_S_MAX: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
# Between two pieces of an answer, not for the whole: long histories stream for minutes.
SILENCE_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Query:
    """One request. `is_read`: may be sent twice without changing anything."""

    method: str
    path: str
    is_read: bool
    params: Params = ()
    body: Any = None
    accept: str = JSON
    headers: Params = ()


class Transport:
    """Sends requests to `uri`. To be used and closed on one event loop."""

    def __init__(self, uri: str, *, headers: Mapping[str, str], retry_for_s: float) -> None:
        self.uri = uri.rstrip("/")
        self._headers = dict(headers)
        self._retry_for_s = retry_for_s
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def json(self, query: Query) -> Any:
        """The answer's JSON. Raises a QueryFailed."""
        async with self.answer(query) as response:
            return await self.decoded(response)

    @asynccontextmanager
    async def answer(self, query: Query) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer whose body has yet to be read; retries happen before."""
        response = await self._sent(query)
        try:
            with self._connection_errors():
                yield response
        finally:
            response.release()

    async def _sent(self, query: Query) -> aiohttp.ClientResponse:
        deadline = time.monotonic() + self._retry_for_s
        delay_s = FIRST_DELAY_S
        while True:
            try:
                return await self.once(query)
            except QueryFailed as error:
                wait_s = max(random.uniform(0, delay_s), getattr(error, "retry_after_s", 0) or 0)
                if not _may_repeat(query, error) or time.monotonic() + wait_s > deadline:
                    raise
            await asyncio.sleep(wait_s)
            delay_s = min(2 * delay_s, DELAY_S_MAX)

    async def once(self, query: Query) -> aiohttp.ClientResponse:
        """Send without repeating. The caller reads and releases the answer."""
        with self._connection_errors():
            response = await self._opened().request(
                query.method,
                self.uri + query.path,
                params=list(query.params),
                data=None if query.body is None else json.dumps(query.body),
                headers={"Accept": query.accept, "Content-Type": JSON, **dict(query.headers)},
                allow_redirects=query.is_read,
            )
            if response.status < 300:
                return response
            try:
                body = await self.decoded(response)
            except NotATracker:
                body = None
            finally:
                response.release()
        raise refusal_of(response.status, body, retry_after_s=_retry_after_s(response))

    async def decoded(self, response: aiohttp.ClientResponse) -> Any:
        text = await response.text(errors="replace")
        try:
            return json.loads(text)
        except ValueError:
            start = " ".join(text[:60].split())
            raise NotATracker(
                f"{self.uri} answered {response.status} with {response.content_type}, "
                f"not JSON: {start!r}",
                uri=self.uri,
            ) from None

    def _connection_errors(self) -> _ConnectionErrors:
        return _ConnectionErrors(self.uri)

    def _opened(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
            )
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=timeout,
                connector=aiohttp.TCPConnector(limit=16),
                trust_env=True,
            )
        return self._session


class ConnectionRefused(ServerUnreachable):
    """No connection was made, so nothing was sent."""


class _ConnectionErrors:
    """Turns aiohttp's errors into ours at the one place where they leave it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import aiohttp

        match error:
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
                raise ConnectionRefused(
                    f"no server answers at {self._uri} ({_reason(error)})", uri=self._uri
                ) from error
            case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
                raise NotATracker(f"{self._uri!r} is not an address", uri=self._uri) from error
            case aiohttp.ClientError() | TimeoutError() | asyncio.IncompleteReadError():
                raise ServerUnreachable(
                    f"the connection to {self._uri} broke ({_reason(error)})", uri=self._uri
                ) from error


def _reason(error: BaseException) -> str:
    os_error = getattr(error, "os_error", None)
    if isinstance(os_error, OSError) and (os_error.errno or 0) > 0:
        return os.strerror(os_error.errno or 0)
    return str(os_error or error or type(error).__name__)


def _may_repeat(query: Query, error: QueryFailed) -> bool:
    match error:
        case ApiRefusal() if query.is_read:
            return error.status in RETRYABLE_STATUS
        case ApiRefusal():
            return error.status == 503 and error.code in NOT_BEGUN_CODES
        case ConnectionRefused():
            return True
        case ServerUnreachable():
            return query.is_read
        case _:
            return False


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """Retry-After in seconds; its other form, a date, is left to our own back-off."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None
