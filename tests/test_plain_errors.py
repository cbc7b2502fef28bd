"""Mistakes that are named before any work starts, in words that say what to do."""

from __future__ import annotations

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import MiniBatchKMeans
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, SGDClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from dfml import IID, Incremental, ParallelPostFit
from dfml.exceptions import (
    CheckpointError,
    ColumnMismatchError,
    InputTypeError,
    LabelError,
)
from tests.conftest import FEATURES


class Untrainable(SGDClassifier):
    def partial_fit(self, X, y, classes=None):
        raise AssertionError("training has begun")


COLUMNS = [*FEATURES, "late"]


@pytest.mark.parametrize("trained_on", ["lazy", "memory"])
@pytest.mark.parametrize("held_out", ["lazy", "memory", "relation"])
@pytest.mark.parametrize(
    ("columns", "y", "message"),
    [
        (["a", "c", "late"], "late", r"missing: \['b'\]"),
        (COLUMNS, "lat", "name of a column. Got 'lat'"),
    ],
)
def test_a_validation_table_that_does_not_fit(
    table, trained_on, held_out, columns, y, message
):
    X = table[COLUMNS]
    rows = X[columns]
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        validation = {
            "lazy": dd.from_pandas(rows, npartitions=2),
            "memory": rows,
            "relation": connection.sql("SELECT * FROM rows"),
        }[held_out]
        X = dd.from_pandas(X, npartitions=3) if trained_on == "lazy" else X
        with pytest.raises(ColumnMismatchError, match=message) as caught:
            Incremental(Untrainable()).fit(X, y="late", validation=(validation, y))
    assert str(caught.value).startswith("Incremental.fit's validation expects")


def test_the_target_of_a_validation_table_is_the_one_of_fit(frame, table):
    model = Incremental(SGDClassifier(random_state=0), epochs=2)
    columns = frame[COLUMNS]
    model.fit(columns, y="late", validation=(columns, None))
    scores = model.validation_scores_
    model.fit(columns, y="late", validation=(columns, "late"))
    assert model.validation_scores_ == scores


def test_score_without_a_target(frame, table):
    line = ParallelPostFit(LinearRegression().fit(table[FEATURES], table["amount"]))
    with pytest.raises(LabelError, match=r"(?s)score expects y.*y=\"label\""):
        line.score(frame[FEATURES])
    clusters = MiniBatchKMeans(2, n_init=1, random_state=0).fit(table[FEATURES])
    assert ParallelPostFit(clusters).score(frame[FEATURES]) < 0


def test_a_label_beside_a_series(frame):
    with pytest.raises(InputTypeError, match=r"'b' is a column. Got a dask Series"):
        Incremental(StandardScaler()).fit(frame["a"], y="b")
    with pytest.raises(InputTypeError, match=r"ddf\[\['a', 'w'\]\]"):
        IID(LinearRegression()).fit(frame["a"], frame["b"], sample_weight="w")


def test_a_series_for_a_model_of_several_features(frame, table):
    fitted_lazily = Incremental(SGDClassifier()).fit(frame[COLUMNS], y="late")
    fitted_elsewhere = ParallelPostFit(
        LinearRegression().fit(table[FEATURES].to_numpy(), table["amount"])
    )
    for model, expected in [
        (fitted_lazily, r"a DataFrame with \['a', 'b', 'c'\]. Got a Series, 'a'"),
        (fitted_elsewhere, r"a DataFrame with 3 features. Got a Series, 'a'"),
    ]:
        with pytest.raises(ColumnMismatchError, match=expected):
            model.predict(frame["a"])
    texts = pd.Series(["late again", "late"], name="text")
    words = ParallelPostFit(CountVectorizer().fit(texts))
    counts = words.transform(dd.from_pandas(texts, npartitions=1)).compute()
    assert counts["late"].tolist() == [1, 1]


@pytest.mark.parametrize("sample", [True, False])
def test_a_sample_that_is_neither_a_number_nor_a_share(frame, sample):
    model = IID(DecisionTreeClassifier(), sample=sample)
    with pytest.raises(ValueError, match=f"'sample' parameter of IID .* Got {sample}"):
        model.fit(frame[COLUMNS], y="late")


def test_numbers_are_shown_as_python_writes_them(table):
    numbers = table[FEATURES].assign(y=np.int32(2))
    ddf = dd.from_pandas(numbers, npartitions=2)
    errors = []
    for model, classes in [
        (Incremental(SGDClassifier()), None),
        (Incremental(SGDClassifier()), np.array([1, 3], dtype="int32")),
        (IID(DecisionTreeClassifier()), None),
        (IID(DecisionTreeClassifier()), np.array([1, 2], dtype="int32")),
    ]:
        with pytest.raises(LabelError) as caught:
            model.fit(ddf, y="y", classes=classes)
        errors.append(str(caught.value))
    assert not any("np." in text for text in errors), errors
    assert "only [2] in column 'y'" in errors[0]
    assert "the classes [1, 3]" in errors[1]
    assert "only [2]" in errors[2]
    assert "all of [1, 2]" in errors[3]


def test_a_checkpoint_that_names_a_file(frame, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(CheckpointError, match=r"(?s)a folder.*notes\.txt"):
        Incremental(Untrainable(), checkpoint=path).fit(frame[COLUMNS], y="late")
    assert path.read_text() == "mine"


def test_many_columns_are_not_all_listed(frame):
    model = Incremental(SGDClassifier()).fit(frame[COLUMNS], y="late")
    wide = pd.DataFrame(1.0, index=range(3), columns=[f"x{i}" for i in range(22)])
    with pytest.raises(ColumnMismatchError) as caught:
        model.predict(dd.from_pandas(wide, npartitions=1))
    assert "'x9'] and 12 more" in str(caught.value)
    assert "x10" not in str(caught.value)


def test_integer_classes_that_hardly_repeat_are_no_regression():
    table = pd.DataFrame({"a": range(60), "y": range(60)}).astype({"a": "float64"})
    table = pd.concat([table, table], ignore_index=True)
    ddf = dd.from_pandas(table, npartitions=2)
    model = Incremental(SGDClassifier(random_state=0)).fit(ddf, y="y")
    assert model.classes_.tolist() == list(range(60))
