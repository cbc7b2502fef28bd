# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.preprocessing import Binarizer as _Binarizer
from sklearn.preprocessing import FunctionTransformer as _FunctionTransformer
from sklearn.preprocessing import KBinsDiscretizer as _KBinsDiscretizer
from sklearn.preprocessing import KernelCenterer as _KernelCenterer
from sklearn.preprocessing import LabelBinarizer as _LabelBinarizer
from sklearn.preprocessing import LabelEncoder as _LabelEncoder
from sklearn.preprocessing import MaxAbsScaler as _MaxAbsScaler
from sklearn.preprocessing import MinMaxScaler as _MinMaxScaler
from sklearn.preprocessing import MultiLabelBinarizer as _MultiLabelBinarizer
from sklearn.preprocessing import Normalizer as _Normalizer
from sklearn.preprocessing import OneHotEncoder as _OneHotEncoder
from sklearn.preprocessing import OrdinalEncoder as _OrdinalEncoder
from sklearn.preprocessing import PolynomialFeatures as _PolynomialFeatures
from sklearn.preprocessing import PowerTransformer as _PowerTransformer
from sklearn.preprocessing import QuantileTransformer as _QuantileTransformer
from sklearn.preprocessing import RobustScaler as _RobustScaler
from sklearn.preprocessing import SplineTransformer as _SplineTransformer
from sklearn.preprocessing import StandardScaler as _StandardScaler
from sklearn.preprocessing import TargetEncoder as _TargetEncoder

from dfml.iid._classes import FirstPartitionMixin


class Binarizer(FirstPartitionMixin, _Binarizer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class FunctionTransformer(FirstPartitionMixin, _FunctionTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class KBinsDiscretizer(FirstPartitionMixin, _KBinsDiscretizer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class KernelCenterer(FirstPartitionMixin, _KernelCenterer):
    partition_: int | None
    def fit(self, K: Any, y: Any = ...) -> Self: ...

class LabelBinarizer(FirstPartitionMixin, _LabelBinarizer):
    partition_: int | None
    def fit(self, y: Any) -> Self: ...

class LabelEncoder(FirstPartitionMixin, _LabelEncoder):
    partition_: int | None
    def fit(self, y: Any) -> Self: ...

class MaxAbsScaler(FirstPartitionMixin, _MaxAbsScaler):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class MinMaxScaler(FirstPartitionMixin, _MinMaxScaler):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class MultiLabelBinarizer(FirstPartitionMixin, _MultiLabelBinarizer):
    partition_: int | None
    def fit(self, y: Any) -> Self: ...

class Normalizer(FirstPartitionMixin, _Normalizer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class OneHotEncoder(FirstPartitionMixin, _OneHotEncoder):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class OrdinalEncoder(FirstPartitionMixin, _OrdinalEncoder):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class PolynomialFeatures(FirstPartitionMixin, _PolynomialFeatures):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class PowerTransformer(FirstPartitionMixin, _PowerTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class QuantileTransformer(FirstPartitionMixin, _QuantileTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class RobustScaler(FirstPartitionMixin, _RobustScaler):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SplineTransformer(FirstPartitionMixin, _SplineTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class StandardScaler(FirstPartitionMixin, _StandardScaler):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class TargetEncoder(FirstPartitionMixin, _TargetEncoder):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...
