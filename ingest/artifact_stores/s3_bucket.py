"""One bucket, spoken to through aiobotocore: every call ends in an answer or an error of ours.

404, NoSuchKey, NoSuchUpload         ObjectMissing
412 (If-None-Match)                  ObjectExists
507, no space                        StoreFull
408, 409, 429, 5xx, SlowDown,        StoreUnavailable, after the client's own retries
  no connection, a timeout             (four, with exponential backoff and full jitter)
403, no credentials, any other 4xx   StoreRefused
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from ingest.errors import ApiError, StoreFull, StoreRefused, StoreUnavailable
from tracker.events.errors import TrackerError

_CONFIG: Final[dict[str, Any]] = {
    "signature_version": "s3v4",  # a URL signed otherwise does not bind a part to its length
    "connect_timeout": 5,
    "read_timeout": 60,
    "max_pool_connections": 32,
    "retries": {"mode": "standard", "max_attempts": 5},
    "tcp_keepalive": True,
    # Blobs carry their own SHA-256; further checksums make other S3 servers fail.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_MISSING: Final = frozenset({"404", "NoSuchKey", "NoSuchUpload"})
_FULL: Final = frozenset({"InsufficientStorage", "XMinioStorageFull", "QuotaExceeded"})
_LATER: Final = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ServiceUnavailable"})
_AMAZON: Final = (".amazonaws.com", ".amazonaws.com.cn")


class ObjectMissing(TrackerError):
    """There is no such object or multipart upload. Stays inside the S3 store."""


class ObjectExists(TrackerError):
    """An object of that key is there already. Stays inside the S3 store."""


class Bucket:
    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    async def call(self, operation: str, **parameters: Any) -> Any:
        """Call an operation of S3 on this bucket; its answer is botocore's."""
        with said(operation):
            return await getattr(self._client, operation)(Bucket=self.name, **parameters)

    async def presigned(self, operation: str, *, expires_s: int, **parameters: Any) -> str:
        with said(operation):
            url: str = await self._client.generate_presigned_url(
                operation, Params={"Bucket": self.name, **parameters}, ExpiresIn=expires_s
            )
            return url

    async def pages(self, operation: str, **parameters: Any) -> AsyncIterator[Any]:
        """The pages of a listing."""
        with said(operation):
            paginator = self._client.get_paginator(operation)
            async for page in paginator.paginate(Bucket=self.name, **parameters):
                yield page


@asynccontextmanager
async def open_bucket(name: str) -> AsyncIterator[Bucket]:
    """Endpoint, region and credentials come from where botocore looks for them, for
    example AWS_ENDPOINT_URL_S3 and AWS_ACCESS_KEY_ID."""
    session = get_session()
    async with session.create_client("s3", config=AioConfig(**_CONFIG)) as client:
        host = client.meta.endpoint_url.partition("://")[2].partition(":")[0].partition("/")[0]
        if host.endswith(_AMAZON):
            yield Bucket(client, name)
            return
    # Elsewhere a bucket is seldom a name in the DNS.
    config = AioConfig(**_CONFIG, s3={"addressing_style": "path"})
    async with session.create_client("s3", config=config) as client:
        yield Bucket(client, name)


@contextmanager
def said(operation: str) -> Iterator[None]:
    """Turns what S3 answers, or does not, into errors of ours."""
    try:
        yield
    except ClientError as error:
        raise _of_answer(error, operation) from error
    except NoCredentialsError as error:
        raise StoreRefused(
            "the server has no credentials for its object store; its operator can set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (BotoCoreError, aiohttp.ClientError, OSError) as error:
        raise StoreUnavailable(
            f"the object store does not answer ({operation}: {type(error).__name__}); try again",
            retry_after_s=5.0,
        ) from error


def _of_answer(error: ClientError, operation: str) -> TrackerError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _MISSING or (status == 404 and code != "NoSuchBucket"):
        return ObjectMissing(operation)
    if status == 412:
        return ObjectExists(operation)
    return _refusal(code, status, operation)


def _refusal(code: str, status: int, operation: str) -> ApiError:
    said = f"{operation}: {status} {code[:60]}"
    if code in _FULL or status == 507:
        return StoreFull(f"the object store has no room ({said})", retry_after_s=60.0)
    if status >= 500 or status in (0, 408, 409, 429) or code in _LATER:
        return StoreUnavailable(
            f"the object store cannot answer now ({said}); try again", retry_after_s=5.0
        )
    return StoreRefused(
        f"the object store refuses what the server asks ({said}); "
        "look at its bucket, its credentials and their rights"
    )
