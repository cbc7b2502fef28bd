from __future__ import annotations

import dask.dataframe as dd
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.preprocessing import StandardScaler

from dfml import Incremental
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    EstimatorTypeError,
)
from tests.conftest import FEATURES


@pytest.fixture
def clf(frame):
    inner = SGDClassifier(loss="log_loss", random_state=0)
    return Incremental(inner).fit(frame[[*FEATURES, "late"]], "late")


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # dask's to_parquet
def test_a_chain_is_lazy_and_one_pass(lake, table, clf, tmp_path):
    chained = (
        dd.read_parquet(lake)
        .query("a > 0")
        .ml.predict(clf)
        .ml.predict_proba(clf, prefix="p_")
        .ml.decision_function(clf, name="margin")
    )
    chained.to_parquet(tmp_path / "scored")
    expected = table.query("a > 0")
    scored = dd.read_parquet(tmp_path / "scored").compute()
    assert scored["id"].tolist() == expected["id"].tolist()
    assert_array_equal(scored["prediction"], clf.predict(expected[FEATURES]))
    assert scored.columns.tolist()[-4:] == [
        "prediction",
        "p_probability_no",
        "p_probability_yes",
        "margin",
    ]


def test_projection_reaches_the_files(lake, clf):
    answer = dd.read_parquet(lake).ml.predict(clf)[["id", "prediction"]]
    text = str(answer.optimize(fuse=False).expr.tree_repr())
    assert "weight" not in text
    assert "amount" not in text


def test_plain_scikit_learn_models(frame, table):
    scaler = StandardScaler().fit(table[FEATURES])
    answer = frame.ml.transform(scaler, prefix="scaled_")
    assert answer.columns.tolist()[-3:] == ["scaled_a", "scaled_b", "scaled_c"]
    model = LogisticRegression().fit(table[FEATURES], table["late"])
    assert frame.ml.score(model, "late") == model.score(table[FEATURES], table["late"])


def test_score_of_the_learnt_target(frame, clf):
    assert frame.ml.score(clf) == clf.score(frame)


def test_taken_names(frame, table, clf):
    predicted = frame.ml.predict(clf)
    with pytest.raises(ColumnCollisionError, match="'prediction'"):
        predicted.ml.predict(clf)
    assert "again" in predicted.ml.predict(clf, name="again").columns
    with pytest.raises(ColumnCollisionError, match="2 columns"):
        frame.ml.predict_proba(clf, name="p")
    scaler = StandardScaler().fit(table[FEATURES])
    with pytest.raises(ColumnCollisionError, match=r"\['a', 'b', 'c'\]"):
        frame.ml.transform(scaler)


def test_missing_columns(frame, clf):
    with pytest.raises(ColumnMismatchError):
        frame[["a", "b"]].ml.predict(clf)


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("late.skops", r"Got 'late.skops'.\n\n.*load_model"),
        (LogisticRegression, "Got the class LogisticRegression"),
        (None, "Got None"),
    ],
)
def test_what_is_no_model(frame, model, hint):
    with pytest.raises(EstimatorTypeError, match=f"ddf.ml.predict expects.*{hint}"):
        frame.ml.predict(model)
    with pytest.raises(EstimatorTypeError, match=f"ddf.ml.score expects.*{hint}"):
        frame.ml.score(model, "late")
