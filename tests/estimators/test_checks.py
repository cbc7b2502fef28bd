from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from dfml import IID, Incremental
from dfml.exceptions import (
    ColumnMismatchError,
    DfmlWarning,
    EmptyTableError,
    EstimatorTypeError,
    InputTypeError,
    LabelError,
)
from tests.conftest import FEATURES

SGD = SGDClassifier(random_state=0)


@pytest.fixture
def rows(frame):
    return frame[[*FEATURES, "late"]]


class TestTarget:
    @pytest.mark.parametrize("wrap", [Incremental, IID])
    def test_is_missing(self, frame, wrap):
        model = wrap(SGDRegressor())
        with pytest.raises(LabelError, match="y, the target that SGDRegressor learns"):
            model.fit(frame[FEATURES])

    def test_of_a_relation_is_missing(self, table):
        relation = duckdb.connect().from_df(table[FEATURES])
        with pytest.raises(LabelError, match="the target that SGDClassifier learns"):
            Incremental(SGD).fit(relation)

    @pytest.mark.parametrize("wrap", [Incremental, IID])
    def test_among_the_features(self, rows, wrap):
        model = wrap(SGDRegressor(random_state=0))
        frame = rows.assign(late=rows["late"] == "yes")
        with pytest.warns(DfmlWarning, match="'late' is among the features") as caught:
            model.fit(frame, frame["late"])
        assert caught[0].filename == __file__
        assert model.n_features_in_ == 4

    def test_taken_out_of_the_features_is_no_matter(self, rows):
        Incremental(SGD).fit(rows[FEATURES], rows["late"])

    def test_array_of_one_column(self, table):
        X = da.from_array(table[FEATURES].to_numpy(), chunks=(100, 3))
        y = (table["late"] == "yes").to_numpy()
        flat = Incremental(SGD).fit(X, da.from_array(y, chunks=100))
        column = Incremental(SGD).fit(X, da.from_array(y[:, None], chunks=(100, 1)))
        assert_array_equal(column.classes_, [False, True])
        assert_array_equal(column.coef_, flat.coef_)

    def test_weights_as_an_array_of_one_column(self, table):
        X = da.from_array(table[FEATURES].to_numpy(), chunks=(100, 3))
        y = da.from_array((table["late"] == "yes").to_numpy(), chunks=100)
        weight = da.from_array(table[["weight"]].to_numpy(), chunks=(100, 1))
        column = Incremental(SGD).fit(X, y, sample_weight=weight)
        flat = Incremental(SGD).fit(X, y, sample_weight=weight[:, 0])
        assert_array_equal(column.coef_, flat.coef_)

    @pytest.mark.parametrize(
        ("X", "hint"),
        [
            ("SELECT * FROM t", "read_sql"),
            ({"a": [1]}, "pass a dask or pandas DataFrame"),
        ],
    )
    def test_names_a_column_of_what_has_none(self, X, hint):
        with pytest.raises(InputTypeError, match=f"'late' is a column(?s:.*){hint}"):
            Incremental(SGD).fit(X, "late")

    def test_names_a_column_of_a_connection(self):
        with (
            duckdb.connect() as connection,
            pytest.raises(InputTypeError, match="Got an in-memory DuckDBPyConnection"),
        ):
            Incremental(SGD).fit(connection, "late")

    def test_tuple_of_names(self, rows):
        with pytest.raises(InputTypeError, match=r"fit\(X, y=\['late'\]\)"):
            Incremental(SGD).fit(rows, ("late",))


class TestArguments:
    def test_of_the_wrapper(self, rows):
        with pytest.raises(EstimatorTypeError, match=r"Got \['epochs'\]"):
            Incremental(SGD).fit(rows, "late", epochs=3)

    def test_weights_for_an_estimator_without(self, frame):
        model = Incremental(MinMaxScaler())
        with pytest.raises(EstimatorTypeError, match=r"Got \['sample_weight'\]"):
            model.fit(frame[FEATURES], sample_weight="c")

    def test_in_memory_weights_name_the_argument(self, rows, table):
        with pytest.raises(InputTypeError, match=r'sample_weight="weight"'):
            Incremental(SGD).fit(rows, "late", sample_weight=table["weight"])

    def test_steps_of_a_pipeline_are_wrapped(self, rows):
        pipeline = make_pipeline(StandardScaler(), SGD)
        with pytest.raises(EstimatorTypeError, match="wrap its steps, make_pipeline"):
            Incremental(pipeline).fit(rows, "late")


class TestClasses:
    def test_a_set(self, rows):
        clf = Incremental(SGD).fit(rows, "late", classes={"yes", "no"})
        assert clf.classes_.tolist() == ["no", "yes"]

    @pytest.mark.parametrize("classes", ["late", 2])
    def test_no_list(self, rows, classes):
        with pytest.raises(LabelError, match=r"a list of all classes\. Got"):
            Incremental(SGD).fit(rows, "late", classes=classes)

    @pytest.mark.parametrize("method", ["fit", "partial_fit"])
    def test_for_a_regressor(self, frame, method):
        train = getattr(Incremental(SGDRegressor()), method)
        with pytest.raises(EstimatorTypeError, match="classes= for SGDRegressor"):
            train(frame[[*FEATURES, "amount"]], "amount", classes=[0, 1])


class TestKinds:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            (pd.Timestamp("2024-05-01"), "time"),
            (pd.Timestamp("2024-05-01", tz="UTC"), "time with zone"),
            (pd.Timedelta("1h"), "duration"),
            (pd.Categorical(["x", "y"] * 300), "category"),
        ],
    )
    @pytest.mark.parametrize("wrap", [Incremental, IID])
    def test_are_refused_before_any_work(self, table, values, kind, wrap):
        rows = table[[*FEATURES, "late"]].assign(new=values)
        with pytest.raises(ColumnMismatchError, match=rf"Got {kind} in \['new'\]"):
            wrap(SGD).fit(dd.from_pandas(rows, npartitions=3), "late")

    def test_categories_of_numbers_are_numbers(self, table):
        numbers = pd.Categorical(np.arange(600) % 2)
        rows = table[[*FEATURES, "late"]].assign(new=numbers)
        Incremental(SGD).fit(dd.from_pandas(rows, npartitions=3), "late")

    def test_categories_where_the_estimator_takes_them(self, table):
        rows = table[[*FEATURES, "late"]].assign(new=pd.Categorical(["x", "y"] * 300))
        trees = IID(HistGradientBoostingClassifier(max_iter=2))
        trees.fit(dd.from_pandas(rows, npartitions=3), "late")
        assert trees.n_features_in_ == 4


class TestSample:
    def test_of_one_class(self, table):
        rows = table[[*FEATURES, "late"]].sort_values("late", ignore_index=True)
        model = IID(DecisionTreeClassifier())
        with pytest.raises(LabelError, match=r"sample=0\.1\), or more rows"):
            model.fit(dd.from_pandas(rows, npartitions=4), "late")


class TestValidation:
    def test_columns_are_taken_by_name(self, rows, table):
        held_out = table[["late", "c", "id", "b", "a"]]
        clf = Incremental(SGD)
        clf.fit(rows, "late", validation=(held_out, "late"))
        expected = clf.estimator_.score(table[FEATURES], table["late"])
        assert clf.validation_scores_ == [expected]

    def test_without_rows(self, rows, table):
        with pytest.raises(EmptyTableError, match="validation expects at least one"):
            Incremental(SGD).fit(rows, "late", validation=(table.iloc[:0], "late"))

    def test_of_an_estimator_without_a_score(self, frame):
        scaler = Incremental(StandardScaler())
        with pytest.raises(EstimatorTypeError, match="for validation="):
            scaler.fit(frame[FEATURES], validation=(frame[FEATURES], None))
