# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.ensemble import AdaBoostClassifier as _AdaBoostClassifier
from sklearn.ensemble import AdaBoostRegressor as _AdaBoostRegressor
from sklearn.ensemble import BaggingClassifier as _BaggingClassifier
from sklearn.ensemble import BaggingRegressor as _BaggingRegressor
from sklearn.ensemble import ExtraTreesClassifier as _ExtraTreesClassifier
from sklearn.ensemble import ExtraTreesRegressor as _ExtraTreesRegressor
from sklearn.ensemble import GradientBoostingClassifier as _GradientBoostingClassifier
from sklearn.ensemble import GradientBoostingRegressor as _GradientBoostingRegressor
from sklearn.ensemble import HistGradientBoostingClassifier as _HistGradientBoostingClassifier
from sklearn.ensemble import HistGradientBoostingRegressor as _HistGradientBoostingRegressor
from sklearn.ensemble import IsolationForest as _IsolationForest
from sklearn.ensemble import RandomForestClassifier as _RandomForestClassifier
from sklearn.ensemble import RandomForestRegressor as _RandomForestRegressor
from sklearn.ensemble import RandomTreesEmbedding as _RandomTreesEmbedding
from sklearn.ensemble import StackingClassifier as _StackingClassifier
from sklearn.ensemble import StackingRegressor as _StackingRegressor
from sklearn.ensemble import VotingClassifier as _VotingClassifier
from sklearn.ensemble import VotingRegressor as _VotingRegressor

from dfml.iid._classes import FirstPartitionMixin


class AdaBoostClassifier(FirstPartitionMixin, _AdaBoostClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class AdaBoostRegressor(FirstPartitionMixin, _AdaBoostRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class BaggingClassifier(FirstPartitionMixin, _BaggingClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **fit_params: Any) -> Self: ...

class BaggingRegressor(FirstPartitionMixin, _BaggingRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **fit_params: Any) -> Self: ...

class ExtraTreesClassifier(FirstPartitionMixin, _ExtraTreesClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class ExtraTreesRegressor(FirstPartitionMixin, _ExtraTreesRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class GradientBoostingClassifier(FirstPartitionMixin, _GradientBoostingClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., monitor: Any = ...) -> Self: ...

class GradientBoostingRegressor(FirstPartitionMixin, _GradientBoostingRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., monitor: Any = ...) -> Self: ...

class HistGradientBoostingClassifier(FirstPartitionMixin, _HistGradientBoostingClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., X_val: Any = ..., y_val: Any = ..., sample_weight_val: Any = ...) -> Self: ...

class HistGradientBoostingRegressor(FirstPartitionMixin, _HistGradientBoostingRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., X_val: Any = ..., y_val: Any = ..., sample_weight_val: Any = ...) -> Self: ...

class IsolationForest(FirstPartitionMixin, _IsolationForest):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class RandomForestClassifier(FirstPartitionMixin, _RandomForestClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class RandomForestRegressor(FirstPartitionMixin, _RandomForestRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class RandomTreesEmbedding(FirstPartitionMixin, _RandomTreesEmbedding):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class StackingClassifier(FirstPartitionMixin, _StackingClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...

class StackingRegressor(FirstPartitionMixin, _StackingRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...

class VotingClassifier(FirstPartitionMixin, _VotingClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...

class VotingRegressor(FirstPartitionMixin, _VotingRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...
