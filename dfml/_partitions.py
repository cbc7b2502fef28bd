"""A lazy collection lowered once, and its partitions loaded a few at a time.

This is the only module that knows about dask's schedulers. It lowers with
dask's tuning switched off: tuning joins Parquet partitions by the columns that
are selected, which can pair the rows of X with those of another y.
"""

from __future__ import annotations

import contextvars
import uuid
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cloudpickle
import dask
from dask.base import get_scheduler, named_schedulers
from dask.core import flatten, get_dependencies
from dask.dataframe.dask_expr._shuffle import DiskShuffle
from dask.optimization import cull
from dask.system import CPU_COUNT
from sklearn import config_context, get_config

from dfml.exceptions import PartitionMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["Partitions", "Turn"]

_SHARED = -1


class Turn(NamedTuple):
    """One load: which partition, and in which pass over the table."""

    number: int
    epoch: int = 0


@dataclass(frozen=True, eq=False)
class _Boxed:
    """A value that dask must not look into, as a task."""

    value: Any

    def __call__(self) -> Any:
        return self.value


class _Loader(Protocol):
    """Where partitions are loaded; one class for each kind of scheduler."""

    def submit(self, graph: dict[Any, Any], key: Any, turn: Turn) -> Any: ...

    def shared(self, graph: dict[Any, Any], keys: list[Any]) -> dict[Any, Any]: ...

    def close(self) -> None: ...


class Partitions:
    """The partitions of a lazy collection, each loadable by itself.

    Parameters
    ----------
    collection : dask DataFrame or Series
        It is lowered now, once; work that several partitions share (a shuffle, a
        merge) is computed at the first load and kept until the object is closed.

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

    def __init__(self, collection: Any) -> None:
        with dask.config.set({"optimization.tune.active": False}):
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
        self._front: dict[Any, Any] | None = None

    def __len__(self) -> int:
        """Count the partitions."""
        return len(self._keys)

    @property
    def shares_work(self) -> bool:
        """Whether some upstream task serves several partitions, as in a shuffle."""
        return any(self._needed)

    def stream(
        self,
        order: Iterable[Turn] | None = None,
        then: Callable[[Any, Turn], Any] | None = None,
        *,
        ahead: int | None = None,
    ) -> Generator[tuple[Turn, Any]]:
        """Load partitions in order, at most ``ahead`` before the one in use.

        Parameters
        ----------
        order : iterable of Turn, optional
            Which partitions, with repetitions for epochs; all once by default.
        then : callable, optional
            Called with the loaded partition and its turn where it was loaded, in
            parallel; its result is what is yielded.
        ahead : int, optional
            How many partitions may be loading or loaded beside the one in use; twice
            the processors by default.

        Yields
        ------
        turn, loaded : tuple
            In the order asked for. An error of a load carries a note with the number.
        """
        loader = _loader_for(self._get, _Task(then, get_config()))
        window: deque[tuple[Turn, Any]] = deque()
        try:
            if self._front is None:
                self._front = loader.shared(self._graph, _union(self._needed))
            limit = 2 * CPU_COUNT if ahead is None else ahead
            for turn in map(Turn, range(len(self))) if order is None else order:
                window.append((turn, self._submit(loader, turn)))
                if len(window) > limit:
                    yield _result(*window.popleft(), len(self))
            while window:
                yield _result(*window.popleft(), len(self))
        finally:
            for _, future in window:
                future.cancel()
            loader.close()

    def map(self, function: Callable[[Any, Turn], Any]) -> list[Any]:
        """Apply a function to every partition in parallel and gather the results."""
        return [result for _, result in self.stream(then=function)]

    def first(self, then: Callable[[Any, Turn], Any]) -> Generator[tuple[Turn, Any]]:
        """Load partitions one by one, from the first on, without look-ahead."""
        return self.stream(then=then, ahead=0)

    def _submit(self, loader: _Loader, turn: Turn) -> Any:
        front = self._front or {}
        number = turn.number
        private = {key: self._graph[key] for key in self._owned[number]}
        private.update({key: front[key] for key in self._needed[number]})
        return loader.submit(private, self._keys[number], turn)


def _union(needed: list[set[Any]]) -> list[Any]:
    """All shared keys, each once, in a stable order."""
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


def _result(turn: Turn, future: Any, total: int) -> tuple[Turn, Any]:
    try:
        return turn, future.result()
    except Exception as err:
        err.add_note(f"dfml: in partition {turn.number} of {total}.")
        raise


@dataclass(frozen=True)
class _Task:
    """The function for loaded partitions, under the caller's configuration."""

    function: Callable[[Any, Turn], Any] | None
    config: dict[str, Any]

    def __call__(self, loaded: Any, turn: Turn) -> Any:
        if self.function is None:
            return loaded
        with config_context(**self.config):
            return self.function(loaded, turn)


def _load(graph: dict[Any, Any], key: Any, task: _Task, turn: Turn) -> Any:
    return task(dask.get(graph, key), turn)


def _compute_front(
    get: Callable[..., Any], graph: dict[Any, Any], keys: list[Any]
) -> dict[Any, Any]:
    if not keys:
        return {}
    values = get(cull(graph, keys)[0], keys)
    return {key: (_Boxed(value),) for key, value in zip(keys, values, strict=True)}


class _Deferred:
    """A load that runs when its result is asked for."""

    def __init__(self, *args: Any) -> None:
        self._args = args

    def result(self) -> Any:
        return _load(*self._args)

    def cancel(self) -> None:
        """Nothing was started."""


class _SynchronousLoader:
    """Loads in the calling thread when a partition is asked for, for debugging."""

    def __init__(self, get: Callable[..., Any], task: _Task) -> None:
        self._get = get
        self._task = task

    def submit(self, graph: dict[Any, Any], key: Any, turn: Turn) -> _Deferred:
        return _Deferred(graph, key, self._task, turn)

    def shared(self, graph: dict[Any, Any], keys: list[Any]) -> dict[Any, Any]:
        return _compute_front(self._get, graph, keys)

    def close(self) -> None:
        """Nothing to close."""


class _ThreadLoader(_SynchronousLoader):
    """Loads in threads of this process."""

    def __init__(self, get: Callable[..., Any], task: _Task) -> None:
        super().__init__(get, task)
        self._pool = ThreadPoolExecutor(_n_workers(), "dfml-load")

    def submit(self, graph: dict[Any, Any], key: Any, turn: Turn) -> Any:
        context = contextvars.copy_context()
        return self._pool.submit(context.run, _load, graph, key, self._task, turn)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _ProcessLoader(_SynchronousLoader):
    """Loads in one pool of processes, which get the task once and live as long."""

    def __init__(self, get: Callable[..., Any], task: _Task) -> None:
        from dask.multiprocessing import get_context

        super().__init__(get, task)
        self._pool = ProcessPoolExecutor(
            _n_workers(), get_context(), _receive_task, (cloudpickle.dumps(task),)
        )

    def submit(self, graph: dict[Any, Any], key: Any, turn: Turn) -> Any:
        return self._pool.submit(_load_received, cloudpickle.dumps((graph, key)), turn)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


_received: list[_Task] = []


def _receive_task(pickled: bytes) -> None:
    _received.append(cloudpickle.loads(pickled))


def _load_received(pickled: bytes, turn: Turn) -> Any:
    graph, key = cloudpickle.loads(pickled)
    return _load(graph, key, _received[-1], turn)


def _n_workers() -> int:
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


class _ClusterLoader:
    """Loads on the workers of a ``distributed`` cluster; results come back here."""

    def __init__(self, client: Any, task: _Task) -> None:
        self._client = client
        # Fresh names: a second run must not find the futures of the first.
        self._stream = uuid.uuid4().hex
        self._task = f"dfml-task-{self._stream}"
        self._tasks = client.scatter({self._task: task})

    def submit(self, graph: dict[Any, Any], key: Any, turn: Turn) -> Any:
        last = f"dfml-load-{self._stream}-{uuid.uuid4().hex}"
        call = (_call, self._task, key, turn.number, turn.epoch)
        return self._client.get({**graph, **self._tasks, last: call}, last, sync=False)

    def shared(self, graph: dict[Any, Any], keys: list[Any]) -> dict[Any, Any]:
        if not keys:
            return {}
        futures = self._client.get(cull(graph, keys)[0], keys, sync=False)
        return dict(zip(keys, futures, strict=True))

    def close(self) -> None:
        """Futures are released with their last reference."""
        self._tasks = {}


def _call(task: _Task, loaded: Any, number: int, epoch: int) -> Any:
    return task(loaded, Turn(number, epoch))


def _loader_for(get: Callable[..., Any], task: _Task) -> _Loader:
    client = getattr(get, "__self__", None)
    if client is not None and hasattr(client, "scheduler_info"):
        return _ClusterLoader(client, task)
    if get is named_schedulers["synchronous"]:
        return _SynchronousLoader(get, task)
    if get is named_schedulers["processes"]:
        return _ProcessLoader(get, task)
    return _ThreadLoader(get, task)
