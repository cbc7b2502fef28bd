"""A sample of a DuckDB relation, drawn by the database or off its stream."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from dfml._relations import warn_of_order
from dfml._streams import StreamedPartitions
from dfml.exceptions import EmptyTableError
from dfml.sources._facts import describe_query, fetch_rows
from dfml.sources._lazy_frame import count_values
from dfml.sources._query import database_errors

if TYPE_CHECKING:
    from collections.abc import Generator

    from dfml._relations import RelationTable
    from dfml.arrays._blocks import Block

__all__ = ["Sample", "draw_from_relation", "no_rows"]

_log = logging.getLogger("dfml")

#: DuckDB makes room for all rows of a sample at once, and has a limit to their number:
#: above this the rows are counted first.
UNCOUNTED = 1_000_000


@dataclass
class Sample:
    """Rows to fit on, and where they come from.

    Parameters
    ----------
    block : Block
        The rows.
    partition : int or None
        Number of the partition, None if the rows come from several.
    """

    block: Block
    partition: int | None


def no_rows(where: str) -> EmptyTableError:
    """Make the error for a table without rows."""
    return EmptyTableError.expecting(
        where, "at least one row", "none", "check the filters of the table"
    )


def draw_from_relation(
    where: str, table: RelationTable, sample: Any, random_state: Any
) -> Sample:
    """Draw the sample of a relation that has not run.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : RelationTable
        The rows.
    sample : {"first", "random"}, int or float
        A partition is as long as one of ``read_sql``. So many rows, or about such a
        share of them, are drawn by DuckDB, each with the same chance.
    random_state : int, RandomState instance or None
        Seeds everything but ``"first"``.

    Returns
    -------
    sample : Sample
        Only rows that DuckDB has drawn are not in the order of the table.

    Raises
    ------
    EmptyTableError
        If there is no row.
    """
    warn_of_order(where, table.relation)
    table = table.resolved(where)
    if sample == "first":
        return _partition(where, table, 0)
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    if sample == "random":
        return _random_partition(where, table, seed)
    return _drawn(where, table, sample, seed)


def _blocks(where: str, table: RelationTable) -> Generator[Block]:
    """Read blocks one by one; the query is given up when this is closed."""
    stream = StreamedPartitions(where, table, table.packer(where)).stream(ahead=0)
    with closing(stream):
        yield from (loaded.value for _, loaded in stream)


def _partition(where: str, table: RelationTable, number: int) -> Sample:
    with closing(_blocks(where, table)) as blocks:
        for block in islice(blocks, number, None):
            return Sample(block, number)
    raise no_rows(where)


def _random_partition(where: str, table: RelationTable, seed: int) -> Sample:
    """Count the rows, then read on until the partition that was drawn."""
    with database_errors(describe_query(table.relation), where):
        n_rows, _ = count_values(table.rows(), [])
    chosen = None
    with closing(_blocks(where, table)) as blocks:
        for number, block in enumerate(blocks):
            if chosen is None:
                n_partitions = max(1, -(-n_rows // len(block)))
                chosen = int(np.random.default_rng(seed).integers(n_partitions))
            if number == chosen:
                return Sample(block, number)
    raise no_rows(where)


def _drawn(where: str, table: RelationTable, sample: Any, seed: int) -> Sample:
    rows = table.rows()
    if isinstance(sample, float):
        drawn = rows.sample(percent=100 * sample, method="reservoir", seed=seed)
    else:
        n_samples = int(sample)
        if n_samples > UNCOUNTED:
            with database_errors(describe_query(table.relation), where):
                n_samples = max(1, min(n_samples, count_values(rows, [])[0]))
        drawn = rows.sample(n_samples, method="reservoir", seed=seed)
    frame = fetch_rows(where, drawn)
    if not len(frame):  # less than half a row
        frame = fetch_rows(where, rows.sample(1, method="reservoir", seed=seed))
    if not len(frame):
        raise no_rows(where)
    _log.info("%s: DuckDB has drawn %d rows with seed %d", where, len(frame), seed)
    return Sample(table.packer(where)(frame), None)
