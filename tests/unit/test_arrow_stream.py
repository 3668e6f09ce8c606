"""The Arrow stream of metric history, as other people's readers understand it."""

from __future__ import annotations

import io
import math

import numpy as np
import polars
import pyarrow
import pytest

from ingest.arrow import END_OF_STREAM, batch_message, schema_message
from projections.read_models import SeriesPage
from tracker.arrow import read_columns

PAGES = [
    SeriesPage(
        np.array([-(2**63), 0, 2**63 - 1], np.int64),
        np.array([0, -1, 1_700_000_000_123_456], np.int64),
        np.array([math.nan, -0.0, 5e-324], np.float64),
    ),
    SeriesPage(np.array([9], np.int64), np.array([7], np.int64), np.array([math.inf])),
]


def stream_of(pages: list[SeriesPage]) -> bytes:
    parts = [schema_message()]
    for page in pages:
        parts += [bytes(part) for part in batch_message(page)]
    return b"".join([*parts, END_OF_STREAM])


def test_pyarrow_reads_the_stream_bit_for_bit() -> None:
    reader = pyarrow.ipc.open_stream(stream_of(PAGES))
    batches = list(reader)

    assert reader.schema.names == ["step", "time_us", "value"]
    assert str(reader.schema.field("time_us").type) == "timestamp[us, tz=UTC]"
    assert not any(field.nullable for field in reader.schema)
    assert [batch.num_rows for batch in batches] == [3, 1]
    for batch, page in zip(batches, PAGES, strict=True):
        batch.validate(full=True)
        assert batch["step"].to_pylist() == page.steps.tolist()
        assert batch["time_us"].cast("int64").to_pylist() == page.times_us.tolist()
        value = batch["value"].to_numpy()
        assert value.view("u8").tolist() == page.values.view("u8").tolist()


def test_polars_reads_the_stream() -> None:
    frame = polars.read_ipc_stream(io.BytesIO(stream_of(PAGES)))

    assert frame["step"].to_list() == [-(2**63), 0, 2**63 - 1, 9]
    assert frame.schema["time_us"] == polars.Datetime("us", "UTC")
    assert frame["value"].to_list()[3] == math.inf


def test_a_stream_without_points_is_an_empty_table() -> None:
    table = pyarrow.ipc.open_stream(stream_of([])).read_all()

    assert table.num_rows == 0
    assert table.column_names == ["step", "time_us", "value"]


@pytest.mark.parametrize("n", [1, 2, 65_536])
async def test_our_own_client_reads_the_stream(n: int) -> None:
    page = SeriesPage(np.arange(n, dtype=np.int64), np.full(n, 5, np.int64), np.linspace(0, 1, n))
    data = io.BytesIO(stream_of([page]))

    async def read(size: int) -> bytes:
        return data.read(size)

    columns = [part async for part in read_columns(read, ["step", "time_us", "value"])]

    assert columns == [(page.steps.tobytes(), page.times_us.tobytes(), page.values.tobytes())]
