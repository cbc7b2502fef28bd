"""What the soak tests train: a table of random rows and models that take their time."""

from __future__ import annotations

import os
import time

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import SGDClassifier

N_PARTITIONS = 60
N_ROWS = 200
SECONDS = 0.1
CLASSES = [0, 1]


def write_table(folder):
    """Write one Parquet file a partition."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(N_PARTITIONS):
        X = generator.normal(size=(N_ROWS, 5))
        frame = pd.DataFrame(X, columns=list("abcde"))
        frame["label"] = (frame["a"] + generator.normal(size=N_ROWS) > 0).astype(int)
        frame.to_parquet(folder / f"part-{number:03d}.parquet")
    return folder


class Slow(SGDClassifier):
    """Takes 0.1 s a step, and writes a line to ``SOAK_LOG`` after each."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        time.sleep(SECONDS)
        super().partial_fit(X, y, classes, sample_weight)
        log = os.environ.get("SOAK_LOG")
        if log:
            line = f"{time.time():.3f} {os.getpid()} {int(self.t_)}\n"
            with open(log, "a", encoding="utf-8") as file:
                file.write(line)
        return self


class FailsOnce(ClassifierMixin, BaseEstimator):
    """Counts rows; each tenth step fails once, after its update."""

    def __init__(self, folder=None):
        self.folder = folder

    def partial_fit(self, X, y, classes=None):  # noqa: ARG002
        self.rows_ = getattr(self, "rows_", 0) + len(X)
        self.steps_ = getattr(self, "steps_", 0) + 1
        marker = os.path.join(self.folder, f"failed-{self.steps_}")
        if self.steps_ % 10 == 0 and not os.path.exists(marker):
            with open(marker, "w", encoding="utf-8"):
                pass
            raise OSError("lost the connection")
        return self


def same(a, b):
    """Tell whether two linear models are bit-equal."""
    return (
        a.coef_.tobytes() == b.coef_.tobytes()
        and a.intercept_.tobytes() == b.intercept_.tobytes()
        and a.t_ == b.t_
    )
