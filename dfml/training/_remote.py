"""Steps on the workers of a cluster, each on a copy of the model.

The model moves from worker to worker, the rows stay where they were loaded. Tasks are
submitted before they can run, so that no worker waits for this process; what keeps
memory bounded is that each load waits for a step.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections import deque
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

from dfml._partitions import Turn

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from dfml._loaders import Loaded
    from dfml._partitions import Loads, Partitions
    from dfml.arrays._blocks import Block
    from dfml.training._steps import Step, Training

__all__ = ["RemoteSteps"]

#: Seconds of steps after which the model is fetched: what a lost worker can cost.
CHECKPOINT_SECONDS = 2.0
#: Seconds of steps that are submitted before they can run.
SUBMITTED_SECONDS = 0.25
#: The most steps that are.
MAX_SUBMITTED = 16


@dataclass
class _Submitted:
    """A step that was handed to the cluster; the fields are futures."""

    turn: Turn
    state: Any
    last: Any
    block: Any


@dataclass
class _Load:
    """A load that was handed to the cluster, and the worker it was meant for."""

    turn: Turn
    block: Any
    worker: str | None


class RemoteSteps:
    """The steps of a plan on a cluster, yielded in order when they are done.

    Parameters
    ----------
    training : Training
        Where to begin.
    partitions : Partitions
        The lowered table.
    loads : Loads
        On the cluster.
    ahead : int
        Partitions loading or loaded beside the one in training.
    keeps_blocks : bool
        Whether the rows of the last step are asked for: then a step is submitted when
        the one before is done.
    """

    def __init__(
        self,
        training: Training,
        partitions: Partitions,
        loads: Loads,
        ahead: int,
        *,
        keeps_blocks: bool,
    ) -> None:
        self._partitions = partitions
        self._loads = loads
        assert loads.cluster is not None
        self._cluster = loads.cluster
        self._client = loads.cluster.client
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        threads = [worker["nthreads"] for worker in workers.values()]
        self._workers = cycle(workers or [None])
        self._ahead = ahead - _step_waits_for_load(ahead, threads)
        self._keeps_blocks = keeps_blocks
        self._done = training
        self._done_future: Any = None
        self._chain = self._root(training)
        self._block: Any = None
        self._loading: deque[_Load] = deque()
        self._pending: deque[_Submitted] = deque()

    def state(self) -> Training:
        """Fetch the training as of the last step that was yielded."""
        if self._done_future is not None:
            self._done = self._done_future.result()
            self._done_future = None
        return self._done

    def block(self) -> Block | None:
        """Fetch the rows of the last step, where they are kept."""
        return None if self._block is None else self._block.result().value

    def steps(self, turns: Iterator[Turn]) -> Generator[Step]:
        """Submit the steps, and yield each when it is done."""
        for _ in range(self._ahead + 1):
            self._load(turns)
        while self._loading:
            yield from self._run_ahead(turns)
            yield from self._take_root(turns)
        yield from self._finish_all()
        self.state()

    def _run_ahead(self, turns: Iterator[Turn]) -> Generator[Step]:
        """Submit steps from the last root on, until it is time for another."""
        seconds, depth = 0.0, 1
        while self._loading and seconds <= CHECKPOINT_SECONDS:
            self._submit(self._loading.popleft())
            self._load(turns, after=self._chain)
            while len(self._pending) > depth or self._has_finished():
                step = self._finish()
                seconds += step.seconds_training
                depth = self._depth(step.seconds_training)
                yield step

    def _take_root(self, turns: Iterator[Turn]) -> Generator[Step]:
        """Use up the loads that are behind steps, and put the model there anew.

        A load that is lost runs again, and so does the step that it is behind. So that
        this ends at the last root, no load is behind a step from before that root.
        """
        for _ in range(len(self._loading)):
            self._submit(self._loading.popleft())
            yield from self._finish_all()
            self._load(turns)
        if self._loading:
            self._chain = self._root(self.state())

    def _has_finished(self) -> bool:
        return bool(self._pending) and self._pending[0].last.done()

    def _finish_all(self) -> Generator[Step]:
        while self._pending:
            yield self._finish()

    def _load(self, turns: Iterator[Turn], after: Any = None) -> None:
        """Submit the next load, to run behind the step that makes room, or now."""
        turn = next(turns, None)
        if turn is not None:
            worker = self._worker(turn)
            block = self._loads.submit(turn, after=after, worker=worker)
            self._loading.append(_Load(turn, block, worker))

    def _worker(self, turn: Turn) -> str | None:
        """Choose a worker in turn: dask would load where the gate is, on one worker.

        What is on the workers already stays where it is.
        """
        graph = self._partitions.private(turn.number)
        return None if self._cluster.futures_in(graph) else next(self._workers)

    def _submit(self, load: _Load) -> None:
        turn, submit = load.turn, self._client.submit
        state = submit(
            _advance,
            self._chain,
            load.block,
            turn.number,
            turn.epoch,
            key=_key("step"),
            workers=load.worker,
            allow_other_workers=load.worker is not None,
        )
        last = submit(_last, state, key=_key("last"))
        self._chain = state
        kept = load.block if self._keeps_blocks else None
        self._pending.append(_Submitted(turn, state, last, kept))

    def _depth(self, seconds: float) -> int:
        """Tell how many steps may be submitted behind the one that runs."""
        if self._keeps_blocks:
            return 0
        return 1 + min(MAX_SUBMITTED, int(SUBMITTED_SECONDS / max(seconds, 1e-3)))

    def _finish(self) -> Step:
        """Wait for the oldest step that was submitted."""
        oldest = self._pending.popleft()
        start = time.perf_counter()
        step: Step = self._partitions.result(oldest.turn, oldest.last)
        waited = time.perf_counter() - start - step.seconds_training
        self._done_future, self._block = oldest.state, oldest.block
        return replace(step, seconds_waiting=max(0.0, waited))

    def _root(self, training: Training) -> Any:
        """Put a training on the cluster with a recipe: it outlives its worker."""
        import cloudpickle

        pickled = cloudpickle.dumps(training)
        return self._client.submit(cloudpickle.loads, pickled, pure=False)


def _step_waits_for_load(ahead: int, threads: list[int]) -> bool:
    """Tell whether a step and a load become ready on the only thread of a worker.

    The load may be taken first, and delays all steps to come: one load fewer at a
    time is then faster (40 partitions on two workers: 1.4 s, not 2.3 s).
    """
    return set(threads) == {1} and ahead % len(threads) == 0


def _key(kind: str) -> str:
    """Name a task of this run only: no other run may find its future."""
    return f"dfml-{kind}-{uuid.uuid4().hex}"


def _advance(training: Training, loaded: Loaded, number: int, epoch: int) -> Training:
    """Make the next state from a copy: the task may run any number of times."""
    following = copy.deepcopy(training)
    following.step(Turn(number, epoch), loaded)
    return following


def _last(training: Training) -> Step:
    assert training.last is not None
    return training.last
