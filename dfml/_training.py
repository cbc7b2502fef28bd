"""The sequence of ``partial_fit`` steps over the partitions of a table.

Partitions load and become arrays in parallel, a few ahead; the steps run one after
another. In this process they run in place on one thread. On a cluster they run on
workers, each on a copy of the model, so that a step counts once whatever is retried.
"""

from __future__ import annotations

import copy
import inspect
import time
import uuid
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn import config_context, get_config
from sklearn.utils import check_array

from dfml._labels import check_labels
from dfml._partitions import Partitions, Turn
from dfml.exceptions import DfmlWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from dfml._arrays import Block
    from dfml._frames import Packer
    from dfml._loaders import Loaded
    from dfml._partitions import Loads

__all__ = ["Plan", "Sequence", "Step", "Training", "shuffled_rows", "takes"]

#: Seconds of steps on a cluster after which the model is fetched: what a lost worker
#: can cost.
CHECKPOINT_SECONDS = 2.0

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

    def __len__(self) -> int:
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


def shuffled_rows(seed: int, turn: Turn, n_rows: int) -> Any:
    """Permute the rows of a partition, anew in each epoch."""
    generator = np.random.default_rng([seed, turn.epoch, turn.number])
    return generator.permutation(n_rows)


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
        Passed as ``classes``; labels outside are refused before the step.
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

    def step(self, turn: Turn, loaded: Loaded) -> None:
        """Train on one block; the partition is in the note of any error."""
        try:
            with config_context(**self.config):
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
                self.first_rows = block.X[:2]
            self.n_partitions_seen += 1
            self.n_samples_seen += len(block)
        self.last = Step(
            turn.epoch, turn.number, len(block), loaded.seconds, seconds, score=score
        )

    def _options(self, block: Block) -> dict[str, Any]:
        options = dict(self.options)
        if self.classes is not None:
            check_labels(block.y, self.classes)
            options["classes"] = self.classes
        if block.sample_weight is not None:
            options["sample_weight"] = block.sample_weight
        return options

    def _score(self, block: Block) -> float | None:
        """Score the model on rows it has not seen; the first model has none."""
        if self.scorer is None or not self.n_partitions_seen:
            return None
        return float(self.scorer(self.model, block.X, block.y))


class Sequence:
    """The steps of a plan, each yielded when it is done.

    Parameters
    ----------
    training : Training
        Where to begin; it may have steps behind it.
    partitions : Partitions
        The lowered table.
    plan : Plan
        Order and epochs.
    packer : Packer
        Makes blocks of loaded partitions.
    ahead : int
        Partitions loading or loaded beside the one in training.
    """

    def __init__(
        self,
        training: Training,
        partitions: Partitions,
        plan: Plan,
        packer: Packer,
        ahead: int,
    ) -> None:
        self._training = training
        self._partitions = partitions
        self._plan = plan
        self._prepare = Prepare(packer, plan.seed)
        self._ahead = ahead
        self._remote: Any = None
        self._block: Callable[[], Block] | None = None

    def block(self) -> Block | None:
        """Get the block of the last step, while it is there, from where it is."""
        return None if self._block is None else self._block()

    def state(self) -> Training:
        """Get the training as of the last whole step, from a worker if need be."""
        if self._remote is not None:
            self._training = self._remote.result()
            self._remote = None
        return self._training

    def steps(self, where: str, done: int = 0) -> Generator[Step]:
        """Train, and yield each step when it is done.

        Parameters
        ----------
        where : str
            The call, for messages.
        done : int, default=0
            Turns of the plan to leave out, as they are done already.

        Yields
        ------
        step : Step
            The training is whole whenever a step is yielded, and when Ctrl-C raises.
        """
        if not self._partitions.order_is_fixed:
            warnings.warn(_DISK_SHUFFLE.format(where=where), DfmlWarning, stacklevel=6)
        with self._partitions.loading(self._prepare) as loads:
            turns = self._plan.turns(done)
            run = self._on_cluster if loads.client is not None else self._here
            with closing(run(loads, turns)) as steps:
                yield from steps

    def _here(self, loads: Loads, turns: Iterator[Turn]) -> Generator[Step]:
        # scikit-learn imports some of what it needs at the first call: on the main
        # thread that cannot meet an import lock that a signal has left behind.
        check_array(pd.DataFrame({"x": [0.0]}))
        # Steps run off the main thread, where Ctrl-C cannot cut them in half:
        # scikit-learn's MLP would swallow it.
        with ThreadPoolExecutor(1, "dfml-train") as thread:
            waiting = _Clock()
            for turn, future in _window(loads, turns, self._ahead):
                with waiting:
                    loaded = self._partitions.result(turn, future)
                del future
                _whole(thread.submit(self._training.step, turn, loaded))
                self._block = partial(getattr, loaded, "value")
                del loaded
                assert self._training.last is not None
                yield replace(self._training.last, seconds_waiting=waiting.take())
                self._block = None

    def _on_cluster(self, loads: Loads, turns: Iterator[Turn]) -> Generator[Step]:
        client = loads.client
        state = _root(client, self._training)
        running: deque[tuple[Turn, Any, Any, Any]] = deque()
        behind = 0.0
        # One step is queued behind the one that runs, to keep the worker busy.
        for turn, block in _window(loads, turns, max(self._ahead - 1, 0)):
            state = client.submit(
                _advance, state, block, turn.number, turn.epoch, key=_key("step", turn)
            )
            last = client.submit(_last, state, key=_key("last", turn))
            running.append((turn, state, last, block))
            del block
            if len(running) > 1:
                step = self._finish(*running.popleft())
                behind += step.seconds_training
                yield step
            if behind > CHECKPOINT_SECONDS:
                while running:
                    yield self._finish(*running.popleft())
                # A new root: what a lost worker takes with it begins here.
                state, behind = _root(client, self.state()), 0.0
        while running:
            yield self._finish(*running.popleft())
        self.state()

    def _finish(self, turn: Turn, state: Any, last: Any, block: Any) -> Step:
        self._block = lambda: block.result().value
        with _Clock() as waiting:
            step: Step = self._partitions.result(turn, last)
        self._remote = state
        waited = max(0.0, waiting.take() - step.seconds_training)
        return replace(step, seconds_waiting=waited)


def _window(
    loads: Loads, turns: Iterator[Turn], ahead: int
) -> Generator[tuple[Turn, Any]]:
    """Keep loads under way for the turns to come; futures are yielded in order."""
    window: deque[tuple[Turn, Any]] = deque()
    try:
        for turn in turns:
            window.append((turn, loads.submit(turn)))
            if len(window) > ahead:
                yield window.popleft()
        while window:
            yield window.popleft()
    finally:
        for _, future in window:
            future.cancel()


def _whole(running: Any) -> None:
    """Wait for a step; on Ctrl-C let it end before the interrupt goes on."""
    try:
        running.result()
    except KeyboardInterrupt:
        running.exception()
        raise


class _Clock:
    """Adds up the seconds inside ``with``."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __enter__(self) -> _Clock:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds += time.perf_counter() - self._start

    def take(self) -> float:
        """Read the seconds, and begin anew."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def _key(kind: str, turn: Turn) -> str:
    """Name a task of this run only: no other run may find its future."""
    return f"dfml-{kind}-{turn.epoch}-{turn.number}-{uuid.uuid4().hex}"


def _root(client: Any, training: Training) -> Any:
    """Put a training on the cluster with a recipe, so that it outlives its worker."""
    import cloudpickle

    return client.submit(cloudpickle.loads, cloudpickle.dumps(training), pure=False)


def _advance(training: Training, loaded: Loaded, number: int, epoch: int) -> Training:
    """Make the next state from a copy: the task may run any number of times."""
    following = copy.deepcopy(training)
    following.step(Turn(number, epoch), loaded)
    return following


def _last(training: Training) -> Step:
    assert training.last is not None
    return training.last
