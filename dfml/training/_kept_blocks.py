"""Blocks that stay in memory between epochs, as far as a budget allows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.utils import parse_bytes

from dfml._loaders import Loaded
from dfml.training._steps import shuffled_rows

if TYPE_CHECKING:
    from dfml._partitions import Turn
    from dfml.arrays._blocks import Block
    from dfml.training._steps import OpenPlan, Plan

__all__ = ["KeptBlocks"]


@dataclass(frozen=True)
class _Again:
    """Gives a block once more, its rows in the order of another turn."""

    block: Block
    kept: Turn
    turn: Turn
    seed: int | None

    def __call__(self) -> Loaded:
        start = time.perf_counter()
        block = self.block
        if self.seed is not None:
            # Of the rows as they were loaded, block has the permutation of its turn.
            had = shuffled_rows(self.seed, self.kept, len(block))
            wanted = shuffled_rows(self.seed, self.turn, len(block))
            block = block.take(np.argsort(had)[wanted])
        return Loaded(block, time.perf_counter() - start)


class KeptBlocks:
    """Keeps the first blocks that fit in ``dfml.memory-budget`` bytes.

    Parameters
    ----------
    plan : Plan
        Nothing is kept in its last epoch.
    """

    def __init__(self, plan: Plan | OpenPlan) -> None:
        self._plan = plan
        self._left = parse_bytes(dask.config.get("dfml.memory-budget", 0))
        self._blocks: dict[int, tuple[Turn, Block]] = {}

    def keep(self, turn: Turn, block: Block) -> None:
        """Keep the block of a turn if it is asked for again and fits."""
        is_last = turn.epoch == self._plan.epochs - 1
        if is_last or turn.number in self._blocks or block.nbytes > self._left:
            return
        self._left -= block.nbytes
        self._blocks[turn.number] = turn, block.read_only()

    def again(self, turn: Turn) -> Any:
        """Get a function that gives the block of a turn, None if it is not kept."""
        if turn.number not in self._blocks:
            return None
        kept, block = self._blocks[turn.number]
        return _Again(block, kept, turn, self._plan.seed)
