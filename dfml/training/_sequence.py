"""The sequence of ``partial_fit`` steps over the partitions of a table.

Partitions load and become arrays in parallel, a few ahead; the steps run one after
another. In this process they run in place, on one thread of their own.
"""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.utils import check_array

from dfml._partitions import in_window
from dfml.exceptions import DfmlWarning
from dfml.training._kept_blocks import KeptBlocks
from dfml.training._remote import RemoteSteps
from dfml.training._steps import Prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from dfml._partitions import Loads, Partitions, Turn
    from dfml._streams import StreamedPartitions, StreamLoads
    from dfml.arrays._blocks import Block
    from dfml.training._steps import OpenPlan, Plan, Step, Training

__all__ = ["Sequence"]

_DISK_SHUFFLE = """\
{where}: dask shuffles this table on disk, which puts the rows of a partition in \
another order on each run, so that another run gives another model. Hint: \
dask.config.set({{"dataframe.shuffle.method": "tasks"}}) fixes the order."""


class Sequence:
    """The steps of a plan, each yielded when it is done.

    Parameters
    ----------
    training : Training
        Where to begin; it may have steps behind it.
    partitions : Partitions or StreamedPartitions
        The lowered table, or the relation.
    plan : Plan or OpenPlan
        Order and epochs.
    pack : callable
        Makes a block of what a load gives.
    ahead : int
        Partitions loading or loaded beside the one in training.
    watched : bool, default=False
        Whether somebody looks at the rows of each step.
    """

    def __init__(
        self,
        training: Training,
        partitions: Partitions | StreamedPartitions,
        plan: Plan | OpenPlan,
        pack: Callable[[Any], Block],
        ahead: int,
        *,
        watched: bool = False,
    ) -> None:
        self._training = training
        self._partitions: Any = partitions
        self._plan = plan
        self._prepare = Prepare(pack, plan.seed, training.known_classes)
        self._ahead = ahead
        self._watched = watched
        self._kept = KeptBlocks(plan)
        self._remote: RemoteSteps | None = None
        self._block: Callable[[], Block | None] | None = None

    def block(self) -> Block | None:
        """Get the block of the last step, while it is there, from where it is."""
        return None if self._block is None else self._block()

    def state(self) -> Training:
        """Get the training as of the last whole step, from a worker if need be."""
        return self._training if self._remote is None else self._remote.state()

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
            run = self._here if loads.cluster is None else self._on_cluster
            with closing(run(loads, turns)) as steps:
                yield from steps

    def _on_cluster(self, loads: Loads, turns: Iterator[Turn]) -> Generator[Step]:
        self._remote = RemoteSteps(
            self._training,
            self._partitions,
            loads,
            self._ahead,
            keeps_blocks=self._watched,
        )
        self._block = self._remote.block
        yield from self._remote.steps(turns)

    def _here(
        self, loads: Loads | StreamLoads, turns: Iterator[Turn]
    ) -> Generator[Step]:
        # scikit-learn imports some of what it needs at the first call: on the main
        # thread that cannot meet an import lock that a signal has left behind.
        check_array(pd.DataFrame({"x": [0.0]}))
        # Steps run off the main thread, where Ctrl-C cannot cut them in half:
        # scikit-learn's MLP would swallow it.
        with ThreadPoolExecutor(1, "dfml-train") as thread, ExitStack() as stack:
            waiting = _Clock()
            window = in_window(turns, partial(self._submit, loads), self._ahead)
            stack.enter_context(closing(window))
            for turn, future in window:
                with waiting:
                    loaded = self._partitions.result(turn, future)
                del future
                if loaded is None:  # the rows of a stream have ended before this turn
                    continue
                with loads.step():
                    _whole(thread.submit(self._training.step, turn, loaded))
                self._kept.keep(turn, loaded.value)
                self._block = partial(getattr, loaded, "value")
                del loaded
                assert self._training.last is not None
                yield replace(self._training.last, seconds_waiting=waiting.take())
                self._block = None

    def _submit(self, loads: Loads | StreamLoads, turn: Turn) -> Any:
        """Start a load, or give again what was kept of an earlier epoch."""
        again = self._kept.again(turn)
        return loads.submit(turn) if again is None else loads.call(again)


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
