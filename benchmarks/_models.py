"""Models of the benchmarks, importable by name on workers."""

from __future__ import annotations

import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import SGDClassifier

SLOWER = 0.15


class SlowClassifier(SGDClassifier):
    """``SGDClassifier``, 0.15 s slower a step."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        time.sleep(SLOWER)
        return super().partial_fit(X, y, classes, sample_weight)


class Counter(ClassifierMixin, BaseEstimator):
    """Counts rows and does nothing else, so that what is left is overhead."""

    def partial_fit(self, X, y, classes=None):  # noqa: ARG002
        self.rows_ = getattr(self, "rows_", 0) + len(X)
        return self


class Heavy(RegressorMixin, BaseEstimator):
    """Predicts at once, and is as large as asked for."""

    def __init__(self, megabytes=200):
        self.megabytes = megabytes

    def fit(self, X, y):  # noqa: ARG002
        n_weights = self.megabytes * 1_000_000 // 8
        self.weights_ = np.random.default_rng(0).normal(size=n_weights)
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.asarray(X) @ self.weights_[: X.shape[1]]


MODELS = {
    "fast": lambda: SGDClassifier(random_state=0),
    "slow": lambda: SlowClassifier(random_state=0),
    "counter": Counter,
}
