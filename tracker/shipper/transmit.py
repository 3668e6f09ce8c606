"""Talking to one server: what a shipper says, and what each answer means.

    200                                    stored (or known already)
    409 sequence_gap                       SequenceExpected: go on where the server says
    408 429 500 502 503 504, no answer,    Unreachable: wait, with jitter or as Retry-After
      an answer that is no JSON             says, and send the same again
    401 403 404 405                        Unreachable, too: it is not about the data
    422 sequence_reused, 409 otherwise     WriterRefused: nothing of this writer can go on
    413, any other 4xx of ours             BatchRefused: something in it cannot be stored

Nothing here retries; the delivery does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from tracker.events.errors import TrackerError
from tracker.events.ids import DEFAULT_WORKSPACE
from tracker.events.wire import BATCH_CONTENT_TYPE

# A server commits within milliseconds; a minute covers a slow link with 16 MiB to carry.
REQUEST_TIMEOUT_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 5.0
RETRY_AFTER_MAX_S: Final = 300.0
_WHOLE_BYTES_MAX: Final = 1024 * 1024
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
_ABOUT_ACCESS: Final = frozenset({401, 403, 404, 405})


class Unreachable(TrackerError):
    """The server did not take it now; the same may be sent again later."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SequenceExpected(TrackerError):
    """The server expects another sequence number next."""

    def __init__(self, next_seq: int) -> None:
        super().__init__(f"the server expects sequence {next_seq}")
        self.next_seq = next_seq


class BatchRefused(TrackerError):
    """The server will never store this batch; a part of it may be fine."""


class WriterRefused(TrackerError):
    """The server will take nothing more of this writer."""


KeyOf = Callable[[str], str | None]
"""The API key for a server, by its address; asked again when a server refuses the last one."""


def no_key(uri: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Lease:
    """A word on a writer: live, closed or dead. See ingest.schemas.LeaseRequest."""

    writer_id: str
    run_id: str
    state: str
    next_seq: int | None = None
    reason: str | None = None
    detail: str | None = None


class Transmitter:
    """One destination. Shares the session it is given; closes nothing."""

    def __init__(self, session: aiohttp.ClientSession, uri: str, *, key_of: KeyOf = no_key) -> None:
        self._session = session
        self.uri = uri.rstrip("/")
        self._key_of = key_of
        self._api_key = key_of(self.uri)

    async def next_seq(self, writer_id: str, *, workspace: str = DEFAULT_WORKSPACE) -> int:
        """The sequence number the server expects of a writer; 1 if it does not know it."""
        status, answer, retry_after = await self.ask(
            "GET", f"/api/v1/writers/{writer_id}", workspace=workspace
        )
        if status == 404 and _code(answer) == "writer_not_found":
            return 1
        if status != 200:
            raise _refusal(status, answer, retry_after)
        return _next_seq(answer)

    async def append(self, body: bytes, *, workspace: str = DEFAULT_WORKSPACE) -> int:
        """Send one batch; return the server's next_seq once it is durable."""
        status, answer, retry_after = await self.ask(
            "POST", "/api/v1/append", workspace=workspace, data=body, media=BATCH_CONTENT_TYPE
        )
        if status != 200:
            raise _refusal(status, answer, retry_after)
        return _next_seq(answer)

    async def report(
        self, leases: Sequence[Lease], *, workspace: str = DEFAULT_WORKSPACE
    ) -> Mapping[str, str]:
        """Say how writers are; the server's outcome for each."""
        rows = [
            {name: value for name in Lease.__slots__ if (value := getattr(lease, name)) is not None}
            for lease in leases
        ]
        status, answer, retry_after = await self.ask(
            "POST",
            "/api/v1/leases",
            workspace=workspace,
            data=json.dumps({"leases": rows}).encode(),
            media="application/json",
        )
        if status != 200:
            raise _refusal(status, answer, retry_after)
        try:
            return {row["writer_id"]: row["outcome"] for row in answer["leases"]}
        except (KeyError, TypeError):
            raise Unreachable("the server's answer to a lease cannot be read") from None

    async def put_elsewhere(self, url: str, data: bytes, timeout_s: float) -> bool:
        """PUT bytes to an address that the server gave; whether they were taken there."""
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._session.put(
                url, data=_body(data), timeout=timeout, allow_redirects=False
            ) as response:
                return response.status in (200, 201, 204)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return False

    async def ask(
        self,
        method: str,
        path: str,
        *,
        workspace: str,
        data: bytes | None = None,
        media: str | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> tuple[int, Any, float | None]:
        """(status, the answer's JSON, Retry-After in seconds). Raises Unreachable."""
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        if workspace != DEFAULT_WORKSPACE:
            headers["X-Tracker-Workspace"] = workspace
        if media:
            headers["Content-Type"] = media
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._session.request(
                method, self.uri + path, data=_body(data), headers=headers, timeout=timeout,
                allow_redirects=False,
            ) as response:  # fmt: skip
                text = await _read(response)
                retry_after = _retry_after_s(response.headers.get("Retry-After"))
                if response.status == 401:
                    self._api_key = self._key_of(self.uri)
                return response.status, _json(text), retry_after
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: an address that is none, a reply whose headers do not parse.
            raise Unreachable(f"{self.uri}: {str(error) or type(error).__name__}") from None


def _body(data: bytes | None) -> bytes | io.BytesIO | None:
    """Parts of files are handed on piece by piece, so that the loop goes on meanwhile."""
    return io.BytesIO(data) if data is not None and len(data) > _WHOLE_BYTES_MAX else data


def _refusal(status: int, answer: Any, retry_after_s: float | None) -> TrackerError:
    code, message = _code(answer), _message(answer, status)
    if status == 409 and code == "sequence_gap":
        expected = answer["error"].get("details", {}).get("next_seq")
        if type(expected) is int and expected >= 1:
            return SequenceExpected(expected)
        return Unreachable("the server reports a gap but not where")
    if status in _RETRYABLE:
        return Unreachable(message, retry_after_s=retry_after_s)
    if status == 413:
        # Also without a code of ours: proxies have a limit of their own, often 1 MB.
        return BatchRefused(message)
    if status in _ABOUT_ACCESS or not 400 <= status < 500 or code is None:
        # Without a code of ours it is a proxy or another service that answers.
        return Unreachable(message, retry_after_s=retry_after_s)
    if status == 409 or code == "sequence_reused":
        return WriterRefused(message)
    return BatchRefused(message)


def _next_seq(answer: Any) -> int:
    next_seq = answer.get("next_seq") if isinstance(answer, dict) else None
    if type(next_seq) is not int or next_seq < 1:
        raise Unreachable("the server's answer cannot be read")
    return next_seq


def _code(answer: Any) -> str | None:
    error = answer.get("error") if isinstance(answer, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None


def _message(answer: Any, status: int) -> str:
    if _code(answer) is None:
        return f"HTTP {status}, and the answer is not a tracking server's"
    return f"{answer['error'].get('message')} ({_code(answer)})"


async def _read(response: aiohttp.ClientResponse) -> bytes:
    text = bytearray()
    async for part in response.content.iter_any():
        text += part
        if len(text) > ANSWER_BYTES_MAX:
            raise Unreachable("the server's answer has no end")
    return bytes(text)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _retry_after_s(text: str | None) -> float | None:
    """Seconds, from either form of the header; None if there is none that can be read."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)
