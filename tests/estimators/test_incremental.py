from __future__ import annotations

import _thread
import functools
import operator
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal, assert_series_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from dfml import Incremental
from dfml.exceptions import (
    CheckpointError,
    ColumnMismatchError,
    DfmlWarning,
    EmptyTableError,
    EstimatorTypeError,
    InputTypeError,
    LabelError,
    PartitionMismatchError,
)
from dfml.training import _checkpoints
from tests.conftest import FEATURES, make_table, split_at
from tests.processes import started_as_by_users


def loop(
    estimator, frame, *, epochs=1, target="late", classes=("no", "yes"), **columns
):
    """Train by a plain loop of partial_fit over the partitions: the oracle."""
    model = clone(estimator)
    for _ in range(epochs):
        for delayed in frame.to_delayed():
            part = delayed.compute()
            if len(part):
                options = {name: part[column] for name, column in columns.items()}
                if classes is not None:
                    options["classes"] = np.array(classes)
                model.partial_fit(part[FEATURES], part[target], **options)
    return model


def make_sgd(**params):
    return SGDClassifier(loss="log_loss", random_state=0, **params)


class TestFit:
    @pytest.mark.parametrize("epochs", [1, 3])
    @pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
    def test_equals_the_plain_loop(self, frame, epochs, scheduler):
        expected = loop(make_sgd(), frame, epochs=epochs)
        with dask.config.set(scheduler=scheduler):
            clf = Incremental(make_sgd(), epochs=epochs)
            clf.fit(frame[[*FEATURES, "late"]], y="late")
        assert_array_equal(clf.coef_, expected.coef_)
        assert_array_equal(clf.intercept_, expected.intercept_)
        assert clf.estimator_.t_ == expected.t_

    def test_equals_the_plain_loop_on_processes(self, frame):
        expected = loop(make_sgd(), frame)
        on_processes = dask.config.set(scheduler="processes", num_workers=2)
        with started_as_by_users(), on_processes:
            clf = Incremental(make_sgd()).fit(frame[[*FEATURES, "late"]], y="late")
        assert_array_equal(clf.coef_, expected.coef_)

    def test_forms_of_y_are_equal(self, lake):
        frame = dd.read_parquet(lake)
        X = frame[FEATURES]
        models = [
            Incremental(make_sgd()).fit(frame[[*FEATURES, "late"]], y="late"),
            Incremental(make_sgd()).fit(X, frame["late"]),
            Incremental(make_sgd()).fit(X, frame[["late"]]),
            Incremental(make_sgd()).fit(
                X, (frame["amount"] > 0).map_partitions(_words)
            ),
        ]
        for model in models[1:]:
            assert_array_equal(model.coef_, models[0].coef_)

    def test_sample_weight_by_name_and_by_column(self, frame):
        expected = loop(make_sgd(), frame, sample_weight="weight")
        named = frame[[*FEATURES, "late", "weight"]]
        by_name = Incremental(make_sgd()).fit(named, "late", sample_weight="weight")
        by_column = Incremental(make_sgd()).fit(
            frame[FEATURES], frame["late"], sample_weight=frame["weight"]
        )
        assert_array_equal(by_name.coef_, expected.coef_)
        assert_array_equal(by_column.coef_, expected.coef_)
        assert by_name.feature_names_in_.tolist() == FEATURES

    def test_seeded_shuffle_is_repeatable_and_matters(self, frame):
        X = frame[[*FEATURES, "late"]]
        first, again, other = (
            Incremental(make_sgd(), shuffle=True, random_state=seed)
            .fit(X, "late")
            .coef_
            for seed in (0, 0, 1)
        )
        assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        assert not np.array_equal(first, Incremental(make_sgd()).fit(X, "late").coef_)

    def test_epochs_are_shuffled_differently(self, frame):
        class Recorder(BaseEstimator):
            def partial_fit(self, X, y=None):
                self.seen_ = [*getattr(self, "seen_", []), X["id"].tolist()]
                return self

        recorder = Incremental(Recorder(), epochs=2, shuffle=True, random_state=0)
        seen = recorder.fit(frame[["id"]]).estimator_.seen_
        assert len(seen) == 12
        ids = sorted(frame["id"].compute().tolist())
        for epoch in (seen[:6], seen[6:]):
            assert sorted(functools.reduce(operator.iadd, epoch, [])) == ids
        assert seen[:6] != seen[6:]

    def test_arrays(self, table):
        X = da.from_array(table[FEATURES].to_numpy(), chunks=(100, 2))
        y = da.from_array(table["late"].to_numpy(dtype="U3"), chunks=150)
        clf = Incremental(make_sgd()).fit(X, y)
        expected = make_sgd()
        for low in range(0, 600, 100):
            part = table.iloc[low : low + 100]
            expected.partial_fit(
                part[FEATURES].to_numpy(), part["late"], classes=["no", "yes"]
            )
        assert_array_equal(clf.coef_, expected.coef_)
        assert not hasattr(clf, "feature_names_in_")
        predicted = clf.predict(X)
        assert isinstance(predicted, da.Array)
        assert predicted.chunks == (X.chunks[0],)
        assert_array_equal(predicted, expected.predict(table[FEATURES].to_numpy()))
        assert clf.predict_proba(X).chunks == (X.chunks[0], (2,))

    def test_in_memory_is_a_loop_over_epochs(self, table):
        expected = make_sgd()
        for _ in range(2):
            expected.partial_fit(table[FEATURES], table["late"], ["no", "yes"])
        clf = Incremental(make_sgd(), epochs=2).fit(table[FEATURES], table["late"])
        assert_array_equal(clf.coef_, expected.coef_)
        named = Incremental(make_sgd(), epochs=2).fit(
            table[[*FEATURES, "late"]], "late"
        )
        assert_array_equal(named.coef_, expected.coef_)

    def test_polars_columns_by_name(self, table):
        polars = pytest.importorskip("polars")
        data = polars.DataFrame(table[[*FEATURES, "late"]].to_dict("list"))
        clf = Incremental(make_sgd()).fit(data, "late")
        expected = make_sgd().partial_fit(
            table[FEATURES], table["late"], classes=["no", "yes"]
        )
        assert_array_equal(clf.coef_, expected.coef_)

    def test_without_target(self, frame):
        scaler = Incremental(StandardScaler()).fit(frame[FEATURES])
        assert scaler.n_samples_seen_ == 600
        answer = scaler.transform(frame)
        assert answer.columns.tolist() == FEATURES
        assert answer.divisions == frame.divisions

    def test_several_targets(self, frame, table):
        names = ["amount", "weight"]
        model = Incremental(MultiOutputRegressor(SGDRegressor(random_state=0)))
        model.fit(frame[[*FEATURES, *names]], y=names)
        answer = model.predict(frame).compute()
        assert answer.columns.tolist() == ["prediction_amount", "prediction_weight"]
        assert_allclose(answer, model.estimator_.predict(table[FEATURES]), rtol=1e-12)
        lazily, eagerly = model.score(frame), model.score(table[FEATURES], table[names])
        assert lazily == pytest.approx(eagerly, rel=1e-12)

    def test_relation(self, table):
        duckdb = pytest.importorskip("duckdb")
        with duckdb.connect() as connection:
            connection.register("rows", table)
            relation = connection.sql("SELECT a, b, c, late FROM rows")
            clf = Incremental(make_sgd()).fit(relation, y="late")
            assert clf.score(relation) == clf.score(table[FEATURES], table["late"])
            assert len(clf.predict(relation)) == len(table)

    def test_counts(self, table):
        frame = split_at(table, [0, 100, 100, 250])
        clf = Incremental(make_sgd(), epochs=2).fit(frame[[*FEATURES, "late"]], "late")
        assert clf.n_partitions_seen_ == 6
        assert clf.n_samples_seen_ == 1200

    def test_the_given_estimator_is_untouched(self, frame):
        inner = make_sgd()
        clf = Incremental(inner).fit(frame[[*FEATURES, "late"]], "late")
        assert not hasattr(inner, "coef_")
        assert clf.estimator is inner

    def test_a_fitted_inner_estimator_does_not_count(self, table):
        inner = make_sgd().fit(table[FEATURES], table["late"])
        with pytest.raises(NotFittedError):
            Incremental(inner).predict(table[FEATURES])


def _words(late):
    return late.map({True: "yes", False: "no"})


class TestLabels:
    @pytest.mark.parametrize(
        "dtype", ["object", "str", "string", "category", "string[pyarrow]"]
    )
    def test_text_dtypes(self, table, dtype):
        expected = loop(make_sgd(), dd.from_pandas(table, npartitions=3))
        frame = dd.from_pandas(table.astype({"late": dtype}), npartitions=3)[
            [*FEATURES, "late"]
        ]
        clf = Incremental(make_sgd()).fit(frame, "late")
        assert_array_equal(clf.coef_, expected.coef_)
        assert clf.classes_.tolist() == ["no", "yes"]
        assert clf.score(frame) == expected.score(table[FEATURES], table["late"])

    @pytest.mark.parametrize("dtype", ["int8", "Int64", "boolean", "bool", "float32"])
    def test_number_dtypes(self, table, dtype):
        table["late"] = (table["late"] == "yes").astype(dtype)
        frame = dd.from_pandas(table, npartitions=3)[[*FEATURES, "late"]]
        clf = Incremental(make_sgd()).fit(frame, "late")
        assert len(clf.classes_) == 2
        assert clf.predict(frame).dtype == clf.classes_.dtype
        assert clf.score(frame) > 0.8

    def test_an_integer_label_that_is_float_in_one_partition(self, table):
        table["late"] = (table["late"] == "yes").astype("int64")
        parts = [table.iloc[:300], table.iloc[300:].astype({"late": "float64"})]
        frame = dd.from_map(lambda part: part, parts, meta=table.iloc[:0])
        clf = Incremental(make_sgd()).fit(frame[[*FEATURES, "late"]], "late")
        assert clf.classes_.tolist() == [0, 1]
        assert clf.classes_.dtype == np.int64

    def test_missing_labels_are_counted(self, table):
        table.loc[[5, 7, 400], "late"] = None
        frame = dd.from_pandas(table, npartitions=3)[[*FEATURES, "late"]]
        with pytest.raises(LabelError, match="3 missing in column 'late'"):
            Incremental(make_sgd()).fit(frame, "late")
        with pytest.raises(LabelError, match="missing in column 'late'"):
            Incremental(make_sgd()).fit(frame, "late", classes=["no", "yes"])

    def test_label_outside_classes_of_an_earlier_call(self, table, frame):
        clf = Incremental(make_sgd()).fit(frame[[*FEATURES, "late"]], "late")
        table.loc[450, "late"] = "perhaps"
        later = dd.from_pandas(table, npartitions=6)[[*FEATURES, "late"]]
        with pytest.raises(LabelError, match="'perhaps'") as caught:
            clf.partial_fit(later, "late")
        assert caught.value.__notes__ == ["dfml: in partition 4 of 6."]

    def test_label_outside_classes_names_the_partition(self, table):
        table.loc[450, "late"] = "perhaps"
        frame = dd.from_pandas(table, npartitions=6)[[*FEATURES, "late"]]
        clf = Incremental(make_sgd())
        with pytest.raises(LabelError, match="perhaps") as caught:
            clf.fit(frame, "late", classes=["no", "yes"])
        assert any("partition 4" in note for note in caught.value.__notes__)
        assert not hasattr(clf, "estimator_")

    def test_one_class_only(self, frame):
        late = frame[frame["late"] == "yes"][[*FEATURES, "late"]]
        with pytest.raises(LabelError, match=r"at least two classes.*'yes'"):
            Incremental(make_sgd()).fit(late, "late")

    def test_too_many_classes(self):
        values = pd.DataFrame({"a": 0.0, "y": [f"v{i}" for i in range(10_050)]})
        with pytest.raises(LabelError, match="at most 10,000 classes"):
            Incremental(make_sgd()).fit(dd.from_pandas(values, npartitions=2), "y")

    def test_a_continuous_target_is_refused(self, frame):
        with pytest.raises(ValueError, match="continuous"):
            Incremental(make_sgd()).fit(frame[[*FEATURES, "amount"]], "amount")

    def test_classes_missing_from_the_first_partition(self, table):
        ordered = table.sort_values("late", ignore_index=True)
        frame = dd.from_pandas(ordered, npartitions=6)[[*FEATURES, "late"]]
        clf = Incremental(make_sgd()).fit(frame, "late")
        assert clf.classes_.tolist() == ["no", "yes"]


class TestBadInput:
    def test_no_partial_fit(self, frame):
        with pytest.raises(EstimatorTypeError, match=r"dfml\.IID\(DecisionTree"):
            Incremental(DecisionTreeClassifier()).fit(frame, "late")

    @pytest.mark.parametrize("npartitions", [1, 3])
    def test_unequal_partitions(self, frame, npartitions):
        y = frame["late"].repartition(npartitions=npartitions)
        with pytest.raises(PartitionMismatchError, match=f"6 and {npartitions}"):
            Incremental(make_sgd()).fit(frame[FEATURES], y)

    def test_permuted_index(self, table, frame):
        permuted = table["late"].sample(frac=1, random_state=0)
        y = dd.from_pandas(permuted, npartitions=6, sort=False)
        clf = Incremental(make_sgd())
        with pytest.raises(PartitionMismatchError, match=r"partition 0.*another index"):
            clf.fit(frame[FEATURES], y, classes=["no", "yes"])
        assert not hasattr(clf, "estimator_")

    def test_mixed_kinds(self, table, frame):
        for y in (table["late"], table["late"].to_numpy(), da.ones(600, chunks=100)):
            with pytest.raises(InputTypeError, match="pass the column name"):
                Incremental(make_sgd()).fit(frame[FEATURES], y)

    def test_unknown_name(self, frame, table):
        for data in (frame, table):
            with pytest.raises(ColumnMismatchError, match="'tardy', columns"):
                Incremental(make_sgd()).fit(data, "tardy")

    def test_text_column_for_a_numeric_model(self, frame):
        frame = frame.assign(origin="JFK")
        with pytest.raises(ColumnMismatchError, match=r"text in \['origin'\]"):
            Incremental(make_sgd()).fit(frame[[*FEATURES, "origin", "late"]], "late")

    def test_all_partitions_empty(self, frame):
        empty = frame[frame["a"] > 1e9][[*FEATURES, "late"]]
        with pytest.raises(EmptyTableError):
            Incremental(make_sgd()).fit(empty, "late")
        with pytest.raises(EmptyTableError):
            Incremental(make_sgd()).fit(empty, "late", classes=["no", "yes"])

    def test_nan_where_the_estimator_refuses_it(self, table):
        table.loc[350, "b"] = np.nan
        frame = dd.from_pandas(table, npartitions=6)[[*FEATURES, "late"]]
        clf = Incremental(make_sgd())
        with pytest.raises(ValueError, match="contains NaN") as caught:
            clf.fit(frame, "late")
        assert any("partition 3" in note for note in caught.value.__notes__)
        assert not hasattr(clf, "estimator_")

    def test_a_failed_fit_keeps_the_earlier_model(self, table, frame):
        clf = Incremental(make_sgd()).fit(frame[[*FEATURES, "late"]], "late")
        before = clf.coef_.copy()
        table.loc[350, "b"] = np.nan
        broken = dd.from_pandas(table, npartitions=6)[[*FEATURES, "late"]]
        for method in (clf.fit, clf.partial_fit):
            with pytest.raises(ValueError, match="NaN"):
                method(broken, "late")
            assert_array_equal(clf.coef_, before)
            assert clf.n_partitions_seen_ == 6

    def test_duplicate_columns(self, frame):
        twice = frame[FEATURES].rename(columns={"b": "a"})
        with pytest.raises(ColumnMismatchError, match="twice"):
            Incremental(StandardScaler()).fit(twice)

    def test_an_error_while_loading_names_the_partition(self, table):
        def explode(part):
            if len(part) and part["id"].iloc[0] >= 1400:
                raise OSError("disk on fire")
            return part

        frame = dd.from_pandas(table, npartitions=6).map_partitions(
            explode, meta=table.iloc[:0]
        )
        for scheduler in ("synchronous", "threads"):
            with (
                dask.config.set(scheduler=scheduler),
                pytest.raises(OSError, match="on fire") as caught,
            ):
                Incremental(StandardScaler()).fit(frame[FEATURES])
            assert any("partition 4 of 6" in n for n in caught.value.__notes__)

    def test_parameters(self, frame):
        for params in ({"epochs": 0}, {"shuffle": "yes"}, {"look_ahead": -1}):
            with pytest.raises(ValueError, match="parameter of Incremental"):
                Incremental(make_sgd(), **params).fit(frame, "late")


class TestPartialFit:
    def test_goes_on(self, frame):
        X = frame[[*FEATURES, "late"]]
        clf = Incremental(make_sgd()).partial_fit(X, "late").partial_fit(X, "late")
        assert_array_equal(clf.coef_, loop(make_sgd(), frame, epochs=2).coef_)
        assert clf.n_partitions_seen_ == 12

    def test_columns_by_name(self, frame):
        data = frame[[*FEATURES, "late"]]
        expected = Incremental(make_sgd()).fit(data, "late").partial_fit(data, "late")
        turned = frame[["late", "id", "c", "b", "a"]]
        clf = Incremental(make_sgd()).fit(data, "late").partial_fit(turned, "late")
        assert_array_equal(clf.coef_, expected.coef_)
        with pytest.raises(ColumnMismatchError, match=r"missing: \['c'\]"):
            clf.partial_fit(frame[["a", "b", "late"]], "late")

    def test_earlier_lazy_predictions_keep_their_model(self, frame, table):
        clf = Incremental(make_sgd()).fit(frame[[*FEATURES, "late"]], "late")
        before = clf.decision_function(frame)
        expected = clf.decision_function(table[FEATURES])
        clf.partial_fit(table[FEATURES], table["late"])
        assert_allclose(before, expected, rtol=1e-12)


class Slow(ClassifierMixin, BaseEstimator):
    """Counts its steps, each long enough to be interrupted."""

    def partial_fit(self, X, y, classes=None):
        if classes is not None:
            self.classes_ = np.asarray(classes)
        time.sleep(0.1)
        self.n_steps_ = getattr(self, "n_steps_", 0) + 1
        return self

    def predict(self, X):
        return np.repeat(self.classes_[0], len(X))


class TestInterrupt:
    @pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
    def test_keeps_the_last_whole_partition(self, scheduler):
        table = make_table(4000)
        frame = dd.from_pandas(table, npartitions=40)[[*FEATURES, "late"]]
        clf = Incremental(Slow())
        timer = threading.Timer(0.55, _thread.interrupt_main)
        timer.start()
        with (
            dask.config.set(scheduler=scheduler),
            pytest.raises(KeyboardInterrupt) as e,
        ):
            clf.fit(frame, "late", classes=["no", "yes"])
        assert 1 <= clf.n_partitions_seen_ < 40
        assert clf.n_steps_ == clf.n_partitions_seen_
        said = f"after {clf.n_partitions_seen_} of 40 partitions"
        assert any(said in note for note in e.value.__notes__)
        assert len(clf.history_) == clf.n_partitions_seen_
        after = clf.n_steps_
        time.sleep(0.3)
        assert clf.n_steps_ == after
        assert len(clf.predict(frame).compute()) == 4000

    def test_before_the_first_partition_nothing_is_kept(self, table):
        def interrupt(part):
            raise KeyboardInterrupt

        frame = dd.from_pandas(table, npartitions=2)[[*FEATURES, "late"]]
        clf = Incremental(make_sgd())
        broken = frame.map_partitions(interrupt, meta=frame._meta)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(broken, "late", classes=["no", "yes"])
        assert not hasattr(clf, "estimator_")


class TestReading:
    def test_each_file_once_an_epoch_and_only_needed_columns(self, lake, monkeypatch):
        from dask.dataframe.io.parquet.arrow import ArrowDatasetEngine

        reads: list[tuple[int, tuple[str, ...]]] = []
        original = ArrowDatasetEngine.read_partition.__func__

        def read_partition(cls, fs, pieces, columns, *args, **kwargs):
            files = pieces if isinstance(pieces, list) else [pieces]
            reads.extend((Path(path).name, tuple(columns)) for path, *_ in files)
            return original(cls, fs, pieces, columns, *args, **kwargs)

        monkeypatch.setattr(
            ArrowDatasetEngine, "read_partition", classmethod(read_partition)
        )
        frame = dd.read_parquet(lake)
        names = sorted(path.name for path in lake.iterdir())
        needed = {"X and y": [FEATURES, "late"], "name": [[*FEATURES, "late"], None]}
        for features, label in needed.values():
            reads.clear()
            y = "late" if label is None else frame[label]
            Incremental(make_sgd(), epochs=2).fit(frame[features], y)
            rows = (*FEATURES, "late")
            assert sorted(f for f, columns in reads if columns == rows) == sorted(
                names * 2
            )
            assert sorted(f for f, columns in reads if columns == ("late",)) == names
            assert len(reads) == 3 * len(names)
        filtered = frame[frame["amount"] > 0]
        reads.clear()
        Incremental(make_sgd()).fit(
            filtered[FEATURES], filtered["id"] > 1300, classes=[False, True]
        )
        assert sorted(f for f, _ in reads) == names

    def test_shared_work_is_done_once(self, table):
        calls = []

        def count(part):
            calls.append(len(part))
            return part

        frame = dd.from_pandas(table, npartitions=6).map_partitions(
            count, meta=table.iloc[:0]
        )
        with dask.config.set({"dataframe.shuffle.method": "tasks"}):
            shuffled = frame.shuffle("id")[[*FEATURES, "late"]]
            Incremental(make_sgd(), epochs=3).fit(shuffled, "late")
        assert len(calls) == 6

    def test_an_order_that_is_not_fixed_is_warned_about(self, frame):
        shuffled = frame.shuffle("id", shuffle_method="disk")[[*FEATURES, "late"]]
        with pytest.warns(DfmlWarning, match="another order on each run"):
            Incremental(make_sgd()).fit(shuffled, "late")

    def test_look_ahead_bounds_what_is_loaded(self, table):
        loaded, trained = [], []

        def load(part):
            loaded.append(1)
            return part

        class Watch(BaseEstimator):
            def partial_fit(self, X, y=None):
                time.sleep(0.02)
                trained.append(len(loaded))
                return self

        frame = dd.from_pandas(make_table(4000), npartitions=40).map_partitions(
            load, meta=table.iloc[:0]
        )
        with dask.config.set(scheduler="threads", num_workers=8):
            Incremental(Watch(), look_ahead=2).fit(frame[FEATURES])
        # In step i (from 1), i partitions are trained or in training, and 2 ahead.
        assert all(n <= i + 2 for i, n in enumerate(trained, start=1))


EXPRESSIONS = {
    "filter": lambda f: f[f["a"] > 0.5],
    "emptied": lambda f: f[f["id"] > 1450],
    "set_index": lambda f: f.set_index("id", drop=False),
    "fewer": lambda f: f.repartition(npartitions=3),
    "more": lambda f: f.repartition(npartitions=13),
    "merge": lambda f: f.merge(
        pd.DataFrame({"late": ["yes", "no"], "k": [1, 2]}), on="late"
    ),
    "merge dask": lambda f: f.merge(
        f[["id"]].rename(columns={"id": "j"}), left_on="id", right_on="j"
    ),
    "concat": lambda f: dd.concat([f, f]),
    "shuffle": lambda f: f.shuffle("late", shuffle_method="tasks"),
    "persist": lambda f: f.persist(),
    "map": lambda f: f.map_partitions(lambda part: part.iloc[::2]),
    "unknown divisions": lambda f: f.clear_divisions(),
    "string index": lambda f: f.assign(k=f["id"].astype(str)).set_index(
        "k", sort=False
    ),
}


class TestLoweredExpressions:
    @pytest.mark.parametrize("name", EXPRESSIONS)
    @pytest.mark.parametrize("source", ["pandas", "parquet"])
    def test_fit_and_predict(self, name, source, frame, lake):
        base = frame if source == "pandas" else dd.read_parquet(lake)
        with dask.config.set({"dataframe.shuffle.method": "tasks"}):
            self._check(EXPRESSIONS[name](base))

    def _check(self, derived):
        clf = Incremental(make_sgd()).fit(derived[FEATURES], derived["late"])
        # Persisted first, so that the oracle sees the same partitions.
        expected = loop(make_sgd(), _as_lowered(derived))
        assert_array_equal(clf.coef_, expected.coef_)
        answer = derived.assign(p=clf.predict(derived)).compute()
        proba = clf.predict_proba(derived)
        assert_array_equal(answer["p"], expected.predict(answer[FEATURES]))
        assert proba.divisions == derived.divisions
        assert proba.npartitions == derived.npartitions
        assert_frame_equal(
            answer.drop(columns="p"), derived.compute(), check_dtype=True
        )


def _as_lowered(frame):
    with dask.config.set({"optimization.tune.active": False}):
        return frame.optimize().persist()


class TestScikitLearn:
    def test_hasattr_tells_the_truth(self):
        hinge = Incremental(SGDClassifier())
        assert not hasattr(hinge, "predict_proba")
        assert not hasattr(hinge, "transform")
        assert hasattr(Incremental(make_sgd()), "predict_proba")
        assert not hasattr(Incremental(StandardScaler()), "predict")
        assert not hasattr(Incremental(StandardScaler()), "score")
        assert is_classifier(hinge)

    def test_clone_and_params(self):
        clf = Incremental(make_sgd(alpha=0.1), epochs=3)
        clf.set_params(estimator__alpha=0.2, epochs=4)
        again = clone(clf)
        assert again.get_params()["estimator__alpha"] == 0.2
        assert again.epochs == 4

    def test_a_fitted_model_pickles_without_data(self, table, frame):
        clf = Incremental(make_sgd()).fit(frame[[*FEATURES, "late"]], "late")
        pickled = pickle.dumps(clf)
        assert len(pickled) < 5000
        again = pickle.loads(pickled)
        assert_series_equal(
            again.predict(frame).compute(), clf.predict(frame).compute()
        )

    def test_kmeans_score_is_the_sum(self, frame, table):
        model = Incremental(MiniBatchKMeans(3, random_state=0, n_init=1))
        model.fit(frame[FEATURES])
        assert model.score(frame) == pytest.approx(model.score(table[FEATURES]))

    def test_naive_bayes(self, frame):
        clf = Incremental(GaussianNB(), merge=False)
        clf.fit(frame[[*FEATURES, "late"]], "late")
        assert_array_equal(clf.theta_, loop(GaussianNB(), frame).theta_)


class TestHistory:
    def test_one_entry_a_step(self, table):
        frame = split_at(table, [100, 100, 300])[[*FEATURES, "late"]]
        clf = Incremental(make_sgd(), epochs=2).fit(frame, "late")
        assert [
            (row["epoch"], row["partition"], row["rows"]) for row in clf.history_
        ] == [
            (epoch, number, rows)
            for epoch in (0, 1)
            for number, rows in enumerate([100, 0, 200, 300])
        ]
        assert "score" not in clf.history_[0]
        seconds = [v for row in clf.history_ for k, v in row.items() if "seconds" in k]
        assert len(seconds) == 24
        assert all(value >= 0 for value in seconds)

    def test_prequential_scores_are_of_the_model_before(self, frame, table):
        data = frame[[*FEATURES, "late"]]
        clf = Incremental(make_sgd(), prequential=True).fit(data, "late")
        model = make_sgd()
        for number in range(6):
            part = table.iloc[number * 100 : number * 100 + 100]
            if number:
                expected = model.score(part[FEATURES], part["late"])
                assert clf.history_[number]["score"] == expected
            model.partial_fit(part[FEATURES], part["late"], ["no", "yes"])
        assert "score" not in clf.history_[0]
        assert_array_equal(clf.coef_, model.coef_)

    def test_in_memory(self, table):
        clf = Incremental(make_sgd(), epochs=3).fit(table[FEATURES], table["late"])
        assert [row["rows"] for row in clf.history_] == [600] * 3


class TestEarlyStopping:
    @pytest.mark.parametrize("lazy", [False, True])
    def test_on_validation_rows(self, frame, table, lazy):
        held_out = make_table(200, seed=1)
        X = held_out[[*FEATURES, "late"]]
        validation = (dd.from_pandas(X, npartitions=2) if lazy else X, "late")
        clf = Incremental(
            make_sgd(), epochs=50, early_stopping=True, n_iter_no_change=2, tol=0.0
        )
        clf.fit(frame[[*FEATURES, "late"]], "late", validation=validation)
        scores = clf.validation_scores_
        assert 3 <= len(scores) < 50
        assert len(clf.history_) == 6 * len(scores)
        assert scores[-1] == clf.estimator_.score(held_out[FEATURES], held_out["late"])
        assert max(scores[-2:]) <= max(scores[:-2])

    def test_on_the_prequential_score(self, frame):
        clf = Incremental(make_sgd(), epochs=50, early_stopping=True, tol=0.01)
        clf.fit(frame[[*FEATURES, "late"]], "late")
        assert len(clf.validation_scores_) < 50

    def test_validation_alone_does_not_stop(self, frame, table):
        clf = Incremental(make_sgd(), epochs=4)
        clf.fit(
            frame[[*FEATURES, "late"]],
            "late",
            validation=(table[FEATURES], table["late"]),
        )
        assert len(clf.validation_scores_) == 4

    def test_needs_a_score(self, frame):
        scaler = Incremental(StandardScaler(), early_stopping=True)
        with pytest.raises(EstimatorTypeError, match="score"):
            scaler.fit(frame[FEATURES])


class Dies(SGDClassifier):
    """Ends the process in the middle of training, as a crash would."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        super().partial_fit(X, y, classes, sample_weight)
        time.sleep(0.02)
        return self


CRASHING = """
import os, sys, threading
import dask, dask.dataframe as dd
from tests.estimators.test_incremental import Dies, FEATURES
from dfml import Incremental

frame = dd.read_parquet(sys.argv[1])
clf = Incremental(Dies(random_state=0), epochs=20, shuffle=True, checkpoint=sys.argv[2])
threading.Timer(float(sys.argv[3]), os._exit, (9,)).start()
with dask.config.set(scheduler="threads"):
    clf.fit(frame[[*FEATURES, "late"]], "late")
os._exit(0)
"""


class TestCheckpoint:
    def test_goes_on_after_a_crash_of_the_process(self, lake, tmp_path):
        expected = Incremental(Dies(random_state=0), epochs=20, shuffle=True)
        data = dd.read_parquet(lake)[[*FEATURES, "late"]]
        folder = tmp_path / "checkpoints"
        died = subprocess.run(
            [sys.executable, "-c", CRASHING, str(lake), str(folder), "3.5"],
            cwd=Path(__file__).parents[2],
            check=False,
        )
        assert died.returncode == 9
        (job,) = folder.iterdir()
        assert (job / "checkpoint.pickle").exists()
        seed = int((job / "seed.json").read_text())
        clf = Incremental(Dies(random_state=0), epochs=20, shuffle=True)
        clf.set_params(checkpoint=folder).fit(data, "late")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Incremental, "_draw_seed", lambda _: seed)
            expected.fit(data, "late")
        assert_array_equal(clf.coef_, expected.coef_)
        assert clf.n_partitions_seen_ == 160

    def test_other_jobs_have_their_own(self, lake, tmp_path):
        data = dd.read_parquet(lake)
        parameters = {"estimator": make_sgd(), "epochs": 1}
        make_job = functools.partial(_checkpoints.Job, "fit", tmp_path)
        jobs = [
            make_job(data["a"], parameters),
            make_job(data["b"], parameters),
            make_job(data["a"], {**parameters, "epochs": 2}),
            make_job(data["a"], {**parameters, "estimator": make_sgd(alpha=1)}),
        ]
        assert len({job.folder for job in jobs}) == 4
        assert make_job(data["a"], parameters).folder == jobs[0].folder

    def test_other_versions_are_refused(self, tmp_path, lake, monkeypatch):
        job = _checkpoints.Job("fit", tmp_path, dd.read_parquet(lake), {})
        job.save(done=1)
        monkeypatch.setattr(_checkpoints, "_versions", lambda: {"scikit-learn": "9.9"})
        with pytest.raises(CheckpointError, match=r"9\.9"):
            job.load()

    def test_a_broken_checkpoint_is_refused(self, tmp_path, lake):
        job = _checkpoints.Job("fit", tmp_path, dd.read_parquet(lake), {})
        job.save(done=1)
        path = job.folder / "checkpoint.pickle"
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(CheckpointError, match="remove the folder"):
            job.load()

    def test_data_without_a_fixed_token(self, tmp_path):
        class Opaque:
            def __reduce__(self):
                raise TypeError("not for the road")

        class Node:
            _parameters = ("func",)
            operands = (Opaque(),)

        with pytest.raises(CheckpointError, match="to Parquet first"):
            _checkpoints.Job("fit", tmp_path, SimpleNamespace(expr=Node()), {})


class TestValidation:
    def test_is_a_pair(self, frame):
        clf = Incremental(make_sgd())
        for wrong in (frame, (frame,)):
            with pytest.raises(InputTypeError, match=r"validation=\(X, y\)"):
                clf.fit(frame[[*FEATURES, "late"]], "late", validation=wrong)

    def test_an_unknown_scorer_is_refused_before_any_work(self, frame):
        with pytest.raises(ValueError, match="rocauc"):
            Incremental(make_sgd(), scoring="rocauc").fit(frame, "late")

    def test_other_rows_are_another_job(self, frame, lake, tmp_path):
        data = dd.read_parquet(lake)[[*FEATURES, "late"]]
        folders = set()
        for validation in (None, (make_table(50), "late"), (make_table(50, 1), "late")):
            clf = Incremental(Slow(), checkpoint=tmp_path / "kept", prequential=False)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_checkpoints.Job, "remove", lambda self: None)
                if validation is not None:
                    validation = (validation[0][[*FEATURES, "late"]], "late")
                clf.fit(data, "late", classes=["no", "yes"], validation=validation)
            folders.add(len(list((tmp_path / "kept").iterdir())))
        assert folders == {1, 2, 3}

    def test_no_feature(self, frame):
        with pytest.raises(ColumnMismatchError, match="at least one feature"):
            Incremental(make_sgd()).fit(frame[["late"]], "late")
