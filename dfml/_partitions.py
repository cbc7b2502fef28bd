"""A lazy collection lowered once, and its partitions loaded a few at a time.

Lowering happens with dask's tuning switched off: tuning joins Parquet partitions by
the columns that are selected, which can pair the rows of X with those of another y.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from dask.base import get_scheduler
from dask.core import flatten, get_dependencies
from dask.dataframe.dask_expr._shuffle import DiskShuffle
from dask.system import CPU_COUNT
from sklearn import get_config

from dfml._dask_settings import dask_settings
from dfml._loaders import (
    ClusterLoader,
    Loaded,
    Loader,
    LocalLoader,
    Task,
    Turn,
    count_threads,
    make_loader,
)
from dfml.exceptions import PartitionMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["Loads", "Partitions", "Turn", "in_window"]

_SHARED = -1


class Partitions:
    """The partitions of a lazy collection, each loadable by itself.

    Parameters
    ----------
    collection : dask DataFrame or Series
        It is lowered now, once; work that several partitions share (a shuffle, a
        merge) is computed at the first load and kept until the object is closed.
    change : callable, optional
        Given the task that makes one partition and nothing else, it returns the one
        to run in its place.

    Attributes
    ----------
    order_is_fixed : bool
        False if dask's disk shuffle is upstream: it gives the rows of a partition in
        another order on each run.

    Notes
    -----
    The scheduler is the one that dask would use: a ``distributed`` client in the
    process, or ``dask.config.set(scheduler=...)``, or threads.
    """

    def __init__(
        self, collection: Any, change: Callable[[Any], Any] | None = None
    ) -> None:
        with dask_settings({"optimization.tune.active": False}):
            lowered = collection.optimize()
        shuffles = lowered.expr.find_operations(DiskShuffle)
        self.order_is_fixed = next(iter(shuffles), None) is None
        self._graph = dict(lowered.__dask_graph__())
        self._keys = list(flatten(lowered.__dask_keys__()))
        if len(self._keys) != collection.npartitions:
            raise PartitionMismatchError(
                f"dask lowered {collection.npartitions} partitions to "
                f"{len(self._keys)}.\n\nHint: call .persist() or .repartition() first."
            )
        self._get = get_scheduler(collections=[lowered])
        self._owned, self._needed = _divide(self._graph, self._keys)
        if change is not None:
            self._change(change)
        self._front: dict[Any, Any] | None = None

    def __len__(self) -> int:
        """Count the partitions."""
        return len(self._keys)

    def _change(self, change: Callable[[Any], Any]) -> None:
        for key, needed in zip(self._keys, self._needed, strict=True):
            if key not in needed:  # or it would change for others too
                self._graph[key] = change(self._graph[key])

    @property
    def shares_work(self) -> bool:
        """Whether some upstream task serves several partitions, as in a shuffle."""
        return any(self._needed)

    @property
    def n_threads(self) -> int:
        """Threads of this process that load; 0 where something else does."""
        return count_threads(self._get)

    @contextmanager
    def loading(
        self, then: Callable[[Any, Turn], Any] | None = None
    ) -> Generator[Loads]:
        """Open loads of single partitions.

        Parameters
        ----------
        then : callable, optional
            Called with the loaded partition and its turn where it was loaded; its
            result is the value of the load.

        Yields
        ------
        loads : Loads
            Closed on exit; loads that have not started are given up.
        """
        loader = make_loader(self._get, Task(then, get_config()))
        try:
            if self._front is None:
                self._front = loader.shared(self._graph, _union(self._needed))
            yield Loads(self, loader)
        finally:
            loader.close()

    def stream(
        self,
        order: Iterable[Turn] | None = None,
        then: Callable[[Any, Turn], Any] | None = None,
        *,
        ahead: int | None = None,
    ) -> Generator[tuple[Turn, Loaded]]:
        """Load partitions in order, at most ``ahead`` before the one in use.

        Parameters
        ----------
        order : iterable of Turn, optional
            Which partitions, with repetitions for epochs; all once by default.
        then : callable, optional
            As in :meth:`loading`.
        ahead : int, optional
            How many partitions may be loading or loaded beside the one in use; twice
            the processors by default.

        Yields
        ------
        turn, loaded : tuple
            In the order asked for. An error of a load carries a note with the number.
        """
        limit = 2 * CPU_COUNT if ahead is None else ahead
        turns = map(Turn, range(len(self))) if order is None else order
        with (
            self.loading(then) as loads,
            closing(in_window(turns, loads.submit, limit)) as window,
        ):
            for turn, future in window:
                yield turn, self.result(turn, future)

    def map(self, function: Callable[[Any, Turn], Any]) -> list[Any]:
        """Apply a function to every partition in parallel and gather the results."""
        return [loaded.value for _, loaded in self.stream(then=function)]

    def result(self, turn: Turn, future: Any) -> Any:
        """Wait for a future of a turn; an error gets a note with the partition."""
        try:
            return future.result()
        except Exception as err:
            err.add_note(f"dfml: in partition {turn.number} of {len(self)}.")
            raise

    def private(self, number: int) -> dict[Any, Any]:
        """Make the graph of one partition alone; shared work stands in it as done."""
        front = self._front or {}
        graph = {key: self._graph[key] for key in self._owned[number]}
        graph.update({key: front[key] for key in self._needed[number]})
        return graph

    def key(self, number: int) -> Any:
        """Name the key of one partition in its graph."""
        return self._keys[number]


class Loads:
    """Loads of single partitions, in the place where dask's scheduler works.

    Parameters
    ----------
    partitions : Partitions
        What is loaded.
    loader : Loader
        Where.
    """

    def __init__(self, partitions: Partitions, loader: Loader) -> None:
        self._partitions = partitions
        self._loader = loader

    @property
    def cluster(self) -> ClusterLoader | None:
        """The loader on a cluster, None if the loads are somewhere else."""
        return self._loader if isinstance(self._loader, ClusterLoader) else None

    def submit(self, turn: Turn, **placement: Any) -> Any:
        """Start to load one partition; ``placement`` is for :class:`ClusterLoader`."""
        graph = self._partitions.private(turn.number)
        key = self._partitions.key(turn.number)
        return self._loader.submit(graph, key, turn, **placement)

    def step(self) -> Any:
        """Make room for a step in this process: a context manager."""
        assert isinstance(self._loader, LocalLoader)
        return self._loader.step()

    def call(self, function: Callable[[], Loaded]) -> Any:
        """Start a function beside the loads, where they are in this process."""
        assert isinstance(self._loader, LocalLoader)
        return self._loader.call(function)


def in_window(
    turns: Iterable[Turn], submit: Callable[[Turn], Any], ahead: int
) -> Generator[tuple[Turn, Any]]:
    """Keep loads under way for the turns to come.

    Parameters
    ----------
    turns : iterable of Turn
        In order; looked at as far ahead as there are loads.
    submit : callable
        Starts the load of a turn, and returns its future.
    ahead : int
        Loads under way or done beside the one that was yielded last.

    Yields
    ------
    turn, future : tuple
        In order. What is left when this is closed is cancelled.
    """
    window: deque[tuple[Turn, Any]] = deque()
    try:
        for turn in turns:
            window.append((turn, submit(turn)))
            if len(window) > ahead:
                yield window.popleft()
        while window:
            yield window.popleft()
    finally:
        for _, future in window:
            future.cancel()


def _union(needed: list[set[Any]]) -> list[Any]:
    """List all shared keys, each once, in a stable order."""
    return sorted(set().union(*needed), key=str)


def _divide(
    graph: dict[Any, Any], keys: list[Any]
) -> tuple[list[list[Any]], list[set[Any]]]:
    """Give each task to the only partition that needs it, or to all of them.

    Returns the tasks that each partition owns, and the shared tasks it reads.
    """
    owner, dependencies = _owners(graph, keys)
    owned: list[list[Any]] = [[] for _ in keys]
    needed: list[set[Any]] = [set() for _ in keys]
    for task, number in owner.items():
        if number != _SHARED:
            owned[number].append(task)
            parents = dependencies[task]
            needed[number].update(p for p in parents if owner[p] == _SHARED)
    for number, key in enumerate(keys):
        if owner[key] == _SHARED:
            needed[number].add(key)
    return owned, needed


def _owners(
    graph: dict[Any, Any], keys: list[Any]
) -> tuple[dict[Any, int], dict[Any, set[Any]]]:
    """Walk up from each partition; what a second one reaches is shared."""
    owner: dict[Any, int] = {}
    dependencies: dict[Any, set[Any]] = {}
    for number, key in enumerate(keys):
        pending = [key]
        while pending:
            task = pending.pop()
            seen = owner.get(task)
            if seen in (number, _SHARED):
                continue
            owner[task] = number if seen is None else _SHARED
            if task not in dependencies:
                dependencies[task] = get_dependencies(graph, task)
            pending.extend(dependencies[task])
    return owner, dependencies
