"""Random problems of any size: scikit-learn's generators, made lazily.

One module for each generator. The rule behind them all: the ground truth (centres,
mixing matrices, coefficients) is drawn once at the call, and each partition draws its
rows from a seed of its own. Nothing here reads data or knows an estimator.
"""

from __future__ import annotations

from dfml.datasets._blobs import make_blobs
from dfml.datasets._classification import make_classification
from dfml.datasets._regression import make_regression

__all__ = ["make_blobs", "make_classification", "make_regression"]
