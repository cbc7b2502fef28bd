from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer

from dfml._digest import content_digest
from dfml.exceptions import EstimatorTypeError


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


# A model of a script or a notebook: no other process has its class by its name.

SCRIPT = """
import enum
import functools
import logging
import math
from dataclasses import dataclass, field
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.utils.metaestimators import available_if

log = logging.getLogger("script")
FACTOR = 2
UNUSED = 1
NAMES = {"late", "early", "on time"}

def scaled(value, by=1):
    inner = lambda each: each * FACTOR * by
    return [inner(each) for each in value if each not in NAMES]

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

@dataclass
class Options:
    colour: Colour = Colour.RED
    names: list = field(default_factory=list)

class Base(TransformerMixin, BaseEstimator):
    def transform(self, X):
        return X

class Twice(RegressorMixin, Base):
    kinds = frozenset("abc")

    def __init__(self, function=None, unit="s"):
        super().__init__()
        self.function, self.unit = function, unit

    def fit(self, X, y=None):
        return self

    @property
    def name(self):
        return self.unit, Options(), math.pi

    @classmethod
    def make(cls):
        log.info("made")
        return cls()

    @staticmethod
    def of(value):
        return Twice(value)

    @available_if(lambda self: self.unit == "s")
    def predict(self, X):
        return scaled(X, by=functools.reduce(max, [1, 2]))

model = make_pipeline(Base(), Twice(lambda x: x + 1, "s").fit(None))
"""


def digest_of(script):
    space = {"__name__": "__main__"}
    exec(compile(script, "script", "exec", dont_inherit=True), space)
    return content_digest(space["model"])


def test_a_class_of_a_script_is_the_same_in_another_process():
    printing = f"{SCRIPT}\nfrom dfml._digest import content_digest\n"
    printing += "print(content_digest(model))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", printing],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[-1]
        for seed in "12"
    }
    assert digests == {digest_of(SCRIPT)}


def test_where_a_class_of_a_script_stands_does_not_count():
    moved = SCRIPT.replace("class Base", "# moved\n\n\nclass Base")
    assert digest_of(moved.replace("UNUSED = 1", "UNUSED = 2")) == digest_of(SCRIPT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return X\n", "return -X\n"),
        ("FACTOR = 2", "FACTOR = 3"),
        ('"on time"', '"later"'),
        ("by=1", "by=2"),
        ("reduce(max", "reduce(min"),
        ('frozenset("abc")', 'frozenset("abd")'),
        ('self.unit == "s"', 'self.unit == "ms"'),
        ("return self.unit", "return self.function"),
        ("BLUE = 2", "BLUE = 3"),
        ("names: list", "texts: list"),
        ("return cls()", "return cls(None)"),
        ('"script"', '"other"'),
        ("lambda x: x + 1", "lambda x: x + 2"),
        ("class Twice(RegressorMixin, Base)", "class Twice(Base)"),
    ],
)
def test_what_a_class_of_a_script_does_counts(before, after):
    assert before in SCRIPT
    assert digest_of(SCRIPT.replace(before, after)) != digest_of(SCRIPT)


def test_what_cannot_be_pickled_is_named():
    script = "import threading\nlock = threading.Lock()\n" + SCRIPT
    assert digest_of(script) == digest_of(SCRIPT)  # nobody uses it
    with pytest.raises(EstimatorTypeError, match=r"(?s)a _thread\.lock.*a module"):
        digest_of(script.replace("return X\n", "return X if lock else None\n"))
