# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis as _LinearDiscriminantAnalysis
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis as _QuadraticDiscriminantAnalysis

from dfml.iid._classes import FirstPartitionMixin


class LinearDiscriminantAnalysis(FirstPartitionMixin, _LinearDiscriminantAnalysis):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class QuadraticDiscriminantAnalysis(FirstPartitionMixin, _QuadraticDiscriminantAnalysis):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...
