"""Arrays whose memory is used again: only when nobody has them any more."""

from __future__ import annotations

import pickle
import weakref

import numpy as np
import pandas as pd
import pytest

from dfml.arrays._reused_arrays import ReusedArrays


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture
def arrays():
    return ReusedArrays()


def test_memory_is_used_again(arrays):
    first = arrays.empty((3, 2), "float64")
    where = address(first)
    del first
    assert address(arrays.empty((3, 2), np.dtype("float64"))) == where


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array,
        lambda array: array[:1],
        lambda array: array.T[1:],
        lambda array: pd.DataFrame(array[:2], columns=["a", "b"], copy=False),
        memoryview,
    ],
)
def test_memory_that_somebody_sees_is_not_used_again(arrays, view):
    first = arrays.empty((3, 2), "float64")
    first[:] = 1
    kept = view(first)
    del first
    others = [arrays.empty((3, 2), "float64") for _ in range(5)]
    for other in others:
        other[:] = 2
    assert (np.asarray(kept) == 1).all()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 2), "float64"), ((3, 2), "float32"), ((6,), "int64")]
)
def test_arrays_have_the_shape_and_type_asked_for(arrays, shape, dtype):
    arrays.empty((3, 2), "float64")
    array = arrays.empty(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable


def test_nothing_is_kept_after_the_end(arrays):
    kept = arrays.empty((3, 2), "float64")
    del arrays
    kept[:] = 1  # it outlives where it came from
    closed = ReusedArrays()
    last = closed.empty((3, 2), "float64")
    closed.close()
    del last
    assert closed._free == []


def copy_of(arrays):
    return pickle.loads(pickle.dumps(arrays))


def test_copies_in_one_process_use_the_same_memory_again(arrays):
    first = copy_of(arrays).empty((3, 2), "float64")
    second = copy_of(arrays).empty((3, 2), "float64")
    where = address(first)
    assert address(second) != where
    del first
    assert address(copy_of(arrays).empty((3, 2), "float64")) == where
    assert arrays._free == []


def test_copies_let_go_of_all_memory_with_their_last_array(arrays):
    first, second = (copy_of(arrays).empty((3, 2), "float64") for _ in range(2))
    gone = weakref.ref(copy_of(arrays))
    del first
    assert len(gone()._free) == 1
    del second
    assert gone() is None
