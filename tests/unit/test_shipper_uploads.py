"""What a server's refusal means for a staged file: wait and send again, or give it up."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tracker.events.limits import BLOB_BATCH_BLOB_BYTES_MAX
from tracker.shipper.blobs import LostBlob, NamedBlob
from tracker.shipper.state import DeliveryCounts
from tracker.shipper.transmit import Unreachable
from tracker.shipper.uploads import Uploader
from tracker.spool.staging import Staging

SMALL, LARGE = b"small", b"x" * (BLOB_BATCH_BLOB_BYTES_MAX + 1)


class Server:
    """Answers each request with the first of the answers that are left, then takes everything."""

    uri = "http://server.example"

    def __init__(self, *answers: tuple[int, str | None]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def ask(self, method: str, path: str, **given: Any) -> tuple[int, Any, float | None]:
        self.asked.append(f"{method} {path.rpartition('/')[2]}")
        if self.answers:
            status, code = self.answers.pop(0)
            error = {"code": code, "message": "no"} if code else "<html>no</html>"
            return status, {"error": error}, 3.0
        if path.endswith("/uploads"):
            return 200, {"is_stored": True, "upload_id": None}, None
        return 200, {"blobs": []}, None


def staged(folder: Path, data: bytes) -> NamedBlob:
    folder.mkdir(exist_ok=True)
    found = Staging(folder).take_bytes(data)
    return NamedBlob(1, found.digest, found.size, found.path)


def uploader(server: Server, folder: Path) -> Uploader:
    return Uploader(server, DeliveryCounts(), folder, workspace="default")  # type: ignore[arg-type]  # what it asks of one


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, None),  # a proxy before the server
        (403, "forbidden"),
        (500, "internal_error"),
        (502, "store_refused"),
        (503, "store_unavailable"),  # S3 says 500, 503 or SlowDown, after the server's retries
        (503, "busy"),
        (507, "store_full"),
        (413, None),
        (404, None),
    ],
)
async def test_a_refusal_that_is_not_about_the_file_keeps_it_for_another_time(
    tmp_path: Path, data: bytes, status: int, code: str | None
) -> None:
    blob = staged(tmp_path / "writer", data)
    server = Server((status, code))
    sending = uploader(server, tmp_path / "writer")

    with pytest.raises(Unreachable) as refusal:
        await sending.upload([blob])
    await sending.upload([blob])

    assert refusal.value.retry_after_s == 3.0
    assert blob.path is not None
    assert blob.path.read_bytes() == data
    assert len(server.asked) == 2


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_bytes_that_are_not_those_of_their_digest_are_given_up(
    tmp_path: Path, data: bytes
) -> None:
    blob = staged(tmp_path / "writer", data)

    with pytest.raises(LostBlob, match="not those logged"):
        await uploader(Server((422, "digest_mismatch")), tmp_path / "writer").upload([blob])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("fate", ["gone", "shorter"])
async def test_a_staged_file_that_is_gone_is_lost_unless_the_server_has_it(
    tmp_path: Path, data: bytes, fate: str
) -> None:
    blob = staged(tmp_path / "writer", data)
    assert blob.path is not None
    if fate == "gone":
        blob.path.unlink()
    else:
        blob.path.write_bytes(data[:-1])

    await uploader(Server((200, None)), tmp_path / "writer").upload([blob])
    with pytest.raises(LostBlob, match="gone from the spool"):
        await uploader(Server((404, None)), tmp_path / "writer").upload([blob])


async def test_the_same_bytes_named_twice_are_sent_once(tmp_path: Path) -> None:
    blob = staged(tmp_path / "writer", SMALL)
    server = Server()

    await uploader(server, tmp_path / "writer").upload([blob, dataclasses.replace(blob, seq=2)])

    assert hashlib.sha256(SMALL).hexdigest() == blob.digest
    assert server.asked == ["POST batch"]
