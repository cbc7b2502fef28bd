# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.naive_bayes import BernoulliNB as _BernoulliNB
from sklearn.naive_bayes import CategoricalNB as _CategoricalNB
from sklearn.naive_bayes import ComplementNB as _ComplementNB
from sklearn.naive_bayes import GaussianNB as _GaussianNB
from sklearn.naive_bayes import MultinomialNB as _MultinomialNB

from dfml.iid._classes import FirstPartitionMixin


class BernoulliNB(FirstPartitionMixin, _BernoulliNB):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class CategoricalNB(FirstPartitionMixin, _CategoricalNB):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class ComplementNB(FirstPartitionMixin, _ComplementNB):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class GaussianNB(FirstPartitionMixin, _GaussianNB):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class MultinomialNB(FirstPartitionMixin, _MultinomialNB):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...
