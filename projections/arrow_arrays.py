"""Arrow arrays from numpy's and Python's values and back, by their buffers.

`pyarrow.array` and `to_numpy` look whether they were given something of pandas, and import it
for that where it is installed: a second, for who has asked for nothing of pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_OFFSETS_MAX: Final = 2**31 - 1


def numbers(values: NDArray[Any], kind: Any) -> Any:
    """An array of `kind`, of the same width, that shares the memory of `values`."""
    import pyarrow as pa

    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, data])


def optional_numbers(values: Sequence[float | None], kind: Any) -> Any:
    """An array of `kind`, 64 bits wide; None becomes null."""
    import pyarrow as pa

    is_floating = pa.types.is_floating(kind)
    filled = np.array([0 if v is None else v for v in values], "<f8" if is_floating else "<i8")
    buffers = [_validity(values), pa.py_buffer(filled)]
    return pa.Array.from_buffers(kind, len(values), buffers)


def texts(values: Sequence[str | None]) -> Any:
    """An array of strings; None becomes null."""
    import pyarrow as pa

    encoded = [b"" if value is None else value.encode() for value in values]
    ends = list(accumulate(map(len, encoded), initial=0))
    is_large = ends[-1] > _OFFSETS_MAX
    offsets = np.array(ends, "<i8" if is_large else "<i4")
    buffers = [_validity(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    kind = pa.large_string() if is_large else pa.string()
    return pa.Array.from_buffers(kind, len(values), buffers)


def numpy_of(array: Any, dtype: str) -> NDArray[Any]:
    """The numbers of an array without nulls, which keeps their memory alive."""
    data = np.frombuffer(array.buffers()[1], dtype)
    return data[array.offset : array.offset + len(array)]


def _validity(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    is_there = np.fromiter((value is not None for value in values), bool, len(values))
    if is_there.all():
        return None
    return pa.py_buffer(np.packbits(is_there, bitorder="little"))
