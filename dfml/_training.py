"""The sequence of ``partial_fit`` steps over the partitions of a table.

Partitions load and become arrays in parallel, a few ahead; the steps run one
after another on one thread of this process, so each counts exactly once.
"""

from __future__ import annotations

import inspect
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn import config_context, get_config
from sklearn.utils.multiclass import check_classification_targets

from dfml._arrays import pack_labels
from dfml._partitions import Partitions, Turn
from dfml.exceptions import DfmlWarning, EmptyTableError, LabelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dfml._arrays import Block
    from dfml._frames import Packer, Table

__all__ = ["Plan", "Training", "find_classes", "takes"]

#: More distinct labels than this are taken for a mistake, unless they are integers.
MAX_CLASSES = 10_000

_DISK_SHUFFLE = """\
{where}: dask shuffles this table on disk, which puts the rows of a partition in \
another order on each run, so that another run gives another model. Hint: \
dask.config.set({{"dataframe.shuffle.method": "tasks"}}) fixes the order."""


def takes(method: Any, parameter: str) -> bool:
    """Tell whether a method names a parameter in its signature."""
    return parameter in inspect.signature(method).parameters


@dataclass(frozen=True)
class Plan:
    """Which partitions are trained on, in which order.

    Parameters
    ----------
    n_partitions : int
        Partitions of the table.
    epochs : int
        Passes over it.
    seed : int or None
        Permutes the partitions of each epoch and the rows of each partition; None
        keeps the order of the table.
    """

    n_partitions: int
    epochs: int = 1
    seed: int | None = None

    def turns(self) -> Iterator[Turn]:
        """List the loads of all epochs in order."""
        for epoch in range(self.epochs):
            numbers = np.arange(self.n_partitions)
            if self.seed is not None:
                numbers = np.random.default_rng([self.seed, epoch]).permutation(numbers)
            yield from (Turn(int(number), epoch) for number in numbers)


@dataclass(frozen=True)
class Prepare:
    """Makes the block of a loaded partition, its rows permuted if there is a seed."""

    packer: Packer
    seed: int | None = None

    def __call__(self, loaded: Any, turn: Turn) -> Block:
        """Run where the partition was loaded."""
        block = self.packer(loaded)
        if self.seed is None:
            return block
        return block.take(shuffled_rows(self.seed, turn, len(block)))


def shuffled_rows(seed: int, turn: Turn, n_rows: int) -> Any:
    """Permute the rows of a partition, anew in each epoch."""
    generator = np.random.default_rng([seed, turn.epoch, turn.number])
    return generator.permutation(n_rows)


@dataclass
class Training:
    """A model in training, and how far it is.

    Parameters
    ----------
    model : estimator
        Trained in place; it belongs to the training alone.
    options : dict
        Passed to each ``partial_fit``.
    classes : ndarray, list of ndarray or None
        Passed as ``classes``; labels outside are refused before the step.
    """

    model: Any
    options: dict[str, Any] = field(default_factory=dict)
    classes: Any = None
    n_partitions_seen: int = 0
    n_samples_seen: int = 0
    first_rows: Any = None
    _config: dict[str, Any] = field(default_factory=get_config)

    def run(
        self, where: str, partitions: Partitions, plan: Plan, packer: Packer, ahead: int
    ) -> None:
        """Train on all turns of a plan.

        Parameters
        ----------
        where : str
            The call, for messages.
        partitions : Partitions
            The lowered table.
        plan : Plan
            Order and epochs.
        packer : Packer
            Makes blocks of loaded partitions.
        ahead : int
            Partitions loading or loaded beside the one in training.

        Raises
        ------
        EmptyTableError
            If no partition has a row.
        KeyboardInterrupt
            On Ctrl-C, after the running step has ended: the model is whole.
        """
        if not partitions.order_is_fixed:
            warnings.warn(_DISK_SHUFFLE.format(where=where), DfmlWarning, stacklevel=5)
        prepare = Prepare(packer, plan.seed)
        blocks = partitions.stream(plan.turns(), prepare, ahead=ahead)
        # Steps run off the main thread, where Ctrl-C cannot cut them in half:
        # scikit-learn's MLP would swallow it.
        with closing(blocks), ThreadPoolExecutor(1, "dfml-train") as thread:
            for turn, block in blocks:
                if len(block):
                    _whole(thread.submit(self._step, turn, block))
        if not self.n_partitions_seen:
            raise EmptyTableError.expecting(
                where, "at least one row", "none", "check the filters of the table"
            )

    def _step(self, turn: Turn, block: Block) -> None:
        try:
            self.step(block)
        except Exception as err:
            err.add_note(f"dfml: in partition {turn.number}, epoch {turn.epoch}.")
            raise

    def step(self, block: Block) -> None:
        """Train on one block."""
        options = dict(self.options)
        if self.classes is not None:
            check_labels(block.y, self.classes)
            options["classes"] = self.classes
        if block.sample_weight is not None:
            options["sample_weight"] = block.sample_weight
        with config_context(**self._config):
            self.model.partial_fit(block.X, block.y, **options)
        if self.first_rows is None:
            self.first_rows = block.X[:2]
        self.n_partitions_seen += 1
        self.n_samples_seen += len(block)


def _whole(running: Any) -> None:
    """Wait for a step; on Ctrl-C let it end before the interrupt goes on."""
    try:
        running.result()
    except KeyboardInterrupt:
        running.exception()
        raise


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
        outside = labels[~np.isin(labels, known)]
        if len(outside):
            raise LabelError.expecting(
                "fit",
                f"labels among the classes {list(known)[:20]}",
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
    if partitions.shares_work:
        found = partitions.map(_Distinct(table.packer(), is_label=False))
    else:
        labels = Partitions(table.labels)
        found = labels.map(_Distinct(table.packer(), is_label=True))
    several = isinstance(table.target, pd.DataFrame)
    names: Sequence[Any] = table.target.columns if several else [table.target.name]
    classes = [
        _merge_classes(where, name, [part[i] for part in found])
        for i, name in enumerate(names)
    ]
    return classes if several else classes[0]


def _merge_classes(where: str, name: Any, parts: list[tuple[Any, int]]) -> Any:
    missing = sum(count for _, count in parts)
    if missing:
        raise LabelError.expecting(
            where,
            "a label in every row",
            f"{missing} missing in column {name!r}",
            "drop those rows, for example ddf.dropna(subset=[label])",
        )
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
    check_classification_targets(classes)
    if len(classes) == 1:
        raise LabelError.expecting(
            where,
            "at least two classes",
            f"only {classes[0]!r} in column {name!r}",
            "check the filters, or pass classes=[...]",
        )
    return classes
