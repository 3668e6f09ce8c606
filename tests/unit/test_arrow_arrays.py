"""Arrow arrays made of buffers hold what was given."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from projections.arrow_arrays import numbers, numpy_of, optional_numbers, texts

TIME = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize("values", [[], ["a"], ["", None, "é\0b", "x" * 1000], [None, None]])
def test_texts_are_what_was_given(values: list[str | None]) -> None:
    array = texts(values)

    array.validate(full=True)
    assert array.to_pylist() == values


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), TIME])
def test_numbers_may_be_missing(kind: pa.DataType) -> None:
    array = optional_numbers([3, None, -4], kind)

    array.validate(full=True)
    assert array.type == kind
    assert array.null_count == 1
    assert array.drop_null().cast(pa.int64()).to_pylist() == [3, -4]


def test_every_bit_of_a_float_comes_through_in_both_directions() -> None:
    given = np.array([math.nan, -0.0, math.inf, 5e-324, -math.inf])

    array = numbers(given, pa.float64())

    assert array.null_count == 0
    assert numpy_of(array.slice(1, 3), "<u8").tolist() == given.view("<u8")[1:4].tolist()


def test_pandas_is_not_imported_for_it() -> None:
    code = (
        "import sys, numpy, pyarrow\n"
        "from projections.arrow_arrays import numbers, numpy_of, optional_numbers, texts\n"
        "numpy_of(numbers(numpy.arange(3), pyarrow.int64()), '<i8')\n"
        "optional_numbers([1, None], pyarrow.int64()), texts(['a', None])\n"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
