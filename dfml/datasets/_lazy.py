"""From a problem to dask: seeds of partitions, dask Arrays, dask frames.

What a row looks like is the problem's own business; how many rows there are, where
they are split and which seed each partition has is decided here.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.array.core import normalize_chunks

from dfml.datasets._checks import check_counts, refuse

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None
    Floats: TypeAlias = NDArray[np.float64]
    Integers: TypeAlias = NDArray[np.int64]

__all__ = ["Problem", "Rows", "Stream", "draw_entropy", "make_lazy"]

DEFAULT_CHUNK_ROWS = 10_000


class Stream(IntEnum):
    """What random numbers are for: each purpose has its own stream in a partition.

    So the target can be drawn without the features, and still belongs to them.
    """

    GROUP = 0
    LATENT = 1
    NOISE_FEATURES = 2
    TARGET = 3


class Rows(NamedTuple):
    """The rows of one partition, as a seed and a count."""

    entropy: int
    partition: int
    n_rows: int

    def stream(self, purpose: Stream) -> np.random.Generator:
        """Return the generator of one purpose, always at its start."""
        key = (self.partition, int(purpose))
        seed = np.random.SeedSequence(self.entropy, spawn_key=key)
        return np.random.default_rng(seed)


class Problem(Protocol):
    """A ground truth, from which the rows of any partition follow."""

    @property
    def n_features(self) -> int:
        """Number of columns of the features."""

    def features(self, rows: Rows) -> Floats:
        """Draw the features of one partition, C-ordered."""

    def target(self, rows: Rows) -> NDArray[Any]:
        """Draw the target of one partition, without drawing all features."""


def draw_entropy(where: str, random_state: RandomState) -> int:
    """Turn any `random_state` into one int, from which everything else follows."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**63 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    check_counts(where, 0, random_state=random_state)
    return int(random_state)


def make_lazy(
    where: str,
    problem: Problem,
    n_samples: int,
    entropy: int,
    chunks: Any,
    npartitions: int | None,
) -> tuple[Any, Any]:
    """Return the features and the target, as dask Arrays or as dask frames."""
    if npartitions is None:
        sizes = _chunk_rows(where, chunks, n_samples, problem.n_features)
        return _make_arrays(problem, sizes, entropy)
    if chunks is not None:
        raise refuse(
            where,
            "one of chunks and npartitions",
            f"chunks={chunks!r} and npartitions={npartitions!r}",
            "pass chunks for dask Arrays, npartitions for dask frames",
        )
    check_counts(where, 1, npartitions=npartitions)
    if npartitions > n_samples:
        raise refuse(
            where,
            "npartitions to be at most n_samples",
            f"{npartitions} partitions and {n_samples} rows",
            "lower npartitions",
        )
    smaller, n_larger = divmod(int(n_samples), int(npartitions))
    sizes = tuple(smaller + (i < n_larger) for i in range(npartitions))
    return _make_frames(problem, sizes, entropy)


def _chunk_rows(
    where: str, chunks: Any, n_samples: int, n_features: int
) -> tuple[int, ...]:
    """Return the rows of each chunk."""
    if chunks is None:
        chunks = DEFAULT_CHUNK_ROWS
    shape = (int(n_samples), n_features)
    nested = isinstance(chunks, tuple) and any(isinstance(c, tuple) for c in chunks)
    try:
        both = chunks if nested else (chunks, -1)
        rows, columns = normalize_chunks(both, shape=shape, dtype=float)
        if len(columns) != 1 or min(rows) < 0:
            raise ValueError("negative chunks, or chunks over the features")
    except (TypeError, ValueError, ZeroDivisionError) as err:
        raise refuse(
            where,
            f"chunks to be rows per chunk of {n_samples} rows",
            repr(chunks),
            "pass an int, or a tuple of the rows of each chunk",
        ) from err
    return tuple(int(n) for n in rows)


def _make_arrays(
    problem: Problem, sizes: tuple[int, ...], entropy: int
) -> tuple[Any, Any]:
    no_rows = Rows(entropy, 0, 0)
    no_target = problem.target(no_rows)
    # Not the whole tuple: it would be in every task. Not `block_info`: dask makes
    # that for all blocks at the call.
    usual = sizes[0]
    arguments = {
        "problem": problem,
        "entropy": entropy,
        "usual_rows": usual,
        "unusual_rows": {i: n for i, n in enumerate(sizes) if n != usual},
    }
    X = da.map_blocks(
        _feature_block,
        chunks=(sizes, (problem.n_features,)),
        meta=problem.features(no_rows),
        token="dfml-features",
        **arguments,
    )
    y = da.map_blocks(
        _target_block,
        chunks=(sizes, *((n,) for n in no_target.shape[1:])),
        meta=no_target,
        token="dfml-target",
        **arguments,
    )
    return X, y


def _feature_block(problem: Problem, block_id: Any = None, **rows: Any) -> Floats:
    return problem.features(_block_rows(block_id[0], **rows))


def _target_block(problem: Problem, block_id: Any = None, **rows: Any) -> NDArray[Any]:
    return problem.target(_block_rows(block_id[0], **rows))


def _block_rows(
    block: int, entropy: int, usual_rows: int, unusual_rows: dict[int, int]
) -> Rows:
    return Rows(entropy, block, unusual_rows.get(block, usual_rows))


def _make_frames(
    problem: Problem, sizes: tuple[int, ...], entropy: int
) -> tuple[Any, Any]:
    """Return two selections of one joint frame, so that they are partitioned alike."""
    features = [f"x{i}" for i in range(problem.n_features)]
    target = problem.target(Rows(entropy, 0, 0))
    targets = ["y"] if target.ndim == 1 else [f"y{i}" for i in range(target.shape[1])]
    starts = list(accumulate(sizes, initial=0))
    arguments: dict[str, Any] = {
        "problem": problem,
        "entropy": entropy,
        "features": features,
        "targets": targets,
    }
    joint = dd.from_map(
        _frame_partition,
        range(len(sizes)),
        starts[:-1],
        sizes,
        meta=_frame_partition(0, 0, 0, columns=features + targets, **arguments),
        divisions=(*starts[:-1], starts[-1] - 1),
        label="dfml-dataset",
        **arguments,
    )
    return joint[features], joint["y"] if target.ndim == 1 else joint[targets]


def _frame_partition(
    partition: int,
    start: int,
    n_rows: int,
    *,
    columns: list[str],
    problem: Problem,
    entropy: int,
    features: list[str],
    targets: list[str],
) -> pd.DataFrame:
    """Make one partition; only what the columns need is drawn.

    `columns` has no default, so that dask always passes the selection it knows of.
    """
    rows = Rows(entropy, partition, n_rows)
    index = pd.RangeIndex(start, start + n_rows)
    parts = []
    if not set(columns).isdisjoint(features):
        X = problem.features(rows)
        parts.append(pd.DataFrame(X, index=index, columns=features, copy=False))
    if not set(columns).isdisjoint(targets):
        y = problem.target(rows).reshape(n_rows, len(targets))
        parts.append(pd.DataFrame(y, index=index, columns=targets, copy=False))
    if not parts:
        return pd.DataFrame(index=index)
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)
    return frame if list(frame.columns) == columns else frame[columns]
