"""``make_regression``: a linear model with few coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfml.datasets._checks import check_counts, check_number
from dfml.datasets._lazy import Stream, draw_entropy, make_lazy

if TYPE_CHECKING:
    from dfml.datasets._lazy import Floats, Integers, RandomState, Rows

__all__ = ["make_regression"]


def make_regression(
    n_samples: int = 100,
    n_features: int = 100,
    *,
    n_informative: int = 10,
    n_targets: int = 1,
    bias: float = 0.0,
    effective_rank: int | None = None,
    tail_strength: float = 0.5,
    noise: float = 0.0,
    shuffle: bool = True,
    coef: bool = False,
    random_state: RandomState = None,
    chunks: Any = None,
    npartitions: int | None = None,
) -> tuple[Any, ...]:
    """Generate a lazy random linear regression problem.

    The problem is that of :func:`sklearn.datasets.make_regression`: normal features,
    of which a few have a coefficient. Only the coefficients are drawn now; rows are
    drawn when a partition is computed.

    Parameters
    ----------
    n_samples : int, default=100
        Number of rows.
    n_features : int, default=100
        Number of features.
    n_informative : int, default=10
        Number of features with a coefficient other than 0; at most `n_features`.
    n_targets : int, default=1
        Number of target columns.
    bias : float, default=0.0
        Intercept of the linear model.
    effective_rank : int, default=None
        About how many directions explain most of X. With None the features are
        independent and of unit variance.
    tail_strength : float, default=0.5
        Weight of the noisy tail of the singular values, from 0 to 1; read only with
        `effective_rank`.
    noise : float, default=0.0
        Standard deviation of the normal noise added to the target.
    shuffle : bool, default=True
        Whether the order of the features is random. Rows always are.
    coef : bool, default=False
        Whether to return the coefficients too.
    random_state : int, RandomState, Generator or None, default=None
        Seed. The same int and the same partitions give the same data on every
        scheduler. With None a fresh seed is drawn, once.
    chunks : int, tuple or str, default=None
        Rows per chunk, as dask.array takes it; the result is dask Arrays.
        10,000 if neither this nor `npartitions` is given.
    npartitions : int, default=None
        Number of partitions; the result is dask frames.

    Returns
    -------
    X : dask Array or DataFrame of shape (n_samples, n_features)
        The features; in a frame the columns are ``x0``, ``x1``, and so on.
    y : dask Array, Series or DataFrame of shape (n_samples,) or (n_samples, n_targets)
        The target, with the partitions of X. In frames: a Series ``y``, or a frame
        with the columns ``y0``, ``y1``, and so on for several targets.
    coef : ndarray of shape (n_features,) or (n_features, n_targets)
        The coefficients, in memory; returned only if `coef` is True.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_classification : Classes as the target.

    Notes
    -----
    With `effective_rank` the left singular vectors are normal draws divided by the
    square root of `n_samples`: orthonormal in expectation, where scikit-learn makes
    them exactly so by a decomposition of the whole table. The right ones are drawn
    now, which takes of the order of ``n_features**3`` operations.

    Examples
    --------
    >>> from dfml.datasets import make_regression
    >>> X, y, coef = make_regression(
    ...     n_samples=1000, n_features=5, n_informative=2, coef=True, chunks=250
    ... )
    >>> X.chunks, coef.shape, int((coef != 0).sum())
    (((250, 250, 250, 250), (5,)), (5,), 2)
    """
    where = "make_regression"
    check_counts(where, 1, n_samples=n_samples, n_features=n_features)
    check_counts(where, 1, n_informative=n_informative, n_targets=n_targets)
    check_number(where, "bias", bias)
    check_number(where, "noise", noise, 0)
    check_number(where, "tail_strength", tail_strength, 0, 1)

    entropy = draw_entropy(where, random_state)
    rng = np.random.default_rng(entropy)
    n_informative = min(n_features, n_informative)
    coefficients = np.zeros((n_features, n_targets))
    coefficients[:n_informative] = rng.uniform(0, 100, size=(n_informative, n_targets))
    mixing, weights = None, coefficients[:n_informative]
    if effective_rank is not None:
        check_counts(where, 1, effective_rank=effective_rank)
        rank = min(n_samples, n_features)
        spectrum = _spectrum(rank, effective_rank, tail_strength)
        mixing = _low_rank_mixing(rng, spectrum, n_features) / np.sqrt(n_samples)
        weights = mixing @ coefficients
    order = rng.permutation(n_features) if shuffle else np.arange(n_features)
    single = n_targets == 1
    problem = Regression(
        mixing=mixing,
        weights=weights[:, 0] if single else weights,
        bias=float(bias),
        noise=float(noise),
        order=order,
    )
    X, y = make_lazy(where, problem, n_samples, entropy, chunks, npartitions)
    if not coef:
        return X, y
    ordered = coefficients[order]
    return X, y, ordered[:, 0] if single else ordered


def _spectrum(rank: int, effective_rank: int, tail_strength: float) -> Floats:
    """Return singular values: a bell of the effective rank and a fat tail."""
    position = np.arange(rank) / effective_rank
    bell = (1 - tail_strength) * np.exp(-(position**2))
    tail = tail_strength * np.exp(-0.1 * position)
    return np.asarray(bell + tail)


def _low_rank_mixing(
    rng: np.random.Generator, spectrum: Floats, n_features: int
) -> Floats:
    """Draw the right singular vectors, each times its singular value."""
    drawn = rng.standard_normal((n_features, len(spectrum)))
    vectors, _ = np.linalg.qr(drawn)
    return np.asarray(spectrum[:, np.newaxis] * vectors.T)


@dataclass(frozen=True)
class Regression:
    mixing: Floats | None
    weights: Floats
    bias: float
    noise: float
    order: Integers

    @property
    def n_features(self) -> int:
        return len(self.order)

    def latent(self, rows: Rows) -> Floats:
        return rows.stream(Stream.LATENT).standard_normal(
            (rows.n_rows, len(self.weights))
        )

    def features(self, rows: Rows) -> Floats:
        X = self.latent(rows)
        if self.mixing is None:
            shape = (rows.n_rows, self.n_features - X.shape[1])
            X = np.hstack(
                [X, rows.stream(Stream.NOISE_FEATURES).standard_normal(shape)]
            )
        else:
            X = X @ self.mixing
        return X.take(self.order, axis=1)

    def target(self, rows: Rows) -> Floats:
        y: Floats = self.latent(rows) @ self.weights + self.bias
        if self.noise:
            y += rows.stream(Stream.TARGET).normal(scale=self.noise, size=y.shape)
        return y
