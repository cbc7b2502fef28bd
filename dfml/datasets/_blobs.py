"""``make_blobs``: round normal clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfml.datasets._checks import check_counts, refuse
from dfml.datasets._lazy import Stream, draw_entropy, make_lazy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dfml.datasets._lazy import Floats, Integers, RandomState, Rows

__all__ = ["make_blobs"]


def make_blobs(
    n_samples: int = 100,
    n_features: int = 2,
    *,
    centers: int | ArrayLike | None = None,
    cluster_std: ArrayLike = 1.0,
    center_box: tuple[float, float] = (-10.0, 10.0),
    random_state: RandomState = None,
    return_centers: bool = False,
    chunks: Any = None,
    npartitions: int | None = None,
) -> tuple[Any, ...]:
    """Generate lazy round normal clusters.

    The problem is that of :func:`sklearn.datasets.make_blobs`. Only the centres are
    drawn now; rows are drawn when a partition is computed.

    Parameters
    ----------
    n_samples : int, default=100
        Number of rows.
    n_features : int, default=2
        Number of features; not read where `centers` are given as an array.
    centers : int or array-like of shape (n_centers, n_features), default=None
        Number of centres to draw, or the centres. With None there are 3.
    cluster_std : float or array-like of shape (n_centers,), default=1.0
        Standard deviation of the clusters.
    center_box : tuple of float (min, max), default=(-10.0, 10.0)
        Bounds of each coordinate of the centres that are drawn.
    random_state : int, RandomState, Generator or None, default=None
        Seed. The same int and the same partitions give the same data on every
        scheduler. With None a fresh seed is drawn, once.
    return_centers : bool, default=False
        Whether to return the centres too.
    chunks : int, tuple or str, default=None
        Rows per chunk, as dask.array takes it; the result is dask Arrays.
        10,000 if neither this nor `npartitions` is given.
    npartitions : int, default=None
        Number of partitions; the result is dask frames.

    Returns
    -------
    X : dask Array or DataFrame of shape (n_samples, n_features)
        The features; in a frame the columns are ``x0``, ``x1``, and so on.
    y : dask Array or Series of shape (n_samples,)
        The number of each row's cluster, from 0; it has the partitions of X.
    centers : ndarray of shape (n_centers, n_features)
        The centres, in memory; returned only if `return_centers` is True.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the parameters do not fit together.

    See Also
    --------
    make_classification : Clusters that are mixed, with useless features.

    Notes
    -----
    Each row draws its cluster: all are equally likely in each partition, where
    scikit-learn has equal counts. Rows are always in random order.

    Examples
    --------
    >>> from dfml.datasets import make_blobs
    >>> X, y = make_blobs(n_samples=1000, centers=4, npartitions=5, random_state=0)
    >>> X.npartitions, list(X.columns), sorted(y.unique().compute())
    (5, ['x0', 'x1'], [0, 1, 2, 3])
    """
    where = "make_blobs"
    check_counts(where, 1, n_samples=n_samples, n_features=n_features)
    entropy = draw_entropy(where, random_state)
    rng = np.random.default_rng(entropy)
    if centers is None or np.ndim(centers) == 0:
        n_centers: Any = 3 if centers is None else centers
        check_counts(where, 1, centers=n_centers)
        low, high = _check_box(center_box)
        located = rng.uniform(low, high, size=(n_centers, n_features))
    else:
        located = _check_centers(centers)
    stds = _check_stds(cluster_std, len(located))
    problem = Blobs(centers=located, stds=stds)
    X, y = make_lazy(where, problem, n_samples, entropy, chunks, npartitions)
    return (X, y, located) if return_centers else (X, y)


def _check_box(center_box: Any) -> tuple[float, float]:
    bounds = np.asarray(center_box, dtype=float)
    if bounds.shape != (2,) or not bounds[0] <= bounds[1]:
        raise refuse(
            "make_blobs",
            "center_box to be (min, max)",
            repr(center_box),
            "put the smaller bound first",
        )
    return float(bounds[0]), float(bounds[1])


def _check_centers(centers: ArrayLike) -> Floats:
    located = np.array(centers, dtype=float)
    if located.ndim != 2 or not located.size or not np.isfinite(located).all():
        raise refuse(
            "make_blobs",
            "centers to be a count or finite numbers of shape (n_centers, n_features)",
            f"the shape {located.shape}",
            "give one row for each centre",
        )
    return located


def _check_stds(cluster_std: ArrayLike, n_centers: int) -> Floats:
    stds = np.asarray(cluster_std, dtype=float)
    if stds.shape not in ((), (n_centers,)) or not (stds >= 0).all():
        raise refuse(
            "make_blobs",
            f"cluster_std to be one number from 0 on, or {n_centers} of them",
            repr(cluster_std),
            "give a single number",
        )
    return np.broadcast_to(stds, n_centers).copy()


@dataclass(frozen=True)
class Blobs:
    centers: Floats
    stds: Floats

    @property
    def n_features(self) -> int:
        return int(self.centers.shape[1])

    def features(self, rows: Rows) -> Floats:
        groups = self.target(rows)
        X = rows.stream(Stream.LATENT).standard_normal((rows.n_rows, self.n_features))
        X *= self.stds[groups, np.newaxis]
        X += self.centers[groups]
        return X

    def target(self, rows: Rows) -> Integers:
        return rows.stream(Stream.GROUP).integers(len(self.centers), size=rows.n_rows)
