"""Series as the JSON that schemas.HistoryAnswer and schemas.BucketsAnswer describe.

Plain dictionaries: to build a model of a thousand buckets would cost more than to find
them in a million points. tests/integration/test_series_http.py holds them to the models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ingest.messages import json_float
from projections.columns import Float64s
from projections.read_models import Buckets, SeriesPage


def history_json(
    run_id: str, key: str, page: SeriesPage, *, next_page_token: str | None, position: int
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "key": key,
        "steps": page.steps.tolist(),
        "times_us": page.times_us.tolist(),
        "values": _floats(page.values),
        "next_page_token": next_page_token,
        "position": position,
    }


def buckets_json(run_id: str, key: str, buckets: Buckets) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "key": key,
        "is_reduced": buckets.is_reduced,
        "points": buckets.points,
        "first_step": buckets.first_step.tolist(),
        "last_step": buckets.last_step.tolist(),
        "first_time_us": buckets.first_time_us.tolist(),
        "last_time_us": buckets.last_time_us.tolist(),
        "count": buckets.count.tolist(),
        "nan_count": buckets.nan_count.tolist(),
        "min": _floats(buckets.min),
        "max": _floats(buckets.max),
        "first": _floats(buckets.first),
        "last": _floats(buckets.last),
        "position": buckets.position,
    }


def _floats(column: Float64s) -> list[Any]:
    numbers = column.tolist()
    return numbers if np.isfinite(column).all() else [json_float(number) for number in numbers]
