from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from dfml import IID
from dfml.exceptions import ColumnMismatchError, EmptyTableError, LabelError
from tests.conftest import FEATURES, split_at


def test_the_first_partition_that_has_rows(table):
    frame = split_at(table, [0, 0, 150, 400])
    clf = IID(LogisticRegression()).fit(frame[[*FEATURES, "late"]], "late")
    expected = LogisticRegression().fit(table[FEATURES][:150], table["late"][:150])
    assert_array_equal(clf.coef_, expected.coef_)
    assert clf.partition_ == 2
    assert clf.n_samples_seen_ == 150


def test_only_that_partition_is_loaded(table):
    loaded = []

    def load(part):
        loaded.append(len(part))
        return part

    frame = split_at(table, [200, 400]).map_partitions(load, meta=table.iloc[:0])
    IID(Ridge()).fit(frame[[*FEATURES, "amount"]], "amount")
    assert loaded == [200]


def test_a_random_partition(table):
    frame = split_at(table, [100, 200, 200, 300, 400, 500])
    models = [
        IID(StandardScaler(), sample="random", random_state=seed).fit(frame[FEATURES])
        for seed in (0, 0, 1, 2, 3)
    ]
    assert models[0].partition_ == models[1].partition_
    assert len({model.partition_ for model in models}) > 1
    assert all(model.n_samples_seen_ == 100 for model in models)


def test_a_share_of_the_rows(frame):
    scaler = IID(StandardScaler(), sample=0.25, random_state=0).fit(frame[FEATURES])
    assert scaler.n_samples_seen_ == 150
    assert scaler.partition_ is None


def test_more_rows_than_there_are(frame):
    scaler = IID(StandardScaler(), sample=10_000).fit(frame[FEATURES])
    assert scaler.n_samples_seen_ == 600


def test_sample_weight(table, frame):
    clf = IID(LogisticRegression()).fit(
        frame[[*FEATURES, "late", "weight"]], "late", sample_weight="weight"
    )
    first = table[:100]
    expected = LogisticRegression().fit(
        first[FEATURES], first["late"], sample_weight=first["weight"]
    )
    assert_array_equal(clf.coef_, expected.coef_)


def test_in_memory(table):
    clf = IID(LogisticRegression()).fit(table[[*FEATURES, "late"]], "late")
    expected = LogisticRegression().fit(table[FEATURES], table["late"])
    assert_array_equal(clf.coef_, expected.coef_)
    assert clf.partition_ is None
    assert clf.n_samples_seen_ == 600


def test_one_class_in_the_sample(table):
    frame = split_at(table.sort_values("late", ignore_index=True), [100, 300])
    clf = IID(DecisionTreeClassifier())
    with pytest.raises(LabelError, match=r"partition 0.*'no'.*\n.*\n.*sample="):
        clf.fit(frame[[*FEATURES, "late"]], "late")
    assert not hasattr(clf, "estimator_")
    clf.set_params(sample=100, random_state=0).fit(frame[[*FEATURES, "late"]], "late")
    assert clf.classes_.tolist() == ["no", "yes"]


def test_classes_that_must_be_there(frame):
    data = frame[[*FEATURES, "late"]]
    clf = IID(DecisionTreeClassifier()).fit(data, "late", classes=["no", "yes"])
    assert clf.classes_.tolist() == ["no", "yes"]
    with pytest.raises(LabelError, match="perhaps"):
        clf.fit(data, "late", classes=["no", "yes", "perhaps"])


def test_bad_input(frame):
    with pytest.raises(EmptyTableError):
        IID(Ridge()).fit(frame[frame["a"] > 1e9][[*FEATURES, "amount"]], "amount")
    with pytest.raises(EmptyTableError):
        IID(Ridge(), sample=5).fit(frame[frame["a"] > 1e9][FEATURES], "a")
    with pytest.raises(ColumnMismatchError, match=r"text in \['late'\]"):
        IID(Ridge()).fit(frame[[*FEATURES, "late"]], "a")
    with pytest.raises(ValueError, match="parameter of IID"):
        IID(Ridge(), sample=0).fit(frame[FEATURES], "a")


def test_errors_of_the_estimator_name_the_partition(table):
    table.loc[10, "b"] = np.nan
    with pytest.raises(ValueError, match="NaN") as caught:
        IID(Ridge()).fit(split_at(table, [100])[[*FEATURES, "amount"]], "amount")
    assert "dfml: fitting on partition 0." in caught.value.__notes__
