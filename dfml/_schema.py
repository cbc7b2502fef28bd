"""The column contract: what ``fit`` saw, checked before anything is computed.

Nothing here touches rows. A contract is made from the empty frame that dask
calls *meta* and is compared with the meta of the frames that come later.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd

from dfml.exceptions import ColumnMismatchError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

__all__ = [
    "IN_WORDS",
    "Contract",
    "Kind",
    "OutputSchema",
    "array_dtype",
    "check_names",
    "counts_as",
    "is_time",
    "kind_of",
    "listed",
    "times_of",
]

Kind = Literal["number", "text", "time", "time with zone", "duration", "other"]
_TIMES: frozenset[Kind] = frozenset({"time", "time with zone", "duration"})
#: What messages say that a column is.
IN_WORDS: dict[Kind, str] = {
    "number": "a number",
    "text": "text",
    "time": "a time without a zone",
    "time with zone": "a time with a zone",
    "duration": "a duration",
    "other": "of another kind",
}
_CONVERT = "convert them, for example ddf.astype({name: dtype})"
_ADD_ZONE = "give them the zone they are in, ddf[name].dt.tz_localize(zone)"
_DROP_ZONE = "take the local times alone, ddf[name].dt.tz_localize(None)"
#: What turns a column of the first kind into one of the second.
_WAYS: dict[tuple[Kind, Kind], str] = {
    ("time", "time with zone"): _ADD_ZONE,
    ("time with zone", "time"): _DROP_ZONE,
}


def kind_of(dtype: Any) -> Kind:
    """Name the kind of a column; within a kind every dtype is accepted.

    Parameters
    ----------
    dtype : dtype
        NumPy, pandas nullable, categorical or Arrow dtype.

    Returns
    -------
    kind : str
        ``"number"`` (bool, integer, float, decimal), ``"text"`` (str, object,
        category), ``"time"``, ``"time with zone"``, ``"duration"`` or ``"other"``.

    Examples
    --------
    >>> import pandas as pd
    >>> kind_of(pd.Int64Dtype()), kind_of(pd.CategoricalDtype())
    ('number', 'text')
    """
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype):
        return "text"
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        zone = getattr(dtype, "tz", None) or getattr(
            getattr(dtype, "pyarrow_dtype", None), "tz", None
        )
        return "time with zone" if zone else "time"
    if pd.api.types.is_timedelta64_dtype(dtype):
        return "duration"
    if pd.api.types.is_object_dtype(dtype):
        return "text"
    return "number" if str(dtype).startswith("decimal") else "other"


def check_names(where: str, names: Sequence[Hashable]) -> None:
    """Refuse duplicate and tuple column names.

    Parameters
    ----------
    where : str
        The call, for the message.
    names : sequence
        Column names of a frame.

    Raises
    ------
    ColumnMismatchError
        If a name comes twice or is a tuple (a MultiIndex).
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    tuples = [name for name in names if isinstance(name, tuple)]
    if twice or tuples:
        raise ColumnMismatchError.expecting(
            where,
            "column names that are single and different",
            f"twice: {twice}" if twice else f"tuples: {tuples[:5]}",
            "rename the columns, for example ddf.columns = [...]",
        )


def listed(values: Iterable[Any], most: int = 10, *, quoted: bool = True) -> str:
    """List values for a message, and how many more there are.

    Parameters
    ----------
    values : iterable
        Names of columns, or classes; NumPy's scalars are shown as plain ones.
    most : int, default=10
        How many are shown.
    quoted : bool, default=True
        False joins texts by semicolons.

    Returns
    -------
    text : str
        Such as ``['a', 'b'] and 3 more``.

    Examples
    --------
    >>> listed("abcd", 2)
    "['a', 'b'] and 2 more"
    """
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    shown = plain[:most]
    text = f"{shown}" if quoted else "; ".join(map(str, shown))
    n_more = len(plain) - len(shown)
    return f"{text} and {n_more} more" if n_more else text


def array_dtype(meta: pd.DataFrame) -> np.dtype[Any] | None:
    """Decide the one dtype of the array that each partition becomes.

    Parameters
    ----------
    meta : pandas DataFrame
        Empty frame with the dtypes of the feature columns.

    Returns
    -------
    dtype : numpy dtype or None
        None if some column is not a number: partitions then stay pandas frames.
        Nullable and decimal columns count as float64, as missing values need it.
    """
    if not len(meta.columns) or any(kind_of(t) != "number" for t in meta.dtypes):
        return None
    return np.result_type(*(_numpy_dtype(t) for t in meta.dtypes))


def _numpy_dtype(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, np.dtype):
        return dtype
    if isinstance(dtype, pd.SparseDtype):
        return np.dtype(dtype.subtype)
    is_float32 = str(dtype).lower() in {"float32", "float[pyarrow]"}
    return np.dtype("float32" if is_float32 else "float64")


def counts_as(dtype: Any, kind: Kind) -> bool:
    """Tell whether a category holds values of a kind: dask reads hive keys as such.

    Parameters
    ----------
    dtype : dtype
        Of a column.
    kind : str
        What it is to be.

    Returns
    -------
    counts : bool
        False for everything but categories.
    """
    is_category = isinstance(dtype, pd.CategoricalDtype)
    return is_category and kind_of(dtype.categories.dtype) == kind


def is_time(dtype: Any) -> bool:
    """Tell whether a column holds times or durations; a category of them does not."""
    return kind_of(dtype) in _TIMES


def times_of(meta: pd.DataFrame) -> dict[Hashable, str]:
    """Name the unit, and the zone, of each column of times or durations.

    Parameters
    ----------
    meta : pandas DataFrame
        Empty.

    Returns
    -------
    times : dict
        Dtypes as text.
    """
    return {
        name: text
        for name, dtype in meta.dtypes.items()
        if is_time(dtype) and (text := _as_text(dtype)) is not None
    }


def _as_text(dtype: Any) -> str | None:
    """Write the dtype of numbers, text, or times in a named zone; None for others."""
    plain = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype
    if isinstance(plain, pd.StringDtype):
        return "str"
    if not (is_time(dtype) or (isinstance(dtype, np.dtype) and dtype.kind in "iufb")):
        return None
    try:
        is_known = bool(pd.api.types.pandas_dtype(str(dtype)) == dtype)
    except (TypeError, ValueError):
        return None
    return str(dtype) if is_known else None


def _is_numpy(dtype: str) -> bool:
    return isinstance(pd.api.types.pandas_dtype(dtype), np.dtype)


@dataclass(frozen=True)
class Contract:
    """Names and kinds of the feature columns, in the order of ``fit``.

    Parameters
    ----------
    names : tuple
        Feature names; positions where ``named`` is False.
    kinds : tuple of str or None
        One kind a column; None if only the names are known.
    named : bool
        False if the model was fitted on arrays and sees arrays again.
    target : hashable, tuple or None
        What ``fit`` used as ``y``, so that ``score(ddf)`` needs none.
    dtypes : tuple of str or None
        The dtype of each column of plain numbers, text or times; empty if only the
        names are known.
    """

    names: tuple[Hashable, ...]
    kinds: tuple[Kind, ...] | None = None
    named: bool = True
    target: Hashable | tuple[Hashable, ...] | None = None
    dtypes: tuple[str | None, ...] = ()

    @classmethod
    def learn(
        cls,
        meta: pd.DataFrame,
        *,
        named: bool = True,
        target: Hashable | tuple[Hashable, ...] | None = None,
    ) -> Self:
        """Read the contract off an empty frame of the feature columns."""
        kinds = tuple(kind_of(dtype) for dtype in meta.dtypes)
        dtypes = tuple(_as_text(dtype) for dtype in meta.dtypes)
        return cls(tuple(meta.columns), kinds, named, target, dtypes)

    def check(self, where: str, meta: pd.DataFrame) -> list[Hashable]:
        """Compare a frame's meta with the contract before any task runs.

        Parameters
        ----------
        where : str
            The call, for the message.
        meta : pandas DataFrame
            Empty frame; it may be wider and in another order.

        Returns
        -------
        names : list
            The columns to take, in the order of ``fit``.

        Raises
        ------
        ColumnMismatchError
            If columns are missing or of another kind.
        """
        check_names(where, list(meta.columns))
        if not self.named:
            return self._by_position(where, meta)
        missing = [name for name in self.names if name not in meta.columns]
        if missing:
            known = {*self.names, *self.targets}
            unexpected = [name for name in meta.columns if name not in known]
            raise ColumnMismatchError.expecting(
                where,
                "the columns seen in fit",
                f"missing: {listed(missing)}, unexpected: {listed(unexpected)}",
                "rename the columns before the call",
            )
        self._check_kinds(where, meta)
        return list(self.names)

    @property
    def times(self) -> dict[Hashable, str]:
        """The units and zones of times and durations, as :func:`times_of`."""
        return {name: dtype for name, kind, dtype in self._known() if kind in _TIMES}

    @property
    def whole(self) -> dict[Hashable, np.dtype[Any]]:
        """The dtypes of columns of whole numbers and flags."""
        known = self._known()
        plain = {
            name: np.dtype(dtype) for name, kind, dtype in known if kind == "number"
        }
        return {name: dtype for name, dtype in plain.items() if dtype.kind in "iub"}

    @property
    def texts(self) -> set[Hashable]:
        """The columns that were nothing but text."""
        return {name for name, kind, _ in self._known() if kind == "text"}

    def _known(self) -> list[tuple[Hashable, Kind, str]]:
        found = zip(self.names, self.kinds or (), self.dtypes, strict=False)
        return [(name, kind, dtype) for name, kind, dtype in found if dtype is not None]

    @property
    def targets(self) -> tuple[Hashable, ...]:
        """The target columns as a tuple, empty if they are not known."""
        if self.target is None:
            return ()
        return self.target if isinstance(self.target, tuple) else (self.target,)

    def _by_position(self, where: str, meta: pd.DataFrame) -> list[Hashable]:
        if len(meta.columns) == len(self.names):
            return list(meta.columns)
        raise ColumnMismatchError.expecting(
            where,
            f"{len(self.names)} features, as the model was fitted on arrays",
            f"{len(meta.columns)} columns: {listed(meta.columns)}",
            "select the feature columns in their order, ddf[names]",
        )

    def _check_kinds(self, where: str, meta: pd.DataFrame) -> None:
        if self.kinds is None:
            return
        dtypes = dict(meta.dtypes.items())
        wrong = [
            (name, kind)
            for name, kind in zip(self.names, self.kinds, strict=True)
            if kind_of(dtypes[name]) != kind and not counts_as(dtypes[name], kind)
        ]
        if wrong:
            texts = [f"{n!r} is {dtypes[n]}, was {IN_WORDS[k]}" for n, k in wrong]
            name, kind = wrong[0]
            raise ColumnMismatchError.expecting(
                where,
                "columns of the kinds seen in fit",
                listed(texts, quoted=False),
                _WAYS.get((kind_of(dtypes[name]), kind), _CONVERT),
            )


@dataclass(frozen=True)
class OutputSchema:
    """Names and dtypes of what one response method returns.

    Parameters
    ----------
    names : tuple of str
        Output columns; a single name if ``is_series``.
    dtypes : tuple of str
        One dtype a column, as text, so that the schema is plain data.
    is_series : bool
        True for a Series, False for a DataFrame.
    """

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    is_series: bool

    @classmethod
    def of(cls, labelled: pd.DataFrame | pd.Series[Any]) -> Self:
        """Read the schema off a labelled result or off a user's ``meta``."""
        if isinstance(labelled, pd.Series):
            name = "prediction" if labelled.name is None else str(labelled.name)
            return cls((name,), (str(labelled.dtype),), is_series=True)
        names = tuple(str(name) for name in labelled.columns)
        dtypes = tuple(str(dtype) for dtype in labelled.dtypes)
        return cls(names, dtypes, is_series=False)

    def meta(self, index: pd.Index[Any]) -> pd.DataFrame | pd.Series[Any]:
        """Make the empty Series or DataFrame that dask calls meta.

        Parameters
        ----------
        index : pandas Index
            Index of the input; its dtype and name are kept, its length is not.

        Returns
        -------
        meta : pandas Series or DataFrame
            No rows, the exact schema.
        """
        empty = index[:0]
        columns = {
            name: pd.Series([], dtype=dtype, index=empty)
            for name, dtype in zip(self.names, self.dtypes, strict=True)
        }
        if self.is_series:
            return columns[self.names[0]].rename(self.names[0])
        return pd.DataFrame(columns, index=empty)

    def for_arrays(self) -> OutputSchema:
        """Replace pandas dtypes of text, which arrays do not have, by object."""
        dtypes = tuple(t if _is_numpy(t) else "object" for t in self.dtypes)
        return OutputSchema(self.names, dtypes, self.is_series)
