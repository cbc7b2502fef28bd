# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.semi_supervised import LabelPropagation as _LabelPropagation
from sklearn.semi_supervised import LabelSpreading as _LabelSpreading
from sklearn.semi_supervised import SelfTrainingClassifier as _SelfTrainingClassifier

from dfml.iid._classes import FirstPartitionMixin


class LabelPropagation(FirstPartitionMixin, _LabelPropagation):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class LabelSpreading(FirstPartitionMixin, _LabelSpreading):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class SelfTrainingClassifier(FirstPartitionMixin, _SelfTrainingClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, **params: Any) -> Self: ...
