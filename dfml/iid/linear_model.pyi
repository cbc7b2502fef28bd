# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.linear_model import ARDRegression as _ARDRegression
from sklearn.linear_model import BayesianRidge as _BayesianRidge
from sklearn.linear_model import ElasticNet as _ElasticNet
from sklearn.linear_model import ElasticNetCV as _ElasticNetCV
from sklearn.linear_model import GammaRegressor as _GammaRegressor
from sklearn.linear_model import HuberRegressor as _HuberRegressor
from sklearn.linear_model import Lars as _Lars
from sklearn.linear_model import LarsCV as _LarsCV
from sklearn.linear_model import Lasso as _Lasso
from sklearn.linear_model import LassoCV as _LassoCV
from sklearn.linear_model import LassoLars as _LassoLars
from sklearn.linear_model import LassoLarsCV as _LassoLarsCV
from sklearn.linear_model import LassoLarsIC as _LassoLarsIC
from sklearn.linear_model import LinearRegression as _LinearRegression
from sklearn.linear_model import LogisticRegression as _LogisticRegression
from sklearn.linear_model import LogisticRegressionCV as _LogisticRegressionCV
from sklearn.linear_model import MultiTaskElasticNet as _MultiTaskElasticNet
from sklearn.linear_model import MultiTaskElasticNetCV as _MultiTaskElasticNetCV
from sklearn.linear_model import MultiTaskLasso as _MultiTaskLasso
from sklearn.linear_model import MultiTaskLassoCV as _MultiTaskLassoCV
from sklearn.linear_model import OrthogonalMatchingPursuit as _OrthogonalMatchingPursuit
from sklearn.linear_model import OrthogonalMatchingPursuitCV as _OrthogonalMatchingPursuitCV
from sklearn.linear_model import PassiveAggressiveClassifier as _PassiveAggressiveClassifier
from sklearn.linear_model import PassiveAggressiveRegressor as _PassiveAggressiveRegressor
from sklearn.linear_model import Perceptron as _Perceptron
from sklearn.linear_model import PoissonRegressor as _PoissonRegressor
from sklearn.linear_model import QuantileRegressor as _QuantileRegressor
from sklearn.linear_model import RANSACRegressor as _RANSACRegressor
from sklearn.linear_model import Ridge as _Ridge
from sklearn.linear_model import RidgeCV as _RidgeCV
from sklearn.linear_model import RidgeClassifier as _RidgeClassifier
from sklearn.linear_model import RidgeClassifierCV as _RidgeClassifierCV
from sklearn.linear_model import SGDClassifier as _SGDClassifier
from sklearn.linear_model import SGDOneClassSVM as _SGDOneClassSVM
from sklearn.linear_model import SGDRegressor as _SGDRegressor
from sklearn.linear_model import TheilSenRegressor as _TheilSenRegressor
from sklearn.linear_model import TweedieRegressor as _TweedieRegressor

from dfml.iid._classes import FirstPartitionMixin


class ARDRegression(FirstPartitionMixin, _ARDRegression):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class BayesianRidge(FirstPartitionMixin, _BayesianRidge):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class ElasticNet(FirstPartitionMixin, _ElasticNet):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., check_input: Any = ...) -> Self: ...

class ElasticNetCV(FirstPartitionMixin, _ElasticNetCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **params: Any) -> Self: ...

class GammaRegressor(FirstPartitionMixin, _GammaRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class HuberRegressor(FirstPartitionMixin, _HuberRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class Lars(FirstPartitionMixin, _Lars):
    partition_: int | None
    def fit(self, X: Any, y: Any, Xy: Any = ...) -> Self: ...

class LarsCV(FirstPartitionMixin, _LarsCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, **params: Any) -> Self: ...

class Lasso(FirstPartitionMixin, _Lasso):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., check_input: Any = ...) -> Self: ...

class LassoCV(FirstPartitionMixin, _LassoCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **params: Any) -> Self: ...

class LassoLars(FirstPartitionMixin, _LassoLars):
    partition_: int | None
    def fit(self, X: Any, y: Any, Xy: Any = ...) -> Self: ...

class LassoLarsCV(FirstPartitionMixin, _LassoLarsCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, **params: Any) -> Self: ...

class LassoLarsIC(FirstPartitionMixin, _LassoLarsIC):
    partition_: int | None
    def fit(self, X: Any, y: Any, copy_X: Any = ...) -> Self: ...

class LinearRegression(FirstPartitionMixin, _LinearRegression):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class LogisticRegression(FirstPartitionMixin, _LogisticRegression):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class LogisticRegressionCV(FirstPartitionMixin, _LogisticRegressionCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **params: Any) -> Self: ...

class MultiTaskElasticNet(FirstPartitionMixin, _MultiTaskElasticNet):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class MultiTaskElasticNetCV(FirstPartitionMixin, _MultiTaskElasticNetCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **params: Any) -> Self: ...

class MultiTaskLasso(FirstPartitionMixin, _MultiTaskLasso):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class MultiTaskLassoCV(FirstPartitionMixin, _MultiTaskLassoCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **params: Any) -> Self: ...

class OrthogonalMatchingPursuit(FirstPartitionMixin, _OrthogonalMatchingPursuit):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class OrthogonalMatchingPursuitCV(FirstPartitionMixin, _OrthogonalMatchingPursuitCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...

class PassiveAggressiveClassifier(FirstPartitionMixin, _PassiveAggressiveClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, coef_init: Any = ..., intercept_init: Any = ...) -> Self: ...

class PassiveAggressiveRegressor(FirstPartitionMixin, _PassiveAggressiveRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, coef_init: Any = ..., intercept_init: Any = ...) -> Self: ...

class Perceptron(FirstPartitionMixin, _Perceptron):
    partition_: int | None
    def fit(self, X: Any, y: Any, coef_init: Any = ..., intercept_init: Any = ..., sample_weight: Any = ...) -> Self: ...

class PoissonRegressor(FirstPartitionMixin, _PoissonRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class QuantileRegressor(FirstPartitionMixin, _QuantileRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class RANSACRegressor(FirstPartitionMixin, _RANSACRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **fit_params: Any) -> Self: ...

class Ridge(FirstPartitionMixin, _Ridge):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class RidgeCV(FirstPartitionMixin, _RidgeCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **params: Any) -> Self: ...

class RidgeClassifier(FirstPartitionMixin, _RidgeClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class RidgeClassifierCV(FirstPartitionMixin, _RidgeClassifierCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **params: Any) -> Self: ...

class SGDClassifier(FirstPartitionMixin, _SGDClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, coef_init: Any = ..., intercept_init: Any = ..., sample_weight: Any = ...) -> Self: ...

class SGDOneClassSVM(FirstPartitionMixin, _SGDOneClassSVM):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., coef_init: Any = ..., offset_init: Any = ..., sample_weight: Any = ...) -> Self: ...

class SGDRegressor(FirstPartitionMixin, _SGDRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, coef_init: Any = ..., intercept_init: Any = ..., sample_weight: Any = ...) -> Self: ...

class TheilSenRegressor(FirstPartitionMixin, _TheilSenRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class TweedieRegressor(FirstPartitionMixin, _TweedieRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...
