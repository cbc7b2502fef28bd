from __future__ import annotations

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.feature_selection import RFE, RFECV
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    RANSACRegressor,
    Ridge,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from dfml import Incremental, ParallelPostFit, read_sql
from dfml.exceptions import (
    ColumnMismatchError,
    EmptyTableError,
    EstimatorTypeError,
    LabelError,
)
from tests.conftest import FEATURES


@pytest.fixture
def clf(frame):
    inner = SGDClassifier(loss="log_loss", random_state=0)
    return Incremental(inner).fit(frame[[*FEATURES, "late"]], "late")


def test_the_target_was_learnt(clf, frame, table):
    expected = clf.estimator_.score(table[FEATURES], table["late"])
    assert clf.score(frame) == expected
    assert clf.score(frame, "late") == expected
    assert clf.score(frame[FEATURES], frame["late"]) == expected


def test_the_target_was_learnt_for_pandas_rows_too(clf, table):
    expected = clf.estimator_.score(table[FEATURES], table["late"])
    assert clf.score(table[["late", "weight", "c", "b", "a"]]) == expected
    weight = table["weight"]
    weighted = clf.score(table[FEATURES], table["late"], sample_weight=weight)
    assert clf.score(table, sample_weight="weight") == weighted


@pytest.mark.parametrize(
    "scoring",
    ["roc_auc", "neg_log_loss", "f1_macro", "balanced_accuracy", "average_precision"],
)
def test_any_scorer(clf, frame, table, scoring):
    table["late"] = table["late"] == "yes"
    frame = frame.assign(late=frame["late"] == "yes")
    inner = SGDClassifier(loss="log_loss", random_state=0)
    clf = Incremental(inner, scoring=scoring).fit(frame[[*FEATURES, "late"]], "late")
    expected = get_scorer(scoring)(clf.estimator_, table[FEATURES], table["late"])
    assert clf.score(frame) == pytest.approx(expected, rel=1e-12)
    assert clf.score(table[FEATURES], table["late"]) == pytest.approx(expected)


def test_a_scorer_with_weights(clf, frame, table):
    clf.set_params(scoring=make_scorer(accuracy_score))
    expected = accuracy_score(
        table["late"], clf.predict(table[FEATURES]), sample_weight=table["weight"]
    )
    assert clf.score(frame, sample_weight="weight") == pytest.approx(expected)


def test_a_metric_function_is_refused(clf, frame):
    clf.set_params(scoring=accuracy_score)
    with pytest.raises(EstimatorTypeError, match="make_scorer"):
        clf.score(frame)


def test_r2_is_stable_for_a_large_mean(frame, table):
    shifted = table.assign(amount=table["amount"] + 1e8)
    model = Ridge().fit(shifted[FEATURES], shifted["amount"])
    lazily = ParallelPostFit(model).score(
        frame.assign(amount=frame["amount"] + 1e8), "amount"
    )
    eagerly = model.score(shifted[FEATURES], shifted["amount"])
    assert lazily == pytest.approx(eagerly, abs=1e-9)


def test_r2_of_a_constant_target(frame, table):
    frame, table = frame.assign(one=1.0), table.assign(one=1.0)
    model = Ridge().fit(table[FEATURES], table["one"])
    assert ParallelPostFit(model).score(frame, "one") == 1.0


def test_r2_of_missing_targets_is_an_error(frame, table):
    model = Ridge().fit(table[FEATURES], table["amount"])
    holes = frame.assign(amount=frame["amount"].where(frame["id"] != 1250))

    with pytest.raises(ValueError, match="y_true contains NaN") as caught:
        ParallelPostFit(model).score(holes, "amount")
    assert caught.value.__notes__ == ["dfml: in partition 2 of 6."]


def test_r2_of_one_row_is_not_defined(frame, table):
    model = Ridge().fit(table[FEATURES], table["amount"])

    with pytest.warns(UndefinedMetricWarning, match="less than two samples") as caught:
        score = ParallelPostFit(model).score(frame[frame["id"] == 1250], "amount")
    assert np.isnan(score)
    assert caught[0].filename == __file__


def test_no_score_where_the_estimator_has_none(frame):
    scaler = Incremental(StandardScaler()).fit(frame[FEATURES])
    with pytest.raises(AttributeError):
        scaler.score(frame)


def test_no_rows(clf, frame):
    with pytest.raises(EmptyTableError):
        clf.score(frame[frame["a"] > 1e9])


def test_missing_labels(clf, table):
    con = duckdb.connect()
    con.register("flights", table)
    names = ", ".join(FEATURES)
    relation = con.sql(f"SELECT {names}, nullif(late, 'no') AS y FROM flights")
    for name in ("score", "fit"):
        message = f"Incremental.{name} expects a label in every row"
        with pytest.raises(LabelError, match=message):
            getattr(clf, name)(read_sql(relation), y="y")
        with pytest.raises(LabelError, match=message):
            getattr(clf, name)(relation, y="y")


def test_missing_column(clf, frame):
    with pytest.raises(ColumnMismatchError, match=r"missing: \['b'\]"):
        clf.score(frame[["a", "c", "late"]])


def test_of_a_model_fitted_on_arrays(frame, table):
    model = LogisticRegression().fit(table[FEATURES].to_numpy(), table["late"])
    score = ParallelPostFit(model).score(frame[FEATURES], frame["late"])
    assert score == model.score(table[FEATURES].to_numpy(), table["late"])
    with pytest.raises(ColumnMismatchError, match="3 features"):
        ParallelPostFit(model).predict(frame)
    assert np.isfinite(score)


def test_several_targets_are_right_together(frame, table):
    frame = frame.assign(large=frame["amount"].abs() > 1)
    table = table.assign(large=table["amount"].abs() > 1)
    inner = MultiOutputClassifier(SGDClassifier(loss="log_loss", random_state=0))
    targets = ["late", "large"]
    frame["large"] = frame["large"].map(
        {True: "big", False: "small"}, meta=("large", "str")
    )
    table["large"] = table["large"].map({True: "big", False: "small"})
    clf = Incremental(inner).fit(frame[[*FEATURES, *targets]], targets)
    expected = clf.estimator_.score(table[FEATURES], table[targets])
    assert clf.score(frame) == expected
    proba = clf.predict_proba(frame)
    assert proba.columns.tolist() == [
        "probability_late_no",
        "probability_late_yes",
        "probability_large_big",
        "probability_large_small",
    ]
    assert proba.compute().shape == (600, 4)


LOGISTIC = LogisticRegression()
OWN_SCORES = {
    "search": GridSearchCV(LOGISTIC, {}, scoring="neg_log_loss", cv=2),
    "search by several": GridSearchCV(
        LOGISTIC, {}, scoring=["roc_auc", "neg_log_loss"], refit="roc_auc", cv=2
    ),
    "search without a scorer": GridSearchCV(PoissonRegressor(), {}, cv=2),
    "end of a pipeline": make_pipeline(
        StandardScaler(), GridSearchCV(LOGISTIC, {}, scoring="roc_auc", cv=2)
    ),
    "LogisticRegressionCV": LogisticRegressionCV(Cs=2, cv=2, scoring="neg_log_loss"),
    "RFECV": RFECV(LOGISTIC, scoring="roc_auc", cv=2),
    "RFE": RFE(PoissonRegressor()),
    "poisson": PoissonRegressor(),
    "gamma": GammaRegressor(),
    "tweedie": TweedieRegressor(power=1.5),
    "self-training": SelfTrainingClassifier(LOGISTIC),
    "neighbors": KNeighborsClassifier(),
    "ransac": RANSACRegressor(random_state=0),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", OWN_SCORES)
def test_an_estimator_scores_as_it_does_in_memory(name):
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(200, 3)), columns=["a", "b", "c"])
    y = pd.Series(np.exp(X["a"] / 2) + random.random(200), name="y")
    model = clone(OWN_SCORES[name])
    if is_classifier(model):
        y = (y > 1.5).astype(int)
    model.fit(X, y)
    frame = dd.from_pandas(X.assign(y=y), npartitions=3)

    expected = pytest.approx(model.score(X, y), rel=1e-9)
    assert ParallelPostFit(model).score(frame, y="y") == expected
    assert frame.ml.score(model, y="y") == expected


def test_a_score_of_their_own_is_not_replaced(frame, table):
    class Own(LinearRegression):
        def score(self, X, y, sample_weight=None):
            return 42.0

    model = Own().fit(table[FEATURES], table["amount"])
    with pytest.raises(EstimatorTypeError, match=r"pass scoring= to ddf\.ml\.score"):
        frame.ml.score(model, y="amount")
    expected = LinearRegression().fit(table[FEATURES], table["amount"])
    assert frame.ml.score(model, y="amount", scoring="r2") == pytest.approx(
        expected.score(table[FEATURES], table["amount"])
    )
