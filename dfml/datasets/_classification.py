"""``make_classification``: mixed clusters around the vertices of a hypercube."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfml.datasets._checks import check_counts, check_number, refuse
from dfml.datasets._lazy import Stream, draw_entropy, make_lazy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dfml.datasets._lazy import Floats, Integers, RandomState, Rows

__all__ = ["make_classification"]

# Above this many dimensions the code of a vertex would not fit in an int64.
_CODED_DIMENSIONS = 30


def make_classification(
    n_samples: int = 100,
    n_features: int = 20,
    *,
    n_informative: int = 2,
    n_redundant: int = 2,
    n_repeated: int = 0,
    n_classes: int = 2,
    n_clusters_per_class: int = 2,
    weights: ArrayLike | None = None,
    flip_y: float = 0.01,
    class_sep: float = 1.0,
    hypercube: bool = True,
    shift: ArrayLike | None = 0.0,
    scale: ArrayLike | None = 1.0,
    shuffle: bool = True,
    random_state: RandomState = None,
    chunks: Any = None,
    npartitions: int | None = None,
) -> tuple[Any, Any]:
    """Generate a lazy random classification problem.

    The problem is that of :func:`sklearn.datasets.make_classification`: normal
    clusters around the vertices of a hypercube, mixed, with redundant, repeated and
    useless features. Only the clusters are drawn now; rows are drawn when a partition
    is computed, and one partition is all that is ever in memory at once.

    Parameters
    ----------
    n_samples : int, default=100
        Number of rows.
    n_features : int, default=20
        Number of features; those not named below are useless.
    n_informative : int, default=2
        Number of features in which the clusters lie.
    n_redundant : int, default=2
        Number of random linear combinations of the informative features.
    n_repeated : int, default=0
        Number of duplicates of informative and redundant features.
    n_classes : int, default=2
        Number of classes.
    n_clusters_per_class : int, default=2
        Number of clusters of each class.
    weights : array-like of shape (n_classes,) or (n_classes - 1,), default=None
        Probability of each class; the last one is inferred if left out. With None all
        are equal.
    flip_y : float, default=0.01
        Probability that a row's class is replaced by one drawn at random.
    class_sep : float, default=1.0
        Half the side of the hypercube: larger is easier.
    hypercube : bool, default=True
        Whether the centres are vertices of a hypercube, and not of a random polytope.
    shift : float, array-like of shape (n_features,) or None, default=0.0
        Added to the features; None draws it from [-class_sep, class_sep].
    scale : float, array-like of shape (n_features,) or None, default=1.0
        Multiplies the features after the shift; None draws it from [1, 101].
    shuffle : bool, default=True
        Whether the order of the features is random. Rows always are.
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
    y : dask Array or Series of shape (n_samples,)
        The class of each row, from 0; a Series is named ``y``. It has the partitions
        of X, and ``X.assign(y=y)`` is the two as one table.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the parameters do not fit together.

    See Also
    --------
    make_blobs : Round clusters, one for each class.
    make_regression : A numeric target.

    Notes
    -----
    Each row draws its cluster, so the classes have the same expected proportions in
    each partition; scikit-learn has exact counts over the whole table.

    Examples
    --------
    >>> from dfml.datasets import make_classification
    >>> X, y = make_classification(n_samples=1_000_000, chunks=10_000, random_state=0)
    >>> X.shape, X.numblocks, y.dtype
    ((1000000, 20), (100, 1), dtype('int64'))
    >>> X, y = make_classification(n_features=4, npartitions=2, random_state=0)
    >>> list(X.columns), y.name, y.divisions
    (['x0', 'x1', 'x2', 'x3'], 'y', (0, 50, 99))
    """
    where = "make_classification"
    check_counts(where, 1, n_samples=n_samples, n_features=n_features)
    check_counts(where, 1, n_informative=n_informative, n_classes=n_classes)
    check_counts(where, 1, n_clusters_per_class=n_clusters_per_class)
    check_counts(where, 0, n_redundant=n_redundant, n_repeated=n_repeated)
    check_number(where, "flip_y", flip_y, 0, 1)
    check_number(where, "class_sep", class_sep, 0)
    n_useful = n_informative + n_redundant + n_repeated
    n_clusters = n_classes * n_clusters_per_class
    _check_room(n_useful, n_features, n_clusters, n_informative)
    probabilities = _class_probabilities(weights, n_classes)

    entropy = draw_entropy(where, random_state)
    rng = np.random.default_rng(entropy)
    centers = _vertices(rng, n_clusters, n_informative) * (2 * class_sep) - class_sep
    if not hypercube:
        centers *= rng.uniform(size=(n_clusters, 1))
        centers *= rng.uniform(size=(1, n_informative))
    square = (n_clusters, n_informative, n_informative)
    problem = Classification(
        n_classes=int(n_classes),
        flip_y=float(flip_y),
        probabilities=np.tile(probabilities, n_clusters_per_class)
        / n_clusters_per_class,
        centers=centers,
        mixings=rng.uniform(-1, 1, size=square),
        redundant=rng.uniform(-1, 1, size=(n_informative, n_redundant)),
        repeated=rng.integers(n_informative + n_redundant, size=n_repeated),
        shift=_per_feature(
            "shift", shift, rng.uniform(-class_sep, class_sep, size=n_features)
        ),
        scale=_per_feature("scale", scale, rng.uniform(1, 101, size=n_features)),
        order=rng.permutation(n_features) if shuffle else np.arange(n_features),
    )
    return make_lazy(where, problem, n_samples, entropy, chunks, npartitions)


def _check_room(
    n_useful: int, n_features: int, n_clusters: int, n_informative: int
) -> None:
    if n_useful > n_features:
        raise refuse(
            "make_classification",
            "informative, redundant and repeated features to be at most n_features",
            f"{n_useful} of {n_features}",
            "raise n_features, or lower n_redundant",
        )
    if n_clusters > 2**n_informative:
        raise refuse(
            "make_classification",
            "n_classes * n_clusters_per_class to be at most 2**n_informative",
            f"{n_clusters} clusters and {2**n_informative} vertices",
            "raise n_informative, or set n_clusters_per_class=1",
        )


def _class_probabilities(weights: ArrayLike | None, n_classes: int) -> Floats:
    if weights is None:
        return np.full(n_classes, 1 / n_classes)
    given: Floats = np.asarray(weights, dtype=float)
    if given.shape == (n_classes - 1,):
        given = np.append(given, 1 - given.sum())
    valid = given.shape == (n_classes,) and bool((given >= 0).all())
    if not (valid and np.isclose(given.sum(), 1)):
        raise refuse(
            "make_classification",
            f"weights to be {n_classes} probabilities with the sum 1, or all but the"
            " last of them",
            repr(weights),
            "divide the weights by their sum",
        )
    return np.asarray(given / given.sum())


def _vertices(rng: np.random.Generator, n_vertices: int, n_dimensions: int) -> Floats:
    """Draw distinct vertices of the unit hypercube."""
    n_coded = min(n_dimensions, _CODED_DIMENSIONS)
    codes = rng.choice(2**n_coded, size=n_vertices, replace=False)
    coded = (codes[:, np.newaxis] >> np.arange(n_coded)) & 1
    others = rng.integers(2, size=(n_vertices, n_dimensions - n_coded))
    return np.hstack([coded, others]).astype(float)


def _per_feature(name: str, value: ArrayLike | None, drawn: Floats) -> Floats:
    """Return one number for each feature: the given ones, or the drawn ones."""
    if value is None:
        return drawn
    given = np.asarray(value, dtype=float)
    if given.shape not in ((), drawn.shape):
        raise refuse(
            "make_classification",
            f"{name} to be None, a number or one number for each of the"
            f" {len(drawn)} features",
            f"the shape {given.shape}",
            f"give {name} as a single number",
        )
    return np.broadcast_to(given, drawn.shape).copy()


@dataclass(frozen=True)
class Classification:
    n_classes: int
    flip_y: float
    probabilities: Floats
    centers: Floats
    mixings: Floats
    redundant: Floats
    repeated: Integers
    shift: Floats
    scale: Floats
    order: Integers

    @property
    def n_features(self) -> int:
        return len(self.order)

    def groups(self, rows: Rows) -> Integers:
        rng = rows.stream(Stream.GROUP)
        return rng.choice(len(self.centers), size=rows.n_rows, p=self.probabilities)

    def features(self, rows: Rows) -> Floats:
        groups = self.groups(rows)
        informative = rows.stream(Stream.LATENT).standard_normal(
            (rows.n_rows, self.centers.shape[1])
        )
        for group, center in enumerate(self.centers):
            member = groups == group
            informative[member] = informative[member] @ self.mixings[group] + center
        useful = np.hstack([informative, informative @ self.redundant])
        useful = np.hstack([useful, useful[:, self.repeated]])
        useless = rows.stream(Stream.NOISE_FEATURES).standard_normal(
            (rows.n_rows, self.n_features - useful.shape[1])
        )
        X = np.hstack([useful, useless])
        X += self.shift
        X *= self.scale
        return X.take(self.order, axis=1)

    def target(self, rows: Rows) -> Integers:
        rng = rows.stream(Stream.TARGET)
        flipped = rng.uniform(size=rows.n_rows) < self.flip_y
        drawn = rng.integers(self.n_classes, size=rows.n_rows)
        return np.where(flipped, drawn, self.groups(rows) % self.n_classes)
