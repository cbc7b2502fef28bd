"""scikit-learn's own estimators, fitted on the first partition of a lazy table.

Every estimator of scikit-learn that has a response method is here under the same
path: ``dfml.iid.ensemble.RandomForestClassifier`` is a subclass of
``sklearn.ensemble.RandomForestClassifier``.

Examples
--------
>>> import dask.dataframe as dd, pandas as pd
>>> from dfml.iid.linear_model import LinearRegression
>>> pdf = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 3.0, 5.0, 7.0]})
>>> model = LinearRegression().fit(dd.from_pandas(pdf, npartitions=2), y="b")
>>> model.partition_, model.coef_.round().tolist()
(0, [2.0])
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "calibration",
    "cluster",
    "compose",
    "covariance",
    "cross_decomposition",
    "decomposition",
    "discriminant_analysis",
    "dummy",
    "ensemble",
    "feature_extraction",
    "feature_selection",
    "gaussian_process",
    "impute",
    "isotonic",
    "kernel_approximation",
    "kernel_ridge",
    "linear_model",
    "manifold",
    "mixture",
    "model_selection",
    "multiclass",
    "multioutput",
    "naive_bayes",
    "neighbors",
    "neural_network",
    "pipeline",
    "preprocessing",
    "random_projection",
    "semi_supervised",
    "svm",
    "tree",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
