from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dfml._schema import array_dtype
from dfml.arrays import _arrow_columns
from dfml.arrays._arrow_columns import has_plain_numbers, to_array
from dfml.arrays._blocks import pack_features
from dfml.sources._pandas import to_pandas

TABLES = {
    "floats": {
        "a": pa.array([1.5, -0.0, float("nan")]),
        "b": pa.array([3.0, 4.0, 5.0]),
    },
    "float32": {"a": pa.array([0.1, None, 3.0], pa.float32())},
    "both": {"a": pa.array([0.1, 2.0], pa.float32()), "b": pa.array([0.1, None])},
    "integers": {"a": pa.array([1, 2**62 + 1], pa.int64()), "b": pa.array([-1, 2])},
    "small": {"a": pa.array([1, 255], pa.uint8()), "b": pa.array([-1, 2], pa.int16())},
    "null": {"a": pa.array([1, None, 3]), "b": pa.array([4, 5, 6], pa.int8())},
    "flags": {"a": pa.array([True, False]), "b": pa.array([True, None])},
    "mixed": {"a": pa.array([True, None]), "b": pa.array([2**53 + 1, None])},
    "with": {"a": pa.array([True, None]), "b": pa.array([0.5, None])},
}


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("pieces", [1, 2])
def test_arrays_are_those_of_frames(monkeypatch, columns, pieces):
    monkeypatch.setattr(_arrow_columns, "_ROWS", 2)
    table = pa.concat_tables([pa.table(columns)] * pieces)
    dtype = array_dtype(to_pandas(table.schema.empty_table()))

    array = to_array(table.columns, dtype)

    expected = pack_features(to_pandas(table), dtype, named=False)
    assert array.dtype == expected.dtype
    assert array.flags.c_contiguous
    assert array.tobytes() == expected.tobytes()


def test_arrays_can_be_written_to():
    array = to_array([pa.array([1.0, 2.0])], np.dtype("float64"))

    array[0] = 3.0

    assert array.tolist() == [[3.0], [2.0]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a"]),
        pa.array([1]).dictionary_encode(),
        pa.array([1]).cast(pa.decimal128(20)),
        pa.array([pd.Timestamp(0)]),
        pa.nulls(1),
    ],
    ids=lambda column: str(column.type),
)
def test_other_columns_are_left_to_pandas(column):
    assert not has_plain_numbers(pa.table({"a": [1], "b": column}).schema)
    assert has_plain_numbers(pa.table({"a": [1], "b": [True]}).schema)
