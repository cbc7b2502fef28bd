"""The classes of a target: found by one pass, and held against every label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets

from dfml._partitions import Partitions, Turn
from dfml._relations import RelationTable
from dfml._schema import listed
from dfml.arrays._blocks import pack_labels
from dfml.arrays._packer import missing_labels
from dfml.exceptions import EmptyTableError, LabelError
from dfml.sources._facts import distinct_values

if TYPE_CHECKING:
    from dfml._frames import Table
    from dfml.arrays._packer import Packer

__all__ = ["check_labels", "find_classes"]

#: More distinct labels than this are taken for a mistake, unless they are integers.
MAX_CLASSES = 10_000


def check_labels(y: Any, classes: Any) -> None:
    """Refuse labels that are not among the classes.

    Parameters
    ----------
    y : ndarray
        Labels of a partition.
    classes : ndarray or list of ndarray
        The classes, one array a target for multi-output.

    Raises
    ------
    LabelError
        Naming some of the labels.
    """
    several = isinstance(classes, list)
    pairs = zip(y.T, classes, strict=True) if several else [(y, classes)]
    for labels, known in pairs:
        # Few classes are compared one by one, in a tenth of the time of a table.
        outside = labels[~np.isin(labels, known, kind="sort")]
        if len(outside):
            raise LabelError.expecting(
                "fit",
                f"labels among the classes {listed(known, 20)}",
                f"{len(outside)} others, such as {pd.unique(outside)[:5].tolist()}",
                "pass all classes, fit(..., classes=[...])",
            )


@dataclass(frozen=True)
class _Distinct:
    """The distinct labels of a partition and the number of missing ones."""

    packer: Packer
    is_label: bool

    def __call__(self, loaded: Any, _: Turn) -> list[tuple[Any, int]]:
        y = loaded if self.is_label else self.packer.split(loaded)[1]
        columns, metas = _columns(y), _columns(self.packer.target)
        return [
            (
                pack_labels(pd.Series(column.dropna().unique()), meta),
                int(column.isna().sum()),
            )
            for column, meta in zip(columns, metas, strict=True)
        ]


def _columns(y: Any) -> list[Any]:
    return [y[c] for c in y.columns] if isinstance(y, pd.DataFrame) else [y]


def find_classes(where: str, table: Table, partitions: Partitions) -> Any:
    """Find the classes by one parallel pass over the label columns alone.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : Table
        With a target.
    partitions : Partitions
        The whole table, lowered; used instead of the label column where reading
        that alone would run a shared shuffle or merge a second time.

    Returns
    -------
    classes : ndarray or list of ndarray
        Sorted; a list for several targets.

    Raises
    ------
    LabelError
        If a label is missing, there is only one class, or there are more than
        10,000 and they are not integers.
    """
    if isinstance(table, RelationTable):
        return _ask_database(where, table)
    if partitions.shares_work:
        found = partitions.map(_Distinct(table.packer(where), is_label=False))
    else:
        labels = Partitions(table.labels)
        found = labels.map(_Distinct(table.packer(where), is_label=True))
    several = isinstance(table.target, pd.DataFrame)
    classes = [
        _merge_classes(where, meta.name, [part[i] for part in found])
        for i, meta in enumerate(_columns(table.target))
    ]
    return classes if several else classes[0]


def _ask_database(where: str, table: RelationTable) -> Any:
    """Find the classes by one query a target, which reads that column alone."""
    classes = []
    for meta in _columns(table.target):
        values, n_missing = distinct_values(where, table.relation, meta.name)
        part = pack_labels(values, meta), n_missing
        classes.append(_merge_classes(where, meta.name, [part]))
    return classes if isinstance(table.target, pd.DataFrame) else classes[0]


def _merge_classes(where: str, name: Any, parts: list[tuple[Any, int]]) -> Any:
    n_missing = sum(count for _, count in parts)
    if n_missing:
        raise missing_labels(where, name, n_missing)
    values = [labels for labels, _ in parts if len(labels)]
    if not values:
        raise EmptyTableError.expecting(
            where, "at least one row", "none", "check the filters of the table"
        )
    classes = np.unique(np.concatenate(values))
    if len(classes) > MAX_CLASSES and classes.dtype.kind not in "iu":
        raise LabelError.expecting(
            where,
            f"at most {MAX_CLASSES:,} classes",
            f"{len(classes):,} distinct values in column {name!r}",
            "use a regressor, or pass classes=[...]",
        )
    # Each three times: scikit-learn takes labels that hardly repeat for a regression's.
    check_classification_targets(np.tile(classes, 3))
    if len(classes) == 1:
        raise LabelError.expecting(
            where,
            "at least two classes",
            f"only {listed(classes)} in column {name!r}",
            "check the filters, or pass classes=[...]",
        )
    return classes
