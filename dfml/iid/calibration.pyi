# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.calibration import CalibratedClassifierCV as _CalibratedClassifierCV
from sklearn.calibration import IsotonicRegression as _IsotonicRegression
from sklearn.calibration import LabelEncoder as _LabelEncoder
from sklearn.calibration import LinearSVC as _LinearSVC
from sklearn.calibration import _SigmoidCalibration as __SigmoidCalibration
from sklearn.calibration import _TemperatureScaling as __TemperatureScaling

from dfml.iid._classes import FirstPartitionMixin


class CalibratedClassifierCV(FirstPartitionMixin, _CalibratedClassifierCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **fit_params: Any) -> Self: ...

class IsotonicRegression(FirstPartitionMixin, _IsotonicRegression):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class LabelEncoder(FirstPartitionMixin, _LabelEncoder):
    partition_: int | None
    def fit(self, y: Any) -> Self: ...

class LinearSVC(FirstPartitionMixin, _LinearSVC):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class _SigmoidCalibration(FirstPartitionMixin, __SigmoidCalibration):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class _TemperatureScaling(FirstPartitionMixin, __TemperatureScaling):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...
