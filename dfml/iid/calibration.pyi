# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.calibration import CalibratedClassifierCV as _CalibratedClassifierCV

from dfml.iid._classes import FirstPartitionMixin


class CalibratedClassifierCV(FirstPartitionMixin, _CalibratedClassifierCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **fit_params: Any) -> Self: ...
