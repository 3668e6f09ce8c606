"""The errors of the server, and the one table that maps them to HTTP.

Every refusal has a code for programs, a sentence for people that says what to change, and
the facts in `details`. Retryable ones carry `retry_after_s`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from projections.log import LogDamaged
from projections.projection import ProjectionStoreFailed
from projections.search import errors as search_errors
from tracker.events.errors import CorruptPayload, InvalidEvent, PayloadTooLarge, TrackerError

# Of a 503 that has no better guess of its own.
RETRY_AFTER_S: Final = 1.0


class ApiError(TrackerError):
    """A refusal that reaches the client as it is."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s


class InvalidRequest(ApiError):
    pass


class InvalidQuery(ApiError):
    """A filter, order or page token that cannot be read; details.position is its column."""

    code = "invalid_query"


class Unauthorized(ApiError):
    status, code = 401, "unauthorized"


class ForbiddenHost(ApiError):
    status, code = 403, "forbidden_host"


class ForbiddenOrigin(ApiError):
    """A web page of another site tried to change something."""

    status, code = 403, "forbidden_origin"


class NotFound(ApiError):
    status, code = 404, "not_found"


class RunNotFound(NotFound):
    code = "run_not_found"


class ExperimentNotFound(NotFound):
    code = "experiment_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class WriterNotFound(NotFound):
    code = "writer_not_found"


class MetricNotFound(NotFound):
    """The run has logged no metric of this key; details.near are keys that look like it."""

    code = "metric_not_found"


class BlobNotFound(NotFound):
    code = "blob_not_found"


class ArtifactNotFound(NotFound):
    code = "artifact_not_found"


class ArtifactLost(NotFound):
    """A blob that is named is not in the artifact store; details.sha256 is its name."""

    code = "artifact_lost"


class UploadNotFound(NotFound):
    """No such upload, or it was completed, aborted, or abandoned for a day."""

    code = "upload_not_found"


class NoSuchPart(NotFound):
    """A part number beyond the upload's; details.parts is the last."""

    code = "no_such_part"


class MethodNotAllowed(ApiError):
    status, code = 405, "method_not_allowed"


class BodyStalled(ApiError):
    """Nothing more of the body arrived for a long time."""

    status, code = 408, "body_stalled"


class SequenceGap(ApiError):
    """Records are missing before this batch; details.next_seq is where to go on."""

    status, code = 409, "sequence_gap"


class WriterFenced(ApiError):
    status, code = 409, "writer_fenced"


class WriterMoved(ApiError):
    status, code = 409, "writer_moved"


class ExperimentExists(ApiError):
    status, code = 409, "experiment_exists"


class ExperimentDeleted(ApiError):
    status, code = 409, "experiment_deleted"


class RunDeleted(ApiError):
    status, code = 409, "run_deleted"


class ParamChanged(ApiError):
    """A param has another value already; params never change."""

    status, code = 409, "param_changed"


class ImportRefused(ApiError):
    """The batches do not continue this log exactly; details.next_position is where it ends."""

    status, code = 409, "import_refused"


class StreamMoved(ApiError):
    """A decision was overtaken; it is taken again inside the server and seldom leaves it."""

    status, code = 409, "stream_moved"


class ArtifactConflict(ApiError):
    """A file cannot lie where a folder is, or below another file."""

    status, code = 409, "artifact_conflict"


class ArtifactIsReference(ApiError):
    """The bytes are not kept here; details.uri says where they are."""

    status, code = 409, "artifact_is_reference"


class PartsMissing(ApiError):
    """An upload is not whole; details.missing are the first of the parts to put (again)."""

    status, code = 409, "parts_missing"


class TooLarge(ApiError):
    status, code = 413, "payload_too_large"


class UnsupportedMediaType(ApiError):
    status, code = 415, "unsupported_media_type"


class RangeNotSatisfiable(ApiError):
    """The bytes asked for are beyond the blob's end; details.size is where that is."""

    status, code = 416, "range_not_satisfiable"


class DigestMismatch(ApiError):
    """Bytes are others than their SHA-256 says; details.sha256 is what they are."""

    status, code = 422, "digest_mismatch"


class WrongPartSize(ApiError):
    """A part is longer or shorter than its place; details.size is what it must be."""

    status, code = 422, "wrong_part_size"


class SequenceReused(ApiError):
    status, code = 422, "sequence_reused"


class StoreRefused(ApiError):
    """The store behind the server does not let it in: its operator must change something."""

    status, code = 502, "store_refused"


class Busy(ApiError):
    status, code = 503, "busy"


class StoreUnavailable(ApiError):
    status, code = 503, "store_unavailable"


class ArtifactsOnly(ApiError):
    """The server was started with --artifacts-only; details.setting says how to change that."""

    status, code = 503, "artifacts_only"


class ArtifactsNotServed(ApiError):
    """The server was started with --no-serve-artifacts and carries no bytes."""

    status, code = 503, "artifacts_not_served"


class ProjectionBehind(ApiError):
    status, code = 503, "projection_behind"


class ShuttingDown(ApiError):
    status, code = 503, "shutting_down"


class StoreFull(ApiError):
    """There is no room. Nothing is half-stored; it can be sent again when there is."""

    status, code = 507, "store_full"


def api_error_for(error: TrackerError) -> tuple[int, str]:
    """(HTTP status, code) of any error of ours; what is not in the table is a bug of ours."""
    match error:
        case ApiError():
            return error.status, error.code
        case search_errors.InvalidQuery():
            return InvalidQuery.status, InvalidQuery.code
        case ProjectionStoreFailed():
            return StoreUnavailable.status, StoreUnavailable.code
        case LogDamaged():
            return 500, "log_damaged"
        case InvalidEvent():
            return 422, "invalid_event"
        case PayloadTooLarge():
            return 413, "payload_too_large"
        case CorruptPayload():
            return 400, "corrupt_payload"
        case _:
            return 500, "internal_error"


def retry_after_of(error: TrackerError) -> float | None:
    """Seconds after which it is worth sending it again; None when it is not. Every 503 says."""
    if isinstance(error, ApiError) and error.retry_after_s is not None:
        return error.retry_after_s
    status, _ = api_error_for(error)
    return RETRY_AFTER_S if status == 503 else None


def details_of(error: TrackerError) -> dict[str, Any]:
    """The facts a refusal carries for programs."""
    match error:
        case ApiError():
            return error.details
        case search_errors.InvalidQuery() if error.position is not None:
            return {"position": error.position}
        case LogDamaged():
            return {"first_position": error.first_position, "last_position": error.last_position}
        case _:
            return {}
