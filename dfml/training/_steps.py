"""What is trained, in which order, and what one step does.

Where they run belongs to ``_sequence`` and ``_remote``.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context, get_config

from dfml._partitions import Turn
from dfml._streams import StreamedPartitions
from dfml._threads import limit_threads
from dfml.training._labels import check_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dfml._loaders import Loaded
    from dfml._partitions import Partitions
    from dfml.arrays._blocks import Block

__all__ = [
    "OpenPlan",
    "Plan",
    "Prepare",
    "Step",
    "Training",
    "make_plan",
    "shuffled_rows",
    "takes",
]


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

    @property
    def n_turns(self) -> int:
        """Count the turns."""
        return self.n_partitions * self.epochs

    def turns(self, done: int = 0) -> Iterator[Turn]:
        """List the loads of all epochs in order, from the one after ``done`` on."""
        return islice(self._turns(), done, None)

    def _turns(self) -> Iterator[Turn]:
        for epoch in range(self.epochs):
            numbers = np.arange(self.n_partitions)
            if self.seed is not None:
                numbers = np.random.default_rng([self.seed, epoch]).permutation(numbers)
            yield from (Turn(int(number), epoch) for number in numbers)


class OpenPlan:
    """All blocks in their order; how many there are is found out on the way.

    Parameters
    ----------
    partitions : StreamedPartitions
        What is planned.
    """

    seed = None

    def __init__(self, partitions: StreamedPartitions) -> None:
        self._partitions = partitions
        self.epochs = partitions.epochs

    @property
    def n_partitions(self) -> int | None:
        """Count the blocks, once the first pass is over."""
        return self._partitions.n_partitions

    @property
    def n_turns(self) -> int | None:
        """Count the turns, once the first pass is over."""
        known = self.n_partitions
        return None if known is None else known * self.epochs

    def turns(self, _: int = 0) -> Iterator[Turn]:
        """List the loads of all epochs in order."""
        return self._partitions.turns()


def make_plan(
    partitions: Partitions | StreamedPartitions, epochs: int, seed: int | None
) -> Plan | OpenPlan:
    """Plan epochs over the partitions of a table.

    Parameters
    ----------
    partitions : Partitions or StreamedPartitions
        Of the table; a stream knows its epochs, and has no seed.
    epochs, seed
        As in :class:`Plan`.

    Returns
    -------
    plan : Plan or OpenPlan
        The turns.
    """
    if isinstance(partitions, StreamedPartitions):
        return OpenPlan(partitions)
    return Plan(len(partitions), epochs, seed)


def shuffled_rows(seed: int, turn: Turn, n_rows: int) -> Any:
    """Permute the rows of a partition, anew in each epoch."""
    generator = np.random.default_rng([seed, turn.epoch, turn.number])
    return generator.permutation(n_rows)


@dataclass(frozen=True)
class Prepare:
    """Makes the block of a loaded partition, beside the steps of others.

    Parameters
    ----------
    pack : callable
        Makes the block.
    seed : int or None
        Permutes its rows.
    classes : ndarray, list of ndarray or None
        Labels outside are refused.
    """

    pack: Callable[[Any], Block]
    seed: int | None = None
    classes: Any = None

    def __call__(self, loaded: Any, turn: Turn) -> Block:
        """Run where the partition was loaded."""
        block = self.pack(loaded)
        if self.classes is not None:
            check_labels(block.y, self.classes)
        if self.seed is None:
            return block
        return block.take(shuffled_rows(self.seed, turn, len(block)))


@dataclass(frozen=True)
class Step:
    """What one step was: its turn, its rows, and where its time went.

    Parameters
    ----------
    epoch, partition : int
        The turn.
    rows : int
        Rows trained on; 0 for an empty partition.
    seconds_loading, seconds_training, seconds_waiting : float
        Of the load where it ran, of ``partial_fit``, and of the training for the load.
    score : float or None
        Of the model on the partition before it was trained on it.
    """

    epoch: int
    partition: int
    rows: int
    seconds_loading: float = 0.0
    seconds_training: float = 0.0
    seconds_waiting: float = 0.0
    score: float | None = None


@dataclass
class Training:
    """A model in training, and how far it is.

    Parameters
    ----------
    model : estimator
        It belongs to the training alone.
    options : dict
        Passed to each ``partial_fit``.
    classes : ndarray, list of ndarray or None
        Passed as ``classes``.
    scorer : callable or None
        ``scorer(model, X, y)`` scores a partition before it is trained on.
    """

    model: Any
    options: dict[str, Any] = field(default_factory=dict)
    classes: Any = None
    scorer: Callable[..., float] | None = None
    n_partitions_seen: int = 0
    n_samples_seen: int = 0
    first_rows: Any = None
    last: Step | None = None
    config: dict[str, Any] = field(default_factory=get_config)

    @property
    def known_classes(self) -> Any:
        """The classes that labels have to be among, given now or learnt before."""
        if self.classes is not None or not takes(self.model.partial_fit, "classes"):
            return self.classes
        return getattr(self.model, "classes_", None)

    def step(self, turn: Turn, loaded: Loaded) -> None:
        """Train on one block; the partition is in the note of any error.

        With one thread of BLAS and OpenMP: more of them give other last bits
        (IncrementalPCA, MiniBatchNMF), and workers of a cluster have one.
        """
        try:
            with config_context(**self.config), limit_threads(1):
                self._step(turn, loaded)
        except Exception as err:
            err.add_note(f"dfml: in partition {turn.number}, epoch {turn.epoch}.")
            raise

    def _step(self, turn: Turn, loaded: Loaded) -> None:
        block: Block = loaded.value
        score, seconds = None, 0.0
        if len(block):
            options = self._options(block)
            score = self._score(block)
            start = time.perf_counter()
            self.model.partial_fit(block.X, block.y, **options)
            seconds = time.perf_counter() - start
            if self.first_rows is None:
                # A copy: a view would keep the whole block in memory.
                self.first_rows = block.X[:2].copy()
            self.n_partitions_seen += 1
            self.n_samples_seen += len(block)
        self.last = Step(
            turn.epoch, turn.number, len(block), loaded.seconds, seconds, score=score
        )

    def _options(self, block: Block) -> dict[str, Any]:
        options = dict(self.options)
        if self.classes is not None:
            options["classes"] = self.classes
        if block.sample_weight is not None:
            options["sample_weight"] = block.sample_weight
        return options

    def _score(self, block: Block) -> float | None:
        """Score the model on rows it has not seen; the first model has none."""
        if self.scorer is None or not self.n_partitions_seen:
            return None
        return float(self.scorer(self.model, block.X, block.y))
