"""Estimators of others that follow scikit-learn, tested where they are installed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from dfml import IID, ParallelPostFit
from dfml.testing import check_lazy_estimator
from tests.conftest import FEATURES, make_table, split_at

TABLE = make_table(400)
NUMBERED = TABLE.assign(late=(TABLE["late"] == "yes").astype(int))


def lightgbm_classifier():
    lightgbm = pytest.importorskip("lightgbm")
    return lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1)


def lightgbm_regressor():
    lightgbm = pytest.importorskip("lightgbm")
    return lightgbm.LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1)


def xgboost_classifier():
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBClassifier(n_estimators=5, n_jobs=1)


def xgboost_regressor():
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBRegressor(n_estimators=5, n_jobs=1)


each_maker = pytest.mark.parametrize(
    ("make", "target"),
    [
        (lightgbm_classifier, "late"),
        (lightgbm_regressor, "amount"),
        (xgboost_classifier, "late"),
        (xgboost_regressor, "amount"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)


@each_maker
@pytest.mark.parametrize("wrapper", [IID, ParallelPostFit])
def test_responses_and_score(make, target, wrapper):
    table = NUMBERED[[*FEATURES, target]]
    frame = split_at(table, [0, 200, 300])
    model = wrapper(make())
    if wrapper is IID:
        model.fit(frame, target)
        bare = make().fit(table[FEATURES][:200], table[target][:200])
    else:
        model.fit(table, target)
        bare = make().fit(table[FEATURES], table[target])
    answer = model.predict(frame)
    assert answer.dtype == answer.compute().dtype
    assert_allclose(answer, bare.predict(table[FEATURES]), rtol=1e-6)
    if target == "late":
        probabilities = model.predict_proba(frame)
        assert list(probabilities.columns) == ["probability_0", "probability_1"]
        assert_allclose(probabilities, bare.predict_proba(table[FEATURES]), rtol=1e-5)
    expected = bare.score(table[FEATURES], table[target])
    assert model.score(frame, target) == pytest.approx(expected, rel=1e-5)
    assert_allclose(model.feature_importances_, bare.feature_importances_, rtol=1e-5)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(frame), answer)


@each_maker
def test_weights(make, target):
    table = NUMBERED[[*FEATURES, target, "weight"]]
    model = IID(make()).fit(split_at(table, [200]), target, sample_weight="weight")
    first = table[:200]
    bare = make().fit(first[FEATURES], first[target], sample_weight=first["weight"])
    assert_allclose(
        model.predict(table[FEATURES]), bare.predict(table[FEATURES]), rtol=1e-6
    )


@each_maker
def test_lazy_checks(make, target):
    results = check_lazy_estimator(
        IID(clone(make())), kinds=["dask"], table=lazy_table(target), on_fail=None
    )
    failed = {
        r["check_name"]: r["exception"] for r in results if r["status"] == "failed"
    }
    assert not failed


def lazy_table(target):
    from dfml.testing import Table

    rows = NUMBERED[[*FEATURES, target, "weight"]][:120].copy()
    rows["row"] = np.arange(120)
    return Table(rows, list(FEATURES), target)
