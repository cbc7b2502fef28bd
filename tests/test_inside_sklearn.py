"""Estimators of dfml inside scikit-learn's tools, and what they say of themselves."""

from __future__ import annotations

import importlib
import warnings

import dask.dataframe as dd
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.feature_selection import RFE
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import all_estimators, estimator_html_repr, get_tags
from sklearn.utils._test_common.instance_generator import _construct_instances
from sklearn.utils.validation import has_fit_parameter

from dfml import IID, Incremental, ParallelPostFit
from dfml.iid import linear_model as iid_linear_model
from dfml.responses._methods import RESPONSES
from tests.conftest import FEATURES, make_table

TABLE = make_table(120)
X, Y, WEIGHT = TABLE[FEATURES], TABLE["late"], TABLE["weight"]

ESTIMATORS = {
    "Incremental": Incremental(SGDClassifier(loss="log_loss", random_state=0)),
    "IID": IID(LogisticRegression()),
    "ParallelPostFit": ParallelPostFit(LogisticRegression()),
    "dfml.iid": iid_linear_model.LogisticRegression(),
}
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def frame() -> dd.DataFrame:
    return dd.from_pandas(TABLE[[*FEATURES, "late"]], npartitions=3)


@each_estimator
def test_last_step_of_a_pipeline(name):
    model = make_pipeline(StandardScaler(), clone(ESTIMATORS[name])).fit(X, Y)
    lazily = ParallelPostFit(model).predict(frame())
    assert_array_equal(lazily, model.predict(X))


@each_estimator
def test_search_and_cross_validation(name):
    estimator = ESTIMATORS[name]
    parameter = {"Incremental": "estimator__alpha", "dfml.iid": "C"}.get(
        name, "estimator__C"
    )
    search = GridSearchCV(estimator, {parameter: [0.01, 1]}, cv=3).fit(X, Y)
    assert type(search.best_estimator_) is type(estimator)
    assert set(search.best_params_) == {parameter}
    scores = cross_val_score(estimator, X, Y, cv=3, scoring="roc_auc")
    assert scores.min() > 0.8
    assert len(cross_val_predict(estimator, X, Y, cv=3)) == len(X)


@each_estimator
def test_calibration(name):
    model = clone(ESTIMATORS[name])
    fitted = (
        model.fit(X, Y) if name == "ParallelPostFit" else model.fit(frame(), "late")
    )
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X, Y)
    answer = ParallelPostFit(calibrated).predict_proba(frame())
    assert_allclose(answer, calibrated.predict_proba(X))
    CalibratedClassifierCV(model, cv=3).fit(X, Y, sample_weight=WEIGHT)


@each_estimator
@pytest.mark.parametrize(
    "outer",
    [
        lambda e: BaggingClassifier(e, n_estimators=2, random_state=0),
        lambda e: AdaBoostClassifier(e, n_estimators=2, random_state=0),
        lambda e: VotingClassifier([("one", e)], voting="soft"),
        lambda e: StackingClassifier([("one", e)]),
        OneVsRestClassifier,
        lambda e: RFE(e, n_features_to_select=2),
    ],
    ids=["bagging", "AdaBoost", "voting", "stacking", "one against rest", "RFE"],
)
def test_inside_other_meta_estimators(outer, name):
    assert outer(clone(ESTIMATORS[name])).fit(X, Y).score(X, Y) > 0.7


@each_estimator
def test_inspection(name):
    model = clone(ESTIMATORS[name]).fit(X, Y)
    importance = permutation_importance(model, X, Y, n_repeats=2, random_state=0)
    assert importance.importances_mean.argmax() == 0


@pytest.mark.parametrize("wrapper", [IID, ParallelPostFit])
def test_a_search_inside_answers_lazily(wrapper):
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3)
    model = wrapper(search)
    model = (
        model.fit(X, Y) if wrapper is ParallelPostFit else model.fit(frame(), "late")
    )
    assert model.best_params_["C"] in (0.1, 1)
    assert_array_equal(model.predict(frame()), model.predict(X))


def test_fit_names_sample_weight_where_it_is_taken():
    assert has_fit_parameter(Incremental(SGDClassifier()), "sample_weight")
    assert has_fit_parameter(IID(LogisticRegression()), "sample_weight")
    assert has_fit_parameter(ParallelPostFit(LogisticRegression()), "sample_weight")
    assert not has_fit_parameter(Incremental(MinMaxScaler()), "sample_weight")
    assert not has_fit_parameter(IID(MinMaxScaler()), "sample_weight")


# Metadata routing


def requesting(name: str) -> object:
    """Make the estimator whose inner one asks for weights, in fit and score."""
    estimator = clone(ESTIMATORS[name])
    inner = getattr(estimator, "estimator", estimator)
    if name == "Incremental":
        inner.set_partial_fit_request(sample_weight=True)
    else:
        inner.set_fit_request(sample_weight=True)
    inner.set_score_request(sample_weight=True)
    return estimator


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
@each_estimator
def test_weights_are_routed(name):
    search = GridSearchCV(requesting(name), {}, cv=3).fit(X, Y, sample_weight=WEIGHT)
    plain = LogisticRegression()
    if name != "Incremental":
        plain.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        expected = GridSearchCV(plain, {}, cv=3).fit(X, Y, sample_weight=WEIGHT)
        for key in ("split0_test_score", "mean_test_score"):
            assert_array_equal(search.cv_results_[key], expected.cv_results_[key])
    else:
        trained = SGDClassifier(loss="log_loss", random_state=0)
        trained.partial_fit(X, Y, classes=["no", "yes"], sample_weight=WEIGHT)
        assert_array_equal(search.best_estimator_.coef_, trained.coef_)


@pytest.mark.usefixtures("routing")
@each_estimator
def test_a_name_is_resolved_before_it_is_routed(name):
    estimator = requesting(name)
    lazily = dd.from_pandas(TABLE[[*FEATURES, "late", "weight"]], npartitions=1)
    given = TABLE if name == "ParallelPostFit" else lazily
    given = given[[*FEATURES, "late", "weight"]]
    model = estimator.fit(given, y="late", sample_weight="weight")
    expected = requesting(name).fit(X, Y, sample_weight=WEIGHT)
    assert_allclose(model.coef_, expected.coef_)
    assert model.score(lazily, "late", "weight") == pytest.approx(
        expected.score(X, Y, sample_weight=WEIGHT)
    )


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("wrapper", [IID, Incremental, ParallelPostFit])
def test_what_was_not_asked_for_is_refused(wrapper):
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        wrapper(SGDClassifier()).fit(X, Y, sample_weight=WEIGHT)
    wrapper(SGDClassifier()).fit(X, Y).score(X, Y)


@pytest.mark.usefixtures("routing")
def test_classes_are_the_wrappers_own():
    estimator = requesting("Incremental").set_fit_request(classes=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = make_pipeline(scaler, estimator)
    pipeline.fit(X, Y, sample_weight=WEIGHT, classes=["maybe", "no", "yes"])
    assert list(pipeline.classes_) == ["maybe", "no", "yes"]


# What the wrappers say of every estimator of scikit-learn

METHODS = [response.name for response in RESPONSES]
METHODS += ["score", "fit_predict", "get_feature_names_out", "set_output"]


def instances() -> list[object]:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, cls in all_estimators():
            if name != "FrozenEstimator":
                found += list(_construct_instances(cls))[:2]
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning")  # deprecated estimators
@pytest.mark.parametrize("bare", instances(), ids=lambda e: type(e).__name__)
def test_hasattr_tags_and_repr(bare):
    wrapped = [ParallelPostFit(bare), IID(bare), Incremental(bare)]
    path = type(bare).__module__.split(".")[1]
    module = (
        importlib.import_module(f"dfml.iid.{path}") if hasattr(bare, "fit") else None
    )
    own = getattr(module, type(bare).__name__, None)
    if own is not None:
        wrapped.append(own(**bare.get_params(deep=False)))
    for estimator in wrapped:
        for method in METHODS:
            assert hasattr(estimator, method) == hasattr(bare, method), method
        if not isinstance(estimator, Incremental):
            assert get_tags(estimator) == get_tags(bare)
        assert type(bare).__name__ in repr(estimator)
        assert type(bare).__name__ in estimator_html_repr(estimator)


def test_partial_fit_only_where_the_estimators_inside_have_it():
    from dfml.iid.multioutput import MultiOutputClassifier

    assert hasattr(MultiOutputClassifier(SGDClassifier()), "partial_fit")
    assert not hasattr(MultiOutputClassifier(LogisticRegression()), "partial_fit")


@pytest.mark.parametrize("wrapper", [ParallelPostFit, IID, Incremental])
def test_set_output(wrapper):
    model = wrapper(StandardScaler()).set_output(transform="pandas")
    assert list(model.fit(X).transform(X).columns) == FEATURES
    again = clone(model).fit(X)
    assert list(again.transform(X).columns) == FEATURES
    model.set_output(transform="default")
    assert isinstance(model.transform(X), np.ndarray)
    assert isinstance(model.transform(frame()), dd.DataFrame)
