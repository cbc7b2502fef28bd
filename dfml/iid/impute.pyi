# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.impute import KNNImputer as _KNNImputer
from sklearn.impute import MissingIndicator as _MissingIndicator
from sklearn.impute import SimpleImputer as _SimpleImputer

from dfml.iid._classes import FirstPartitionMixin


class KNNImputer(FirstPartitionMixin, _KNNImputer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class MissingIndicator(FirstPartitionMixin, _MissingIndicator):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SimpleImputer(FirstPartitionMixin, _SimpleImputer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
