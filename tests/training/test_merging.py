from __future__ import annotations

import dask
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

from dfml import Incremental
from dfml.training._merging import MERGES
from tests.conftest import FEATURES, make_table, split_at

ESTIMATORS = [
    BernoulliNB(),
    ComplementNB(),
    GaussianNB(),
    GaussianNB(priors=[0.3, 0.7]),
    MaxAbsScaler(),
    MinMaxScaler((-1, 2)),
    MultinomialNB(alpha=0.5),
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
]
TABLE = make_table(90)
TABLE[FEATURES] = TABLE[FEATURES].abs().round(2)
ANSWERS = ("predict_proba", "transform")


def test_the_table_is_tested_whole():
    assert {type(e) for e in ESTIMATORS} == set(MERGES)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cuts=st.lists(st.integers(0, 90), max_size=7), weighted=st.booleans())
def test_equals_the_sequence(estimator, cuts, weighted):
    frame = split_at(TABLE, cuts)
    columns = [*FEATURES, "late"] if hasattr(estimator, "predict") else FEATURES
    y = "late" if hasattr(estimator, "predict") else None
    options = {}
    if weighted and y:
        columns, options = [*columns, "weight"], {"sample_weight": "weight"}
    merged, ordered = (
        Incremental(estimator, merge=merge).fit(
            frame[columns], y, **options, **({"classes": ["no", "yes"]} if y else {})
        )
        for merge in (True, False)
    )
    for name, value in vars(ordered.estimator_).items():
        if name.endswith("_") and isinstance(value, np.ndarray | float | int):
            found = getattr(merged.estimator_, name)
            if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
                assert_array_equal(found, value)
            else:
                # GaussianNB takes off the new batch's epsilon_ where it had put on the
                # old one's: the sequence itself is that far from the pooled variance.
                smoothing = 2 * getattr(estimator, "var_smoothing", 0)
                atol = max(smoothing * TABLE[FEATURES].var().max(), 1e-12)
                assert_allclose(found, value, rtol=1e-9, atol=atol, err_msg=name)
    for answer in ANSWERS:
        if hasattr(estimator, answer):
            assert_allclose(
                getattr(merged, answer)(TABLE[FEATURES]),
                getattr(ordered, answer)(TABLE[FEATURES]),
                rtol=1e-6,
            )
    assert merged.n_samples_seen_ == ordered.n_samples_seen_
    assert merged.n_partitions_seen_ == ordered.n_partitions_seen_


@pytest.mark.filterwarnings("ignore:invalid value")  # these are scikit-learn's own
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_missing_values(table):
    table.loc[:150, "a"] = np.nan
    table.loc[450, "b"] = np.nan
    table["c"] = np.nan
    frame = split_at(table, [100, 200, 400])[FEATURES]
    for estimator in (StandardScaler(), MinMaxScaler(), MaxAbsScaler()):
        merged, ordered = (
            Incremental(estimator, merge=merge).fit(frame).estimator_
            for merge in (True, False)
        )
        assert_allclose(merged.scale_[1:], ordered.scale_[1:], rtol=1e-12)
        assert_array_equal(merged.n_samples_seen_, ordered.n_samples_seen_)
        # A first partition without a value spoils the sequence, not what is merged.
        whole = clone(estimator).fit(table[FEATURES])
        assert_allclose(merged.scale_, whole.scale_, rtol=1e-12)


def test_a_large_mean_is_stable(table):
    table["a"] += 1e9
    frame = split_at(table, [50, 300])[FEATURES]
    merged = Incremental(StandardScaler()).fit(frame)
    expected = StandardScaler().fit(table[FEATURES])
    assert_allclose(merged.var_, expected.var_, rtol=1e-6)


def test_the_same_bits_on_every_scheduler(frame):
    states = []
    for scheduler in ("synchronous", "threads", "processes"):
        with dask.config.set(scheduler=scheduler, num_workers=2):
            clf = Incremental(GaussianNB()).fit(frame[[*FEATURES, "late"]], "late")
        states.append(clf)
    for other in states[1:]:
        assert_array_equal(other.theta_, states[0].theta_)
        assert_array_equal(other.var_, states[0].var_)
        assert [r["partition"] for r in other.history_] == list(range(6))


def test_epochs_and_partial_fit_go_on(frame):
    data = frame[[*FEATURES, "late"]]
    merged = Incremental(GaussianNB(), epochs=2).fit(data, "late")
    merged.partial_fit(data, "late")
    ordered = Incremental(GaussianNB(), epochs=3, merge=False).fit(data, "late")
    assert_allclose(merged.var_, ordered.var_, rtol=1e-7)
    assert merged.class_count_.sum() == 1800
    assert merged.n_partitions_seen_ == 18
