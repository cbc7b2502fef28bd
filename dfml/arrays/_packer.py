"""From what a partition loads as to the block of arrays that an estimator takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfml.arrays._blocks import Block, pack_features, pack_labels, pack_weights
from dfml.exceptions import LabelError
from dfml.sources._columns import quoted

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from dfml._schema import Kind

__all__ = ["Packer", "columns_of", "missing_labels"]


@dataclass(frozen=True)
class Packer:
    """Turns what a partition loads as into a :class:`Block` of arrays.

    Parameters
    ----------
    features : list or label
        Names of the features, or of the Series that is the only one.
    columns : pandas Index or None
        Columns that partitions have if they are as declared; None for triples.
    target, weight, paired, dtype, named
        As in :class:`dfml._frames.Table`; ``dtype`` is that of the array, None for
        frames.
    kinds : tuple or None
        What the table has announced of the features.
    times : mapping
        The units and zones of those that are times.
    where : str
        The call, for messages.
    """

    features: Any
    columns: Any
    target: Any
    weight: Hashable | None
    paired: bool
    dtype: Any
    named: bool
    kinds: Sequence[Kind | None] | None
    times: Mapping[Hashable, str]
    where: str

    def split(self, loaded: Any) -> tuple[Any, Any, Any]:
        """Separate features, target and weight, still as pandas objects."""
        if self.paired:
            X, y, weight = loaded
            return X[self.features] if isinstance(X, pd.DataFrame) else X, y, weight
        if isinstance(loaded, pd.Series):
            return loaded, None, None
        names = self.target_columns
        y = None if names is None else loaded[names]
        weight = None if self.weight is None else loaded[self.weight]
        return self._features_of(loaded), y, weight

    def _features_of(self, loaded: pd.DataFrame) -> pd.DataFrame:
        # By position where all is as declared: 5 times as fast, which counts where
        # partitions have ten rows.
        if self.columns is not None and loaded.columns.equals(self.columns):
            return loaded.take(self._positions, axis=1)
        chosen: pd.DataFrame = loaded[self.features]
        return chosen

    @cached_property
    def _positions(self) -> Any:
        return self.columns.get_indexer(pd.Index(self.features))

    @property
    def target_columns(self) -> Any:
        """The name or list of names that selects the target."""
        return None if self.target is None else columns_of(self.target)

    def __call__(self, loaded: Any) -> Block:
        """Turn one loaded partition into arrays."""
        X, y, weight = self.split(loaded)
        X = pack_features(X, self.dtype, self.kinds, times=self.times, named=self.named)
        return self._block(X, y, weight)

    def block(self, array: np.ndarray, rest: pd.DataFrame) -> Block:
        """Put a block together of an array of the features and the other columns."""
        X: Any = array
        if self.named:
            X = pd.DataFrame(array, columns=self.features, copy=False)
        names, weight = self.target_columns, self.weight
        y = None if names is None else rest[names]
        return self._block(X, y, None if weight is None else rest[weight])

    def _block(self, X: Any, y: Any, weight: Any) -> Block:
        return Block(
            X,
            None if y is None else self.labels(y),
            None if weight is None else pack_weights(weight),
        )

    @property
    def _target_dtypes(self) -> list[Any]:
        is_frame = isinstance(self.target, pd.DataFrame)
        return list(self.target.dtypes) if is_frame else [self.target.dtype]

    def labels(self, y: pd.DataFrame | pd.Series[Any]) -> np.ndarray:
        """Turn the target into an array; a missing class label is an error."""
        for position, dtype in enumerate(self._target_dtypes):
            if getattr(dtype, "kind", "O") == "f":
                continue  # NaN in a float target is the estimator's own business
            column = y.iloc[:, position] if isinstance(y, pd.DataFrame) else y
            if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
                continue  # these cannot be missing
            n_missing = int(column.isna().sum())
            if n_missing:
                raise missing_labels(self.where, column.name, n_missing)
        return pack_labels(y, self.target)


def missing_labels(where: str, name: Any, n_missing: int) -> LabelError:
    """Make the error about labels that are missing.

    Parameters
    ----------
    where : str
        The call.
    name : hashable
        The column.
    n_missing : int
        How many.

    Returns
    -------
    error : LabelError
        To be raised.
    """
    return LabelError.expecting(
        where,
        "a label in every row",
        f"{n_missing} missing in column {name!r}",
        f"leave those rows out: ddf.dropna(subset=[{name!r}]), or in SQL "
        f"WHERE {quoted(str(name))} IS NOT NULL",
    )


def columns_of(meta: pd.DataFrame | pd.Series[Any]) -> Any:
    """Give the name, or the list of names, that selects a target."""
    return list(meta.columns) if isinstance(meta, pd.DataFrame) else meta.name
