# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.feature_extraction.text import CountVectorizer as _CountVectorizer
from sklearn.feature_extraction.text import HashingVectorizer as _HashingVectorizer
from sklearn.feature_extraction.text import TfidfTransformer as _TfidfTransformer
from sklearn.feature_extraction.text import TfidfVectorizer as _TfidfVectorizer

from dfml.iid._classes import FirstPartitionMixin


class CountVectorizer(FirstPartitionMixin, _CountVectorizer):
    partition_: int | None
    def fit(self, raw_documents: Any, y: Any = ...) -> Self: ...

class HashingVectorizer(FirstPartitionMixin, _HashingVectorizer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class TfidfTransformer(FirstPartitionMixin, _TfidfTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class TfidfVectorizer(FirstPartitionMixin, _TfidfVectorizer):
    partition_: int | None
    def fit(self, raw_documents: Any, y: Any = ...) -> Self: ...
