"""Where partitions are loaded: one loader for each kind of dask scheduler.

A loader runs the private graph of one partition and hands the result to a function,
in the place where it was loaded. It knows nothing of what the partitions hold.
"""

from __future__ import annotations

import contextvars
import threading
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cloudpickle
import dask
from dask.base import named_schedulers
from dask.optimization import cull
from dask.system import CPU_COUNT
from sklearn import config_context

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "ClusterLoader",
    "Loaded",
    "Loader",
    "LocalLoader",
    "Task",
    "Turn",
    "count_threads",
    "count_workers",
    "is_cluster",
    "make_loader",
]

Graph = dict[Any, Any]


class Turn(NamedTuple):
    """One load: which partition, and in which pass over the table."""

    number: int
    epoch: int = 0


class Loaded(NamedTuple):
    """What a load gives, and the seconds it took where it ran."""

    value: Any
    seconds: float


@dataclass(frozen=True)
class Task:
    """The function for loaded partitions, under the caller's configuration."""

    function: Callable[[Any, Turn], Any] | None
    config: dict[str, Any]

    def __call__(self, loaded: Any, turn: Turn) -> Any:
        """Call the function as the caller would have called it."""
        if self.function is None:
            return loaded
        with config_context(**self.config):
            return self.function(loaded, turn)


class Loader(Protocol):
    """Loads partitions somewhere."""

    def submit(self, graph: Graph, key: Any, turn: Turn) -> Any:
        """Start a load; the result of the future is a ``Loaded``."""

    def shared(self, graph: Graph, keys: list[Any]) -> Graph:
        """Compute tasks that several partitions need, as tasks to put in graphs."""

    def close(self) -> None:
        """Give up loads that have not started, and wait for the others."""


@dataclass(frozen=True, eq=False)
class _Boxed:
    """A value that dask must not look into, as a task."""

    value: Any

    def __call__(self) -> Any:
        return self.value


def _load(graph: Graph, key: Any, task: Task, turn: Turn) -> Loaded:
    start = time.perf_counter()
    value = task(dask.get(graph, key), turn)
    return Loaded(value, time.perf_counter() - start)


class _Deferred:
    """A load that runs when its result is asked for."""

    def __init__(self, function: Callable[..., Loaded], *args: Any) -> None:
        self._function = function
        self._args = args

    def result(self) -> Loaded:
        return self._function(*self._args)

    def cancel(self) -> None:
        """Nothing was started."""


class LocalLoader:
    """Loads in the calling thread when a partition is asked for, for debugging.

    Parameters
    ----------
    get : callable
        dask's, for what partitions share.
    task : Task
        For each loaded partition.
    """

    def __init__(self, get: Callable[..., Any], task: Task) -> None:
        self._get = get
        self._task = task

    def submit(self, graph: Graph, key: Any, turn: Turn) -> Any:
        """Promise a load."""
        return _Deferred(_load, graph, key, self._task, turn)

    def call(self, function: Callable[[], Loaded]) -> Any:
        """Promise the result of a function of this process."""
        return _Deferred(function)

    def step(self) -> Any:
        """Make room for a step: a context manager."""
        return nullcontext()

    def shared(self, graph: Graph, keys: list[Any]) -> Graph:
        """Compute shared tasks with dask's scheduler."""
        if not keys:
            return {}
        values = self._get(cull(graph, keys)[0], keys)
        return {key: (_Boxed(value),) for key, value in zip(keys, values, strict=True)}

    def close(self) -> None:
        """Nothing to close."""


class _Room:
    """What steps leave of the processors, for loads.

    More threads than processors would take turns, and steps must not wait for theirs:
    all else waits for them.
    """

    def __init__(self, n_processors: int) -> None:
        self._changed = threading.Condition()
        self._n_free = n_processors

    @contextmanager
    def load(self) -> Generator[None]:
        """Wait for a processor, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._n_free > 0)
            self._n_free -= 1
        yield from self._until_done()

    @contextmanager
    def step(self) -> Generator[None]:
        """Take a processor, from the next load if none is free."""
        with self._changed:
            self._n_free -= 1
        yield from self._until_done()

    def _until_done(self) -> Generator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._n_free += 1
                self._changed.notify()


class _ThreadLoader(LocalLoader):
    """Loads in threads of this process."""

    def __init__(self, get: Callable[..., Any], task: Task) -> None:
        super().__init__(get, task)
        n_threads = count_workers()
        self._pool = ThreadPoolExecutor(n_threads, "dfml-load")
        self._room = _Room(max(2, n_threads))

    def submit(self, graph: Graph, key: Any, turn: Turn) -> Any:
        context = contextvars.copy_context()
        return self._pool.submit(context.run, self._load, graph, key, turn)

    def _load(self, graph: Graph, key: Any, turn: Turn) -> Loaded:
        with self._room.load():
            return _load(graph, key, self._task, turn)

    def step(self) -> Any:
        return self._room.step()

    def call(self, function: Callable[[], Loaded]) -> Any:
        return self._pool.submit(function)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _ProcessLoader(LocalLoader):
    """Loads in one pool of processes, which get the task once and live as long."""

    def __init__(self, get: Callable[..., Any], task: Task) -> None:
        from dask.multiprocessing import get_context

        super().__init__(get, task)
        self._pool = ProcessPoolExecutor(
            count_workers(), get_context(), _receive_task, (cloudpickle.dumps(task),)
        )

    def submit(self, graph: Graph, key: Any, turn: Turn) -> Any:
        pickled = cloudpickle.dumps((graph, key))
        return self._pool.submit(_load_received, pickled, turn)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


_received: list[Task] = []


def _receive_task(pickled: bytes) -> None:
    _received.append(cloudpickle.loads(pickled))


def _load_received(pickled: bytes, turn: Turn) -> Loaded:
    graph, key = cloudpickle.loads(pickled)
    return _load(graph, key, _received[-1], turn)


def count_workers() -> int:
    """Count the threads or processes that dask would use on this machine."""
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


class ClusterLoader:
    """Loads on the workers of a ``distributed`` cluster, one task a partition.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    task : Task
        Sent to the cluster once.
    """

    def __init__(self, client: Any, task: Task) -> None:
        self.client = client
        # The task has a recipe, unlike scattered data: it outlives its worker.
        self._task = client.submit(
            cloudpickle.loads, cloudpickle.dumps(task), pure=False
        )

    def submit(
        self,
        graph: Graph,
        key: Any,
        turn: Turn,
        after: Any = None,
        worker: str | None = None,
    ) -> Any:
        """Start a load; its future may be given to further tasks."""
        futures = self.futures_in(graph)
        rest = {k: v for k, v in graph.items() if k not in futures}
        return self.client.submit(
            _load_with,
            # Pickled: dask would take the tasks inside for its own.
            cloudpickle.dumps((rest, key)),
            list(futures),
            list(futures.values()),
            self._task,
            turn.number,
            turn.epoch,
            after,
            # A fresh key: a second run must not find the futures of the first.
            key=f"dfml-load-{turn.number}-{uuid.uuid4().hex}",
            workers=worker,
            allow_other_workers=worker is not None,  # it may be lost
        )

    def futures_in(self, graph: Graph) -> Graph:
        """Find the tasks of a graph whose results are on workers already."""
        future = type(self._task)
        return {key: task for key, task in graph.items() if isinstance(task, future)}

    def shared(self, graph: Graph, keys: list[Any]) -> Graph:
        """Compute shared tasks on the cluster, and leave them there."""
        if not keys:
            return {}
        futures = self.client.get(cull(graph, keys)[0], keys, sync=False)
        return dict(zip(keys, futures, strict=True))

    def close(self) -> None:
        """Let go of the task; loads are released with their last reference."""
        self._task.release()


def _load_with(
    pickled: bytes,
    keys: list[Any],
    values: list[Any],
    task: Task,
    number: int,
    epoch: int,
    _: Any,
) -> Loaded:
    graph, key = cloudpickle.loads(pickled)
    boxed = {k: (_Boxed(value),) for k, value in zip(keys, values, strict=True)}
    return _load({**graph, **boxed}, key, task, Turn(number, epoch))


def count_threads(get: Callable[..., Any]) -> int:
    """Count the threads of this process that a scheduler loads in; 0 elsewhere."""
    elsewhere = (named_schedulers["synchronous"], named_schedulers["processes"])
    return 0 if is_cluster(get) or get in elsewhere else count_workers()


def is_cluster(get: Callable[..., Any]) -> bool:
    """Tell whether a scheduler is the one of a ``distributed`` cluster."""
    return hasattr(getattr(get, "__self__", None), "scheduler_info")


def make_loader(get: Callable[..., Any], task: Task) -> Loader:
    """Choose the loader for a scheduler.

    Parameters
    ----------
    get : callable
        What ``dask.base.get_scheduler`` gives.
    task : Task
        For each loaded partition.

    Returns
    -------
    loader : Loader
        To be closed.
    """
    if is_cluster(get):
        return ClusterLoader(getattr(get, "__self__", None), task)
    if get is named_schedulers["synchronous"]:
        return LocalLoader(get, task)
    if get is named_schedulers["processes"]:
        return _ProcessLoader(get, task)
    return _ThreadLoader(get, task)
