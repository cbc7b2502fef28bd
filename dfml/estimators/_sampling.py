"""The one sample that first-partition estimators are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from dfml._partitions import Partitions, Turn
from dfml._relations import RelationTable
from dfml.arrays._blocks import Block
from dfml.estimators._database_sampling import Sample, draw_from_relation, no_rows

if TYPE_CHECKING:
    from dfml._frames import Table
    from dfml.arrays._packer import Packer

__all__ = ["Sample", "draw"]


def draw(where: str, table: Table, sample: Any, random_state: Any) -> Sample:
    """Load the sample, and no more than the partitions it lies in.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : Table
        The joined table.
    sample : {"first", "random"}, int or float
        The first non-empty partition, a random one, so many rows, or such a share of
        all rows; rows are drawn without replacement over all partitions.
    random_state : int, RandomState instance or None
        Seeds everything but ``"first"``.

    Returns
    -------
    sample : Sample
        Rows keep the order of the table.

    Raises
    ------
    EmptyTableError
        If no partition has a row.
    """
    if isinstance(table, RelationTable):
        return draw_from_relation(where, table, sample, random_state)
    partitions = Partitions(table.joint)
    packer = table.packer(where)
    if sample == "first":
        order = range(len(partitions))
    else:
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        generator = np.random.default_rng(seed)
        if sample != "random":
            return _draw_rows(where, partitions, packer, sample, generator)
        order = generator.permutation(len(partitions)).tolist()
    turns = (Turn(number) for number in order)
    for turn, loaded in partitions.stream(turns, _Pack(packer), ahead=0):
        if len(loaded.value):
            return Sample(loaded.value, turn.number)
    raise no_rows(where)


@dataclass(frozen=True)
class _Pack:
    packer: Packer

    def __call__(self, loaded: Any, _: Turn) -> Block:
        return self.packer(loaded)


@dataclass(frozen=True)
class _Count:
    packer: Packer

    def __call__(self, loaded: Any, _: Turn) -> int:
        return len(self.packer.split(loaded)[0])


@dataclass(frozen=True)
class _Take:
    """Draw the rows of one partition, where it was loaded."""

    packer: Packer
    rows: dict[int, Any]

    def __call__(self, loaded: Any, turn: Turn) -> Block:
        return self.packer(loaded).take(self.rows[turn.number])


def _draw_rows(
    where: str,
    partitions: Partitions,
    packer: Packer,
    sample: float,
    generator: np.random.Generator,
) -> Sample:
    lengths = np.array(partitions.map(_Count(packer)), dtype=np.int64)
    total = int(lengths.sum())
    if not total:
        raise no_rows(where)
    wanted = round(sample * total) if isinstance(sample, float) else int(sample)
    wanted = min(max(wanted, 1), total)
    drawn = np.sort(generator.choice(total, wanted, replace=False, shuffle=False))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = {
        number: drawn[(drawn >= low) & (drawn < high)] - low
        for number, (low, high) in enumerate(pairwise(starts))
    }
    turns = [Turn(number) for number, taken in rows.items() if len(taken)]
    taken = partitions.stream(turns, _Take(packer, rows))
    blocks = [loaded.value for _, loaded in taken]
    alone = turns[0].number if len(turns) == 1 else None
    return Sample(_concatenate(blocks), alone)


def _concatenate(blocks: list[Block]) -> Block:
    first = blocks[0]
    parts = [block.X for block in blocks]
    return Block(
        np.concatenate(parts) if isinstance(first.X, np.ndarray) else pd.concat(parts),
        None if first.y is None else np.concatenate([b.y for b in blocks]),
        None
        if first.sample_weight is None
        else np.concatenate([b.sample_weight for b in blocks]),
    )
