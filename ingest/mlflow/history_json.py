"""Histories as JSON, a million points in a second: columns are printed in C, then zipped."""

from __future__ import annotations

import orjson

from ingest.mlflow.history_columns import History


def points_json(key: str, history: History, *, run_id: str | None = None) -> bytes:
    """The points as the inside of a JSON array."""
    if not len(history):
        return b""
    # orjson prints a float as its shortest exact form, and NaN as null.
    values = [b'"NaN"' if text == b"null" else text for text in _texts(history.values.tolist())]
    times, steps = _texts(history.times_ms.tolist()), _texts(history.steps.tolist())
    head = b'{"key":%b,"value":' % orjson.dumps(key)
    tail = b"}" if run_id is None else b',"run_id":%b}' % orjson.dumps(run_id)
    return b",".join(
        [
            b'%b%b,"timestamp":%b,"step":%b%b' % (head, value, time, step, tail)
            for value, time, step in zip(values, times, steps, strict=True)
        ]
    )


def _texts(column: list[float] | list[int]) -> list[bytes]:
    return orjson.dumps(column)[1:-1].split(b",")
