"""The event log as lines of JSON: one object per record, in order of position.

Metric frames hold many records as columns; here they become records again.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import orjson

from ingest.messages import json_float
from projections.columns import Columns, MetricFrame, decode_payload
from projections.log import StoredBatch
from tracker.events.types import EventType

_Item = tuple[int, str, int, int, Any]  # offset, type, version, time_us, data


def lines_of(
    batch: StoredBatch, *, after: int, type: str | None = None
) -> Iterator[tuple[int, bytes]]:
    """(position, JSON) of the batch's records beyond `after`, of one type if given."""
    columns = decode_payload(batch.payload, n=batch.n)
    least = after + 1 - batch.first_position
    for offset, event_type, version, time_us, data in _items(columns, least=least, type=type):
        position = batch.first_position + offset
        line = {
            "position": position,
            "run_id": batch.run_id,
            "writer_id": batch.writer_id,
            "epoch": batch.epoch,
            "seq": batch.first_seq + offset,
            "received_at_us": batch.received_at_us,
            "type": event_type,
            "version": version,
            "time_us": time_us,
            "data": data,
        }
        yield position, orjson.dumps(line)


def _items(columns: Columns, *, least: int, type: str | None) -> list[_Item]:
    items: list[_Item] = []
    if type in (None, EventType.METRICS_LOGGED):
        for frame in columns.metrics:
            items += _metric_items(frame, least=least)
    if type in (None, EventType.EVENTS_DROPPED):
        items += [
            (lost.offset, EventType.EVENTS_DROPPED, 1, lost.time_us,
             {"reason": lost.reason, "count": lost.width})
            for lost in columns.dropped
            if lost.offset >= least
        ]  # fmt: skip
    items += [
        (item.offset, item.event.type, item.event.version, item.event.time_us, item.event.data)
        for item in columns.events
        if item.offset >= least and type in (None, item.event.type)
    ]
    items.sort(key=itemgetter(0))
    return items


def _metric_items(frame: MetricFrame, *, least: int) -> Iterator[_Item]:
    rows = zip(*[column.tolist() for column in frame.values], strict=True)
    for offset, step, time_us, values in zip(
        frame.offsets.tolist(), frame.steps.tolist(), frame.times_us.tolist(), rows, strict=True
    ):
        if offset >= least:
            metrics = dict(zip(frame.keys, map(json_float, values), strict=True))
            data = {"metrics": metrics, "step": step}
            yield offset, EventType.METRICS_LOGGED, 1, time_us, data
