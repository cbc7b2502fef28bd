"""One partition to arrays, and one result back to a labelled frame.

All-numeric partitions become one C-ordered array that scikit-learn sees as a
DataFrame over the same memory, so feature names stay and nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from dfml._schema import OutputSchema, kind_of, listed
from dfml.arrays._announced_kinds import as_announced, is_plain_number, with_times
from dfml.exceptions import UnknownOutputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from dfml._schema import Kind

__all__ = ["Block", "label_result", "pack_features", "pack_labels", "pack_weights"]


@dataclass
class Block:
    """What one partition gives to ``partial_fit`` or ``fit``.

    Parameters
    ----------
    X : pandas DataFrame or ndarray
        The features.
    y, sample_weight : ndarray or None
        Labels and weights of the same rows.
    """

    X: Any
    y: Any = None
    sample_weight: Any = None

    def __len__(self) -> int:
        """Count the rows."""
        return int(self.X.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes in memory, text included."""
        if isinstance(self.X, np.ndarray):
            total = int(self.X.nbytes)
        else:
            total = int(np.sum(self.X.memory_usage(deep=True)))
        labels = (self.y, self.sample_weight)
        return total + sum(int(each.nbytes) for each in labels if each is not None)

    def read_only(self) -> Block:
        """Give the same rows, which no estimator can change in place."""
        X = _locked(self.X) if isinstance(self.X, np.ndarray) else self.X
        if isinstance(X, pd.DataFrame) and len(set(X.dtypes)) == 1:
            X = pd.DataFrame(_locked(X.to_numpy()), X.index, X.columns, copy=False)
        return Block(X, _locked(self.y), _locked(self.sample_weight))

    def take(self, rows: Any) -> Block:
        """Select rows by position, in the order given."""
        X = self.X[rows] if isinstance(self.X, np.ndarray) else self.X.iloc[rows]
        return Block(
            X,
            None if self.y is None else self.y[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
        )


def _locked(values: Any) -> Any:
    if values is None:
        return None
    view = values.view()
    view.flags.writeable = False
    return view


def pack_features(
    partition: pd.DataFrame | pd.Series[Any],
    dtype: np.dtype[Any] | None,
    kinds: Sequence[Kind | None] | None = None,
    *,
    times: Mapping[Hashable, str] | None = None,
    named: bool = True,
) -> Any:
    """Turn the feature columns of one partition into what an estimator takes.

    Parameters
    ----------
    partition : pandas DataFrame or Series
        Feature columns in the order of the contract.
    dtype : numpy dtype or None
        From :func:`dfml._schema.array_dtype`; None leaves the frame as it is.
    kinds : sequence of str or None, optional
        What the table has announced, by ``announced_kinds``; for a dtype that is
        numbers alone.
    times : mapping, optional
        What times and durations are to be, from :func:`dfml._schema.times_of`.
    named : bool, default=True
        False gives a bare array, for models that were fitted on arrays.

    Returns
    -------
    X : pandas DataFrame or ndarray
        For a dtype: one C-ordered array, as a DataFrame over it if ``named``.

    Raises
    ------
    ColumnMismatchError
        If columns are of another kind than announced.
    """
    if isinstance(partition, pd.Series):
        return partition.astype(_plain(partition.dtype))
    if dtype is None:
        if kinds is not None:
            partition = with_times(as_announced(partition, kinds), times)
        changed = {
            name: _plain(kind)
            for name, kind in partition.dtypes.items()
            if _plain(kind) != kind
        }
        return partition.astype(changed) if changed else partition
    array = _to_array(partition, dtype)
    if not named:
        return array
    return pd.DataFrame(array, columns=partition.columns, copy=False)


def _plain(dtype: Any) -> Any:
    """Replace dtypes whose missing value is ``pd.NA``, which encoders take for a value.

    dask reads text as such; pandas' own default, ``str``, has NaN for missing values.
    """
    if isinstance(dtype, pd.StringDtype) or _is_arrow_text(dtype):
        return pd.StringDtype(na_value=np.nan)
    is_nullable = pd.api.types.is_extension_array_dtype(dtype)
    if is_nullable and kind_of(dtype) == "number":
        return dtype if isinstance(dtype, pd.SparseDtype) else np.dtype("float64")
    return dtype


def _is_arrow_text(dtype: Any) -> bool:
    return isinstance(dtype, pd.ArrowDtype) and kind_of(dtype) == "text"


def _to_array(partition: pd.DataFrame, dtype: np.dtype[Any]) -> np.ndarray:
    # To ask for the dtypes takes as long as all else does for ten rows: once.
    found = set(partition.dtypes.to_numpy())
    if not all(is_plain_number(each) for each in found):
        partition = as_announced(partition, ["number"] * partition.shape[1])
    if dtype.kind not in "fc" and partition.isna().to_numpy().any():
        # An integer column of a Parquet table comes as float in those files that
        # hold a null: only this partition needs the wider type.
        dtype = np.dtype("float64")
    # Of files that differ dask knows the types of the first one.
    dtype = np.result_type(dtype, *filter(is_plain_number, found))
    missing: dict[str, Any] = {"na_value": np.nan} if dtype.kind in "fc" else {}
    return np.ascontiguousarray(partition.to_numpy(dtype=dtype, **missing))


def pack_labels(target: pd.DataFrame | pd.Series[Any], meta: Any = None) -> np.ndarray:
    """Turn target columns into the array that scikit-learn would make of them.

    Parameters
    ----------
    target : pandas Series or DataFrame
        One target, or several for multi-output.
    meta : pandas Series or DataFrame, optional
        Empty target with the declared dtypes; numbers are cast to them.

    Returns
    -------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Text as object, numbers as the declared NumPy dtype where they fit.
    """
    if isinstance(target, pd.DataFrame):
        columns = [
            pack_labels(target.iloc[:, i], None if meta is None else meta.iloc[:, i])
            for i in range(target.shape[1])
        ]
        return np.column_stack(columns)
    if isinstance(target.dtype, np.dtype) and target.dtype != object:
        return _as_declared(target.to_numpy(), meta)
    if kind_of(target.dtype) != "number" or isinstance(target.dtype, pd.SparseDtype):
        return np.asarray(target)
    if target.isna().any():
        return target.to_numpy(dtype="float64", na_value=np.nan)
    return target.to_numpy(dtype=_plain_dtype(target.dtype))


def _as_declared(values: np.ndarray, meta: Any) -> np.ndarray:
    declared = getattr(meta, "dtype", values.dtype)
    if not isinstance(declared, np.dtype) or declared == values.dtype:
        return values
    if declared.kind not in "iufb":
        return values
    with np.errstate(invalid="ignore"):
        cast = values.astype(declared)
    is_whole = declared.kind == "f" or np.array_equal(cast, values)
    return cast if is_whole else values


def _plain_dtype(dtype: Any) -> Any:
    name = str(getattr(dtype, "numpy_dtype", dtype))
    return np.dtype(name) if name in np.sctypeDict else np.dtype("float64")


def pack_weights(weight: pd.Series[Any]) -> np.ndarray:
    """Turn a weight column into a float64 array."""
    return weight.to_numpy(dtype="float64", na_value=np.nan)


def label_result(
    result: Any, index: pd.Index[Any], names: Sequence[str] | None
) -> pd.DataFrame | pd.Series[Any]:
    """Give the result of a response method its index and its column names.

    Parameters
    ----------
    result : array, sparse matrix, DataFrame or list of arrays
        What the estimator returned for one partition.
    index : pandas Index
        Index of the partition.
    names : sequence of str or None
        Output names; None keeps those that the result carries.

    Returns
    -------
    labelled : pandas Series or DataFrame
        A Series for one-dimensional results.

    Raises
    ------
    UnknownOutputError
        If there are more or fewer columns than names.
    """
    if isinstance(result, list):  # predict_proba of multi-output estimators
        result = np.hstack(result)
    if isinstance(result, pd.DataFrame):
        labelled = result.set_axis(index, axis=0)
        return labelled if names is None else _rename(labelled, names)
    if sparse.issparse(result):
        # Sparse columns do not survive Parquet, nor much of dask: dense ones do.
        result = result.toarray()
    array = np.asarray(result)
    if array.ndim == 1:
        return pd.Series(array, index=index, name=names[0] if names else None)
    frame = pd.DataFrame(array, index=index)
    return frame if names is None else _rename(frame, names)


def _rename(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    if frame.shape[1] != len(names):
        raise UnknownOutputError(
            f"The estimator returned {frame.shape[1]} columns where "
            f"{len(names)} were expected: {listed(names)}.\n\n"
            "Hint: pass meta= with the columns it really returns."
        )
    return frame.set_axis(list(names), axis=1)


def conform(labelled: Any, schema: OutputSchema) -> Any:
    """Cast a labelled result to the schema, so that no partition differs.

    Raises
    ------
    UnknownOutputError
        If there are values that the dtypes of the schema cannot hold.
    """
    if OutputSchema.of(labelled) == schema:
        return labelled
    try:
        if schema.is_series:
            return _cast(labelled, schema.dtypes[0]).rename(schema.names[0])
        pairs = zip(labelled.items(), schema.dtypes, strict=True)
        columns = [_cast(column, dtype) for (_, column), dtype in pairs]
        return pd.concat(columns, axis=1).set_axis(list(schema.names), axis=1)
    except (TypeError, ValueError) as err:
        raise UnknownOutputError(
            f"The estimator returned values of other types than expected: {err}.\n\n"
            "Hint: pass meta= with the types it really returns, or fit it on a lazy "
            "table, with Incremental or IID."
        ) from err


def _cast(column: Any, dtype: str) -> Any:
    """Cast one column; its values stay what they are, but for digits of a float."""
    with np.errstate(invalid="ignore"):
        cast = column.astype(dtype)
    if _holds_all(column.dtype, cast.dtype):
        return cast
    are_numbers = {kind_of(each.dtype) for each in (column, cast)} == {"number"}
    old, new = (each if are_numbers else each.astype(object) for each in (column, cast))
    is_other = np.where(column.isna(), cast.notna(), old != new).astype(bool)
    if is_other.any():
        value = column.iloc[int(np.argmax(is_other))]
        value = value.item() if isinstance(value, np.generic) else value
        raise ValueError(f"{value!r} in {column.name!r}, which is to be {dtype}")
    return cast


def _holds_all(old: Any, new: Any) -> bool:
    """Tell whether no value of one dtype is another one in the other."""
    if old == new:
        return True
    if not (isinstance(old, np.dtype) and isinstance(new, np.dtype)):
        return False
    return bool(np.can_cast(old, new)) or old.kind == new.kind == "f"
