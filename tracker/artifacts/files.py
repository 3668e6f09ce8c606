"""Logging files, folders and references into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tracker.artifacts.folders import LeftOut, files_in
from tracker.artifacts.recorder import ArtifactRecorder
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent
from tracker.notices import notices

# Of a place that takes longer to answer, size and ETag stay unknown.
_ASK_TIMEOUT_S: Final = 2.0


def joined(folder: str | None, name: str) -> str:
    """`name` inside the artifact folder; slashes at the folder's end do not matter."""
    return f"{folder.rstrip('/')}/{name}" if folder else name


def log_path(
    recorder: ArtifactRecorder, source: Path, folder: str | None, *, model_id: str | None = None
) -> None:
    if source.is_dir():
        log_folder(recorder, source, joined(folder, source.resolve().name), model_id=model_id)
    else:
        recorder.log_file(source, joined(folder, source.name), model_id=model_id)


def log_folder(
    recorder: ArtifactRecorder, source: Path, folder: str | None, *, model_id: str | None = None
) -> None:
    """Every path is checked before any file is staged; a file that cannot be read is said."""
    found = list(files_in(source))
    files = [each for each in found if not isinstance(each, LeftOut)]
    left_out = [each for each in found if isinstance(each, LeftOut)]
    for each in files:
        check_artifact_path(joined(folder, each.path))
    for file in files:
        try:
            recorder.log_file(file.source, joined(folder, file.path), model_id=model_id)
        except OSError as error:  # vanished or unreadable; the others are logged all the same
            left_out.append(LeftOut(file.path, f"cannot be read: {error.strerror or error}"))
    if left_out:
        first = left_out[0]
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        notices.warn_once(
            f"left out of {source}",
            f"not logged from {source}: {first.path} {first.reason}{more}",
        )


def log_reference(recorder: ArtifactRecorder, uri: str, folder: str | None) -> None:
    """Record where something lies. Raises InvalidEvent for what is no address, and OSError for
    a path of this machine with nothing there."""
    parts = urlsplit(uri)
    if parts.password is not None:
        raise InvalidEvent("a reference must not carry a password; give the address without it")
    name = parts.path.rstrip("/").rpartition("/")[2] or parts.netloc
    if not name:
        raise InvalidEvent(f"{uri!r} names nothing to refer to")
    path = joined(folder, name)
    if not parts.scheme:
        source = Path(uri).resolve(strict=True)
        recorder.log_reference(path, source.as_uri(), lambda: _read_off(source))
    elif parts.scheme in ("http", "https"):
        recorder.log_reference(path, uri, lambda: _asked_over_http(uri))
    elif parts.scheme == "s3":
        key = parts.path.lstrip("/")
        recorder.log_reference(path, uri, lambda: _asked_of_s3(parts.netloc, key))
    else:
        recorder.log_reference(path, uri, dict)


def _read_off(path: Path) -> dict[str, Any]:
    """A file's size, and its modification time as its tag."""
    try:
        status = path.stat()
    except OSError:
        return {}
    return {"size": status.st_size, "etag": f'"{status.st_mtime_ns:x}"'}


def _asked_over_http(uri: str) -> dict[str, Any]:
    import http.client
    import urllib.request

    try:
        request = urllib.request.Request(uri, method="HEAD")
        with urllib.request.urlopen(request, timeout=_ASK_TIMEOUT_S) as answer:
            facts = {
                "etag": answer.headers.get("ETag"),
                "size": answer.headers.get("Content-Length"),
            }
    except (OSError, ValueError, http.client.HTTPException):
        return {}  # nobody answers, or no HTTP; where it lies is recorded all the same
    known: dict[str, Any] = {}
    if facts["etag"]:
        known["etag"] = facts["etag"]
    if facts["size"] and facts["size"].isdecimal():
        known["size"] = int(facts["size"])
    return known


def _asked_of_s3(bucket: str, key: str) -> dict[str, Any]:
    """Size and ETag of an object, if a client for S3 is installed and may ask."""
    try:
        import botocore.config
        import botocore.exceptions
        import botocore.session
    except ImportError:
        return {}
    settings = botocore.config.Config(
        connect_timeout=_ASK_TIMEOUT_S, read_timeout=_ASK_TIMEOUT_S, retries={"max_attempts": 0}
    )
    try:
        client = botocore.session.get_session().create_client("s3", config=settings)
        answer = client.head_object(Bucket=bucket, Key=key)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, ValueError):
        return {}
    return {"etag": answer["ETag"], "size": int(answer["ContentLength"])}
