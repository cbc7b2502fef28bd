# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.mixture import BayesianGaussianMixture as _BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as _GaussianMixture

from dfml.iid._classes import FirstPartitionMixin


class BayesianGaussianMixture(FirstPartitionMixin, _BayesianGaussianMixture):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class GaussianMixture(FirstPartitionMixin, _GaussianMixture):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
