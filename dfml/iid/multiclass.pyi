# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.multiclass import OneVsOneClassifier as _OneVsOneClassifier
from sklearn.multiclass import OneVsRestClassifier as _OneVsRestClassifier
from sklearn.multiclass import OutputCodeClassifier as _OutputCodeClassifier

from dfml.iid._classes import FirstPartitionMixin


class OneVsOneClassifier(FirstPartitionMixin, _OneVsOneClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...

class OneVsRestClassifier(FirstPartitionMixin, _OneVsRestClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...

class OutputCodeClassifier(FirstPartitionMixin, _OutputCodeClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...
