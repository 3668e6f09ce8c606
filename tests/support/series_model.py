"""The slow and obvious reading of a log's metrics, to hold the series projection against."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from projections.columns import decode_payload
from projections.log import StoredBatch
from projections.projection import DecodedBatch
from projections.read_models import Buckets
from projections.series_projection import SeriesProjection
from projections.series_queries import SeriesQueries
from tests.support.memory_log import MemoryLog


@dataclass(frozen=True, slots=True)
class ModelPoint:
    step: int
    time_us: int
    bits: int  # of the float64

    @property
    def value(self) -> float:
        (value,) = struct.unpack("<d", self.bits.to_bytes(8, "little"))
        return float(value)


def bits_of(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def expected_series(
    batches: Sequence[StoredBatch], run_id: str, key: str, start: int | None, end: int | None
) -> list[ModelPoint]:
    """All points of a series in order of step, then of position."""
    found: list[tuple[int, int, ModelPoint]] = []
    for batch in batches:
        if batch.run_id != run_id:
            continue
        for frame in decode_payload(batch.payload, n=batch.n).metrics:
            if key in frame.keys:
                column = frame.values[frame.keys.index(key)]
                for i in range(len(frame.steps)):
                    step = int(frame.steps[i])
                    point = ModelPoint(step, int(frame.times_us[i]), bits_of(float(column[i])))
                    found.append((step, batch.first_position + int(frame.offsets[i]), point))
    return [
        point
        for step, _, point in sorted(found, key=lambda item: item[:2])
        if (start is None or step >= start) and (end is None or step <= end)
    ]


async def stored_series(
    store: SeriesQueries, run_id: str, key: str, start: int | None, end: int | None
) -> list[ModelPoint]:
    points: list[ModelPoint] = []
    async for page in await store.history(run_id, key, start_step=start, end_step=end):
        bits = page.values.view("u8")
        points += [
            ModelPoint(int(s), int(t), int(b))
            for s, t, b in zip(page.steps, page.times_us, bits, strict=True)
        ]
    return points


def check_buckets(buckets: Buckets, points: Sequence[ModelPoint], *, buckets_max: int) -> None:
    """Whatever the buckets are, each must say the truth of points that nobody else has."""
    assert buckets.points == len(points)
    if not buckets.is_reduced:
        assert len(points) < 2 * buckets_max
        rows = zip(buckets.first_step, buckets.first_time_us, buckets.first.view("u8"), strict=True)
        assert [ModelPoint(int(s), int(t), int(b)) for s, t, b in rows] == list(points)
        return
    assert 0 < len(buckets.count) <= buckets_max
    assert int(buckets.count.sum()) == len(points)
    assert int(buckets.nan_count.sum()) == sum(math.isnan(p.value) for p in points)
    numbers = [p.value for p in points if not math.isnan(p.value)]
    if numbers:  # no spike is lost
        assert max(v for v in buckets.max.tolist() if not math.isnan(v)) == max(numbers)
        assert min(v for v in buckets.min.tolist() if not math.isnan(v)) == min(numbers)
    assert (buckets.first_step[1:] >= buckets.first_step[:-1]).all()
    ends = {(p.step, p.time_us, p.bits) for p in points}
    for i in range(len(buckets.count)):
        first = (int(buckets.first_step[i]), int(buckets.first_time_us[i]))
        last = (int(buckets.last_step[i]), int(buckets.last_time_us[i]))
        assert (*first, int(buckets.first.view("u8")[i])) in ends
        assert (*last, int(buckets.last.view("u8")[i])) in ends


def check_exact_buckets(
    buckets: Buckets, points: Sequence[ModelPoint], *, buckets_max: int, low: int, high: int
) -> None:
    """Buckets made from the points themselves: equal to a grid computed one by one."""
    grid: dict[int, list[ModelPoint]] = {}
    for point in points:
        number = (point.step - low) * buckets_max // (high - low + 1)
        grid.setdefault(number, []).append(point)
    assert len(buckets.count) == len(grid)
    for i, (_, members) in enumerate(sorted(grid.items())):
        numbers = [p.value for p in members if not math.isnan(p.value)]
        assert int(buckets.count[i]) == len(members)
        assert int(buckets.nan_count[i]) == len(members) - len(numbers)
        assert (int(buckets.first_step[i]), int(buckets.last_step[i])) == (
            members[0].step,
            members[-1].step,
        )
        assert int(buckets.first.view("u8")[i]) == members[0].bits
        assert int(buckets.last.view("u8")[i]) == members[-1].bits
        assert int(buckets.first_time_us[i]) == members[0].time_us
        assert int(buckets.last_time_us[i]) == members[-1].time_us
        if numbers:
            assert float(buckets.min[i]) == min(numbers)
            assert float(buckets.max[i]) == max(numbers)
        else:
            assert math.isnan(buckets.min[i])
            assert math.isnan(buckets.max[i])


async def fold(
    path: Path, log: MemoryLog, batches: Sequence[DecodedBatch], *, sizes: Sequence[int] = ()
) -> dict[str, str]:
    """Fold in transactions of these sizes, again and again; return the state's hashes."""
    projection = SeriesProjection(path, log)
    rest, turn = list(batches), 0
    while rest:
        size = sizes[turn % len(sizes)] if sizes else len(rest)
        await projection.apply(rest[:size])
        rest, turn = rest[size:], turn + 1
    hashes = dict(await projection.state_hash())
    await projection.aclose()
    return hashes
