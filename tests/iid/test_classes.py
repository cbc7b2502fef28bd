from __future__ import annotations

import importlib
import inspect
import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils import all_estimators
from sklearn.utils.validation import has_fit_parameter

import dfml
from dfml.exceptions import InputTypeError, LabelError
from dfml.iid.cluster import KMeans
from dfml.iid.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from dfml.iid.feature_extraction.text import TfidfTransformer
from dfml.iid.linear_model import LogisticRegression, SGDClassifier
from dfml.iid.preprocessing import StandardScaler
from dfml.responses._methods import RESPONSES
from tests.conftest import FEATURES, split_at

RESPONDING = [
    cls
    for _, cls in all_estimators()
    if any(hasattr(cls, r.name) for r in RESPONSES if r.name != "inverse_transform")
    and cls.__module__.startswith("sklearn.")
]


MODULES = [*dfml.iid.__all__, "feature_extraction.text", "feature_extraction.image"]
MADE = {
    name: getattr(module, name)
    for module in (importlib.import_module(f"dfml.iid.{path}") for path in MODULES)
    for name in module.__all__
}


def test_every_estimator_with_a_response_method_is_there():
    missing = {cls.__name__ for cls in RESPONDING} - set(MADE)
    # These appear once scikit-learn's own experimental import has enabled them.
    experimental = {"HalvingGridSearchCV", "HalvingRandomSearchCV", "IterativeImputer"}
    assert missing <= experimental


def test_what_has_no_response_method_is_not_there():
    from dfml.iid import manifold

    with pytest.raises(AttributeError, match="TSNE"):
        manifold.TSNE  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        dfml.iid.nothing  # noqa: B018


@pytest.mark.parametrize("cls", RESPONDING, ids=lambda cls: cls.__name__)
def test_a_class_is_scikit_learns_with_lazy_tables(cls):
    if cls.__name__ not in MADE:
        pytest.skip("experimental")
    made = MADE[cls.__name__]
    assert issubclass(made, cls)
    assert made.__name__ == cls.__name__
    assert pickle.loads(pickle.dumps(made)) is made
    assert inspect.signature(made.fit) == inspect.signature(cls.fit)
    assert str(inspect.signature(made)) == str(inspect.signature(cls))  # NaN != NaN
    assert hasattr(made, "set_output") == hasattr(cls, "set_output")
    assert "first partition" in made.__doc__


def test_fit_on_the_first_partition(table):
    frame = split_at(table, [0, 200, 400])[[*FEATURES, "late"]]
    clf = LogisticRegression().fit(frame, y="late")
    expected = sklearn.linear_model.LogisticRegression().fit(
        table[FEATURES][:200], table["late"][:200]
    )
    assert_array_equal(clf.coef_, expected.coef_)
    assert clf.partition_ == 1
    assert clf.n_samples_seen_ == 200
    assert_array_equal(clf.predict(frame), expected.predict(table[FEATURES]))
    assert clf.score(frame) == expected.score(table[FEATURES], table["late"])


def test_fit_by_columns_and_weight(frame, table):
    clf = LogisticRegression().fit(
        frame[FEATURES], frame["late"], sample_weight=frame["weight"]
    )
    first = table[:100]
    expected = sklearn.linear_model.LogisticRegression().fit(
        first[FEATURES], first["late"], first["weight"]
    )
    assert_array_equal(clf.coef_, expected.coef_)


def test_in_memory_is_scikit_learns(table):
    for ours, theirs in (
        (RandomForestClassifier, sklearn.ensemble.RandomForestClassifier),
        (
            HistGradientBoostingClassifier,
            sklearn.ensemble.HistGradientBoostingClassifier,
        ),
    ):
        a = ours(random_state=0).fit(table[FEATURES], table["late"])
        b = theirs(random_state=0).fit(table[FEATURES], table["late"])
        assert_array_equal(
            a.predict_proba(table[FEATURES]), b.predict_proba(table[FEATURES])
        )


def test_pickles_and_clones(frame):
    clf = SGDClassifier(loss="log_loss", random_state=0)
    clf.fit(frame[[*FEATURES, "late"]], "late")
    again = pickle.loads(pickle.dumps(clf))
    assert type(again) is SGDClassifier
    assert_array_equal(again.predict(frame), clf.predict(frame))
    assert not hasattr(clone(clf), "coef_")
    assert repr(clf) == "SGDClassifier(loss='log_loss', random_state=0)"


def test_hasattr_tells_the_truth():
    assert not hasattr(SGDClassifier(), "predict_proba")
    assert hasattr(SGDClassifier(loss="log_loss"), "predict_proba")
    assert not hasattr(TfidfTransformer(), "set_output")
    assert has_fit_parameter(SGDClassifier(), "sample_weight")


def test_fit_transform(frame, table):
    scaler = StandardScaler()
    answer = scaler.fit_transform(frame[FEATURES])
    assert answer.npartitions == frame.npartitions
    expected = sklearn.preprocessing.StandardScaler().fit(table[FEATURES][:100])
    assert_allclose(answer, expected.transform(table[FEATURES]), rtol=1e-12)
    assert_array_equal(
        StandardScaler().fit_transform(table[FEATURES]),
        sklearn.preprocessing.StandardScaler().fit_transform(table[FEATURES]),
    )


def test_fit_predict(frame, table):
    model = KMeans(2, random_state=0, n_init=1)
    answer = model.fit_predict(frame[FEATURES])
    assert_array_equal(answer, model.predict(table[FEATURES]))


def test_partial_fit_on_a_lazy_table(frame, table):
    with pytest.raises(InputTypeError, match=r"dfml\.Incremental\(SGDClassifier\(\)\)"):
        SGDClassifier().partial_fit(frame, "late")
    clf = SGDClassifier(random_state=0)
    clf.partial_fit(table[FEATURES], table["late"], classes=["no", "yes"])
    assert clf.t_ == 601


def test_a_failed_fit_changes_nothing(table):
    clf = LogisticRegression().fit(split_at(table, [300])[[*FEATURES, "late"]], "late")
    before = clf.coef_.copy()
    ordered = split_at(table.sort_values("late"), [100])[[*FEATURES, "late"]]
    with pytest.raises(LabelError):
        clf.fit(ordered, "late")
    table.loc[0, "a"] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(split_at(table, [300])[[*FEATURES, "late"]], "late")
    assert_array_equal(clf.coef_, before)


def test_columns_of_an_in_memory_frame_by_name(table):
    clf = LogisticRegression().fit(table[[*FEATURES, "late"]], "late")
    expected = sklearn.linear_model.LogisticRegression().fit(
        table[FEATURES], table["late"]
    )
    assert_array_equal(clf.coef_, expected.coef_)


def test_a_second_fit_forgets_the_names_of_the_first(table):
    clf = LogisticRegression().fit(split_at(table, [300])[[*FEATURES, "late"]], "late")
    assert list(clf.feature_names_in_) == FEATURES
    numbered = table[[*FEATURES, "late"]].set_axis([0, 1, 2, 3], axis=1)
    clf.fit(split_at(numbered, [300]), 3)
    assert not hasattr(clf, "feature_names_in_")
    assert_array_equal(
        clf.predict(split_at(numbered, [300])), clf.predict(numbered[[0, 1, 2]])
    )


def test_methods_that_are_no_responses_refuse_lazy_tables(frame, table):
    from dfml.iid.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier().fit(frame[[*FEATURES, "late"]], "late")
    for call in (model.kneighbors, model.kneighbors_graph):
        with pytest.raises(InputTypeError, match="no response method"):
            call(frame[FEATURES])
    first = sklearn.neighbors.KNeighborsClassifier().fit(
        table[FEATURES][:100], table["late"][:100]
    )
    for ours, theirs in zip(
        model.kneighbors(table[FEATURES]),
        first.kneighbors(table[FEATURES]),
        strict=True,
    ):
        assert_array_equal(ours, theirs)
    assert_array_equal(model.kneighbors()[1], first.kneighbors()[1])


@pytest.mark.parametrize("name", sorted(MADE))
def test_methods_are_scikit_learns(name):
    made = MADE[name]
    parent = made._parent
    for method in dir(parent):
        theirs = getattr(parent, method, None)
        private = method.startswith(("_", "set_"))
        if not private and inspect.isfunction(theirs):
            ours = getattr(made, method)
            assert callable(ours)
            if ours.__module__ == theirs.__module__:
                assert inspect.signature(ours) == inspect.signature(theirs)


def test_a_module_mirrors_its_own_classes_only():
    from dfml.iid import calibration

    assert calibration.__all__ == ["CalibratedClassifierCV"]
    with pytest.raises(AttributeError, match="LinearSVC"):
        calibration.LinearSVC  # noqa: B018
