"""Metric series as columns, read page by page: as Arrow if the server sends it, else JSON.

Columns are `array`s: exact, 8 bytes a value, and numpy.frombuffer takes them without a
copy. A page is bounded by what the server sends; the whole series is as long as it is.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracker import arrow
from tracker.entities import Json, Metric
from tracker.refusals import NotATracker
from tracker.transport import JSON, Params, Query, Transport

if TYPE_CHECKING:
    import aiohttp

ACCEPT: Final = f"{arrow.CONTENT_TYPE}, {JSON};q=0.5"
_COLUMNS: Final = ("step", "time_us", "value")


@dataclass(frozen=True, slots=True)
class MetricHistory:
    """Points of one metric in order of step; equal steps in order of arrival."""

    run_id: str
    key: str
    steps: array[int] = field(repr=False)
    times_us: array[int] = field(repr=False)
    values: array[float] = field(repr=False)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Metric]:
        for step, time_us, value in zip(self.steps, self.times_us, self.values, strict=True):
            yield Metric(self.key, value, step, time_us, self.run_id)


@dataclass(frozen=True, slots=True)
class MetricBuckets:
    """At most N buckets of a series; each holds every point between its first and last step.

    `min` and `max` are true ones, NaN left out (then NaN if all were); `nan_count` counts
    those. When `is_reduced` is False the buckets are the points themselves.
    """

    run_id: str
    key: str
    is_reduced: bool
    points: int
    first_step: list[int]
    last_step: list[int]
    first_time_us: list[int]
    last_time_us: list[int]
    count: list[int]
    nan_count: list[int]
    min: list[float]
    max: list[float]
    first: list[float]
    last: list[float]

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def from_json(cls, answer: Json) -> MetricBuckets:
        fields: dict[str, Any] = {name: answer[name] for name in cls.__dataclass_fields__}
        for name in ("min", "max", "first", "last"):
            fields[name] = [float(value) for value in fields[name]]
        return cls(**fields)


async def read_pages(
    transport: Transport, path: str, params: Params, *, run_id: str, key: str
) -> AsyncIterator[MetricHistory]:
    """Yield a series in pages. Connections lost in mid-stream are the caller's to repeat."""
    token: list[tuple[str, str]] = []
    while True:
        query = Query("GET", path, is_read=True, params=[*params, *token], accept=ACCEPT)
        async with transport.answer(query) as response:
            if response.content_type == arrow.CONTENT_TYPE:
                async for page in _arrow_pages(transport, response, run_id, key):
                    yield page
                return
            answer = await transport.decoded(response)
        yield MetricHistory(
            run_id,
            key,
            array("q", answer["steps"]),
            array("q", answer["times_us"]),
            array("d", map(float, answer["values"])),
        )
        if answer["next_page_token"] is None:
            return
        token = [("page_token", answer["next_page_token"])]


def joined(run_id: str, key: str, pages: list[MetricHistory]) -> MetricHistory:
    """One history of many pages."""
    if len(pages) == 1:
        return pages[0]
    whole = MetricHistory(run_id, key, array("q"), array("q"), array("d"))
    for page in pages:
        whole.steps.extend(page.steps)
        whole.times_us.extend(page.times_us)
        whole.values.extend(page.values)
    return whole


async def _arrow_pages(
    transport: Transport, response: aiohttp.ClientResponse, run_id: str, key: str
) -> AsyncIterator[MetricHistory]:
    try:
        async for steps, times, values in arrow.read_columns(
            response.content.readexactly, _COLUMNS
        ):
            yield MetricHistory(
                run_id,
                key,
                _little_endian("q", steps),
                _little_endian("q", times),
                _little_endian("d", values),
            )
    except arrow.ArrowMismatch as error:
        raise NotATracker(f"{transport.uri}: {error}", uri=transport.uri) from error


def _little_endian(typecode: Any, data: bytes) -> array[Any]:
    column: array[Any] = array(typecode)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column
