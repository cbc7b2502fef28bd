from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer

from dfml._digest import content_digest


def test_a_vectorizer_is_the_same_after_use_and_reload():
    texts = ["late again", "on time", "late late"]
    model = TfidfVectorizer(stop_words=["on"]).fit(texts)
    before = content_digest(model)
    model.transform(texts)
    assert content_digest(model) == before
    assert content_digest(pickle.loads(pickle.dumps(model))) == before
    assert content_digest(TfidfVectorizer().fit(texts)) != before


class Number(float):
    """With an attribute that a number has not."""


def number(unit):
    value = Number(1.5)
    value.unit = unit
    return value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"add": 1, "times": 2}, {"times": 2, "add": 1}),
        (np.ma.array([1.0, 2.0], mask=[0, 0]), np.ma.array([1.0, 2.0], mask=[0, 1])),
        (number("m"), number("km")),
        (re.compile("a"), re.compile("b")),
        ([1, 2], (1, 2)),
    ],
    ids=["order", "mask", "attribute", "expression", "type"],
)
def test_what_a_model_can_go_by_counts(one, other):
    def digest(value):
        return content_digest(FunctionTransformer(kw_args={"given": value}))

    assert digest(one) == digest(copy.deepcopy(one))
    assert digest(one) == digest(pickle.loads(pickle.dumps(one)))
    assert digest(one) != digest(other)


def test_the_order_of_attributes_does_not_count():
    one, other = Ridge(), Ridge()
    one.a_, one.b_ = 1, 2
    other.b_, other.a_ = 2, 1
    assert content_digest(one) == content_digest(other)


def test_where_an_array_is_kept_does_not_count(tmp_path):
    values = np.arange(6.0)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    assert content_digest(mapped) == content_digest(values)
