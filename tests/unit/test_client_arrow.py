from __future__ import annotations

import asyncio
import io
from array import array

import numpy as np
import polars as pl
import pytest

from tracker.arrow import ArrowMismatch, read_columns


def stream_of(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_ipc_stream(out)
    return out.getvalue()


def columns_of(data: bytes, *names: str) -> list[tuple[bytes, ...]]:
    source = io.BytesIO(data)

    async def read(count: int) -> bytes:
        found = source.read(count)
        if len(found) < count:
            raise ArrowMismatch("cut short")
        return found

    async def collect() -> list[tuple[bytes, ...]]:
        return [page async for page in read_columns(read, names)]

    return asyncio.run(collect())


def history(values: list[float]) -> pl.DataFrame:
    steps = list(range(-1, len(values) - 1))
    return pl.DataFrame({"step": steps, "time_us": steps, "value": values})


def test_columns_come_out_bit_for_bit_and_in_the_order_asked_for() -> None:
    values = np.array([1.5, -0.0, np.nan, np.inf, 5e-324])
    values[2:3].view(np.uint64)[0] = 0x7FF8_0000_0000_BEEF

    pages = columns_of(stream_of(history(values.tolist())), "value", "step")

    assert b"".join(page[0] for page in pages) == values.tobytes()
    assert array("q", pages[0][1]).tolist() == [-1, 0, 1, 2, 3]


def test_an_empty_stream_has_no_values() -> None:
    schema = {"step": pl.Int64, "value": pl.Float64}
    pages = columns_of(stream_of(pl.DataFrame(schema=schema)), "step", "value")

    assert b"".join(page[0] for page in pages) == b""


def test_what_is_not_arrow_is_refused() -> None:
    with pytest.raises(ArrowMismatch, match="not an Arrow stream"):
        columns_of(b"<html>nothing here</html>", "step")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ArrowMismatch, match="'loss'"):
        columns_of(stream_of(history([1.0])), "loss")


@pytest.mark.parametrize("kind", [pl.Int32, pl.Float32, pl.String])
def test_columns_of_another_width_are_refused(kind: type[pl.DataType]) -> None:
    frame = pl.DataFrame({"value": [1]}).with_columns(pl.col("value").cast(kind))

    with pytest.raises(ArrowMismatch, match="'value'"):
        columns_of(stream_of(frame), "value")


def test_nulls_are_refused() -> None:
    with pytest.raises(ArrowMismatch, match="null"):
        columns_of(stream_of(pl.DataFrame({"value": [1.0, None]})), "value")


def test_a_stream_cut_or_changed_anywhere_never_breaks_the_reader() -> None:
    data = stream_of(history([1.0, 2.0]))
    for end in range(0, len(data), 3):
        broken = bytearray(data)
        broken[end] ^= 0xFF
        for damaged in (data[:end], bytes(broken)):
            try:
                columns_of(damaged, "step", "value")
            except ArrowMismatch:
                continue
