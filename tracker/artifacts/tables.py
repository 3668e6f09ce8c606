"""Tables: rows that are logged in one or several calls, as one file.

The file is what MLflow's log_table writes: JSON {"columns": […], "data": [[…], …]}. With a
name that ends with .parquet it is Parquet, which needs pyarrow.
"""

from __future__ import annotations

import io
import json
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tracker.artifacts.recorder import ArtifactRecorder
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent

# A table is written anew with every call that adds rows to it.
_CELLS_MAX: Final = 10_000_000


class Table:
    """Columns in order of their first appearance; a row without a column has None there."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.rows: list[list[Any]] = []

    def add(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if (len(self.rows) + len(rows)) * max(len(columns), len(self.columns), 1) > _CELLS_MAX:
            raise InvalidEvent(
                f"a table has at most {_CELLS_MAX} cells; log a Parquet file as an artifact"
            )
        for column in columns:
            if column not in self.columns:
                self.columns.append(column)
                for earlier in self.rows:
                    earlier.append(None)
        places = [self.columns.index(column) for column in columns]
        for row in rows:
            cells: list[Any] = [None] * len(self.columns)
            for place, cell in zip(places, row, strict=True):
                cells[place] = cell
            self.rows.append(cells)


_tables: dict[tuple[str, str], Table] = {}
_lock = threading.Lock()


def log_table(recorder: ArtifactRecorder, run_id: str, data: Any, path: str) -> None:
    """Add `data` to the table of this run and name, and log the whole of it."""
    check_artifact_path(path)
    if not path.endswith((".json", ".parquet")):
        raise InvalidEvent(f"a table is a .json or a .parquet file; {path!r} has neither ending")
    columns, rows = columns_and_rows(data)
    with _lock:
        table = _tables.get((run_id, path))
        if table is None:
            table = _tables[run_id, path] = _earlier(run_id, path)
        table.add(columns, rows)
        content = _parquet(table) if path.endswith(".parquet") else _json(table)
    recorder.log_bytes(content, path)


def columns_and_rows(data: Any) -> tuple[list[str], list[list[Any]]]:
    """Raises InvalidEvent for what is no table."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas, polars
        columns = [str(column) for column in data.columns]
        rows: Sequence[Any] = data.rows() if hasattr(data, "rows") else data.values.tolist()
        return columns, [list(row) for row in rows]
    if isinstance(data, Mapping):
        series = {str(key): _cells(value) for key, value in data.items()}
        if len({len(cells) for cells in series.values()}) > 1:
            lengths = ", ".join(f"{key!r} has {len(cells)}" for key, cells in series.items())
            raise InvalidEvent(f"the columns of a table must be equally long: {lengths}"[:2000])
        return list(series), [list(cells) for cells in zip(*series.values(), strict=True)]
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        columns = list(dict.fromkeys(str(key) for row in data for key in row))
        return columns, [[row.get(column) for column in columns] for row in data]
    raise InvalidEvent(
        f"log_table takes a list of dicts, a dict of columns, or a frame of pandas or polars, "
        f"not {type(data).__name__}"
    )


def _cells(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return [value]
    return list(value)


def _earlier(run_id: str, path: str) -> Table:
    """The rows of an earlier process of this run, where its server can be asked."""
    from tracker.artifacts.reading import earlier_bytes

    table = Table()
    content = earlier_bytes(run_id, path)
    if content is None:
        return table
    if path.endswith(".parquet"):
        found = _pyarrow().parquet.read_table(io.BytesIO(content))
        table.add(found.column_names, [list(row.values()) for row in found.to_pylist()])
        return table
    try:
        stored = json.loads(content)
        table.add(stored["columns"], stored["data"])
    except (ValueError, KeyError, TypeError):
        raise InvalidEvent(f"{path} of this run is no table; choose another name") from None
    return table


def _json(table: Table) -> bytes:
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    text = json.dumps({"columns": table.columns, "data": rows}, ensure_ascii=False, default=str)
    return text.encode(errors="backslashreplace")


def _plain(cell: Any) -> Any:
    """A cell as JSON has it; what JSON has no number for is null, as in MLflow's tables."""
    if hasattr(cell, "item") and getattr(cell, "size", 1) == 1:
        cell = cell.item()
    elif hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell


def _parquet(table: Table) -> bytes:
    pyarrow = _pyarrow()
    columns = {name: [row[place] for row in table.rows] for place, name in enumerate(table.columns)}
    try:
        found = pyarrow.table(columns)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise InvalidEvent(f"a column of the table mixes types: {error}") from None
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(found, buffer, compression="zstd")
    return buffer.getvalue()


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidEvent(
            "a Parquet table needs pyarrow; `pip install pyarrow`, or name the file .json"
        ) from None
    return pyarrow
