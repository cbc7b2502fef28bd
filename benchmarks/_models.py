"""Models of the benchmarks, importable by name on workers."""

from __future__ import annotations

import time

from sklearn.base import BaseEstimator, ClassifierMixin
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


MODELS = {
    "fast": lambda: SGDClassifier(random_state=0),
    "slow": lambda: SlowClassifier(random_state=0),
    "counter": Counter,
}
