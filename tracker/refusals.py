"""What can go wrong between a query and its answer.

    TrackerError
    └── QueryFailed
        ├── ServerUnreachable     nobody answers there
        │   └── LocalServerMissing  nor could one be started on this machine
        ├── NotATracker           somebody answers, but not with this API
        ├── ArtifactDamaged       the bytes that came are not those that were logged
        ├── ArtifactElsewhere     a reference: its bytes were never uploaded; .uri says where
        └── ApiRefusal            the server said no: code, message, details, status
            ├── InvalidQuery      a filter, order or page token; .position is its column
            ├── NotFound
            │   ├── ArtifactNotFound
        │   ├── RunNotFound
            │   ├── ExperimentNotFound
            │   └── WriterNotFound
            ├── ExperimentExists
            ├── RunDeleted
            ├── Unauthorized
            └── ServerBusy        it may be asked again; .retry_after_s says when

Every one has a `hint`: a sentence that says what to do about it, or "".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from tracker.events.errors import TrackerError


class QueryFailed(TrackerError):
    """A query or command that was not answered as asked."""

    hint: str = ""


class ServerUnreachable(QueryFailed):
    """No connection, or it broke; `uri` is where the server was looked for."""

    def __init__(self, message: str, *, uri: str) -> None:
        super().__init__(message)
        self.uri = uri
        self.hint = (
            f"Is it running? Start one with `tracker server`, or name another with --uri "
            f"or TRACKER_URI (now: {uri})."
        )


class LocalServerMissing(ServerUnreachable):
    """Destination "local" needs a server for queries, and none could be started."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, uri="local")
        self.hint = hint


class NotATracker(QueryFailed):
    """An answer that this API never gives: a proxy's page, another service, a cut body."""

    def __init__(self, message: str, *, uri: str) -> None:
        super().__init__(message)
        self.uri = uri
        self.hint = f"Does {uri} lead to a tracker server, or to a proxy or another service?"


class ArtifactDamaged(QueryFailed):
    """What arrived is not what was logged, or cannot be put where it belongs."""

    hint = "Download it again; if it stays so, `tracker artifacts verify` on the server tells more."


class ArtifactElsewhere(QueryFailed):
    """A reference: what was logged is where the bytes lie, not the bytes."""

    def __init__(self, path: str, uri: str) -> None:
        super().__init__(f"{path!r} is a reference to {uri}; its bytes were never uploaded")
        self.uri = uri
        self.hint = f"Get it from {uri}."


class ApiRefusal(QueryFailed):
    """The server's answer to a request it will not serve as it is."""

    default_hint: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int,
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.details = dict(details or {})
        self.retry_after_s = retry_after_s
        self.hint = self.default_hint


class InvalidQuery(ApiRefusal):
    default_hint = "`tracker runs search --help` has examples of the search language."

    @property
    def position(self) -> int | None:
        """The column of the filter text, from 1, at which it stops making sense."""
        position = self.details.get("position")
        return position if isinstance(position, int) else None


class NotFound(ApiRefusal):
    pass


class ArtifactNotFound(NotFound):
    default_hint = (
        "`tracker artifacts list RUN` lists a run's files. One that was just logged may still "
        "be in the spool: see `tracker spool list`."
    )


class RunNotFound(NotFound):
    default_hint = (
        "`tracker runs search` lists runs. A run that was just logged may still be in the "
        "spool: see `tracker spool list` and `tracker sync`."
    )


class ExperimentNotFound(NotFound):
    default_hint = "`tracker experiments search` lists experiments."


class WriterNotFound(NotFound):
    pass


class ExperimentExists(ApiRefusal):
    default_hint = "Use the one that exists, or restore it if it was deleted."


class RunDeleted(ApiRefusal):
    default_hint = "`tracker runs restore RUN` brings it back."


class Unauthorized(ApiRefusal):
    default_hint = "Pass the server's key with --api-key or TRACKER_API_KEY."


class ServerBusy(ApiRefusal):
    default_hint = "Try again in a moment."


_BY_CODE: Final[Mapping[str, type[ApiRefusal]]] = {
    "invalid_query": InvalidQuery,
    "not_found": NotFound,
    "artifact_not_found": ArtifactNotFound,
    "run_not_found": RunNotFound,
    "experiment_not_found": ExperimentNotFound,
    "writer_not_found": WriterNotFound,
    "experiment_exists": ExperimentExists,
    "run_deleted": RunDeleted,
    "unauthorized": Unauthorized,
    "busy": ServerBusy,
    "store_unavailable": ServerBusy,
    "projection_behind": ServerBusy,
    "shutting_down": ServerBusy,
}


def refusal_of(status: int, body: object, *, retry_after_s: float | None = None) -> ApiRefusal:
    """The error an answer's JSON stands for; a body of another shape is kept in the message."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        error = {}
    code = str(error.get("code") or f"http_{status}")
    details = error.get("details")
    kind = _BY_CODE.get(code, ServerBusy if status in (429, 502, 503, 504) else ApiRefusal)
    return kind(
        str(error.get("message") or f"the server answered with status {status}"),
        code=code,
        status=status,
        details=details if isinstance(details, Mapping) else None,
        retry_after_s=retry_after_s,
    )
