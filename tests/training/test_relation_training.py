"""Training and scoring straight from a DuckDB relation."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from functools import partial

import dask
import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LinearRegression, SGDClassifier, SGDRegressor
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from dfml import IID, Incremental, ParallelPostFit, _streams, predict_sql, read_sql
from dfml.exceptions import (
    CheckpointError,
    ColumnMismatchError,
    DfmlWarning,
    EmptyTableError,
    InputTypeError,
    LabelError,
    QueryError,
)
from dfml.sources import _lazy_frame, _spill
from tests.processes import local_cluster

N_ROWS = 20_000
COLUMNS = """
    hash(i) % 1000 / 1000.0::DOUBLE AS a,
    (hash(i + 1) % 1000)::INT AS b,
    (hash(i + 2) % 100 / 10)::FLOAT AS c,
    (hash(i + 3) % 100)::TINYINT AS small,
    hash(i + 4) % 2 = 0 AS flag,
    (hash(i + 5) % 1000 / 10)::DECIMAL(6, 1) AS price,
    CASE WHEN i > 9000 AND i % 50 = 0 THEN NULL ELSE i % 7 END AS gaps,
    CASE WHEN hash(i) % 3 = 0 THEN 'yes' ELSE 'no' END AS late,
    CASE WHEN hash(i) % 3 = 0 THEN 'much' ELSE 'little' END::ENUM('much', 'little')
        AS load,
    1 + i % 3 AS weight,
    i
"""


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        connection.execute("SET threads = 4")
        connection.execute(
            f"CREATE TABLE t AS SELECT {COLUMNS} FROM range({N_ROWS}) t(i)"
        )
        yield connection


@pytest.fixture(autouse=True)
def short_partitions(monkeypatch):
    """Partitions of some thousand rows where they would have hundreds of thousands."""
    monkeypatch.setattr(_spill, "BATCH_BYTES", 2**15)
    monkeypatch.setattr(_lazy_frame, "PARTITION_BYTES", 2**17)


@pytest.fixture(autouse=True)
def spills(tmp_path):
    directory = tmp_path / "spills"
    with dask.config.set({"dfml.spill-directory": str(directory)}):
        yield directory
    gc.collect()
    assert list_spills(directory) == []


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name.startswith("dfml")] == []


def list_spills(directory):
    return list(directory.glob("dfml-spill-*")) if directory.exists() else []


def sgd(**parameters):
    return SGDClassifier(random_state=0, **parameters)


def assert_same_model(one, other):
    for name in ("coef_", "intercept_", "t_", "n_iter_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def steps_of(model):
    names = ("epoch", "partition", "rows")
    return [tuple(row[name] for name in names) for row in model.history_]


# The same model as from the spilled frame, bit for bit


QUERIES = {
    "plain": "SELECT a, b, late FROM t",
    "filtered": "SELECT a, b, late FROM t WHERE hash(i + 9) % 3 = 0",
    "sorted": "SELECT a, b, late FROM t ORDER BY i DESC",
    "ints": "SELECT b, i, late FROM t",
    "flags": "SELECT flag, late FROM t",
    "floats of one width": "SELECT c, small, late FROM t",
    "decimals": "SELECT price, a, late FROM t",
    "enum label": "SELECT a, c, load AS late FROM t",
    "int label": "SELECT a, c, (late = 'yes')::INT AS late FROM t",
    "flag label": "SELECT a, c, late = 'yes' AS late FROM t",
    "one partition": "SELECT a, b, late FROM t LIMIT 500",
}


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_equals_the_spilled_frame(con, query, epochs):
    relation = con.sql(query)
    streamed = Incremental(sgd(), epochs=epochs).fit(relation, y="late")
    spilled = Incremental(sgd(), epochs=epochs).fit(read_sql(relation), y="late")

    assert_same_model(streamed, spilled)
    assert steps_of(streamed) == steps_of(spilled)
    assert streamed.classes_.tolist() == spilled.classes_.tolist()
    assert streamed.classes_.dtype == spilled.classes_.dtype
    assert streamed.n_samples_seen_ == epochs * len(relation)
    assert streamed._schemas == spilled._schemas
    assert streamed.score(relation) == spilled.score(read_sql(relation))


def test_dask_duckdb_and_pandas_give_one_model_and_one_answer(con):
    relation = con.sql("SELECT a, c, i, late FROM t")
    frame = read_sql(relation)
    rows = frame.compute()
    features = rows[["a", "c", "i"]]
    loop = sgd()
    for number in range(frame.npartitions):
        part = frame.get_partition(number).compute()
        loop.partial_fit(part[["a", "c", "i"]], part["late"], classes=["no", "yes"])
    assert frame.npartitions > 3
    models = [Incremental(sgd()).fit(each, y="late") for each in (relation, frame)]
    # A pandas table is one partition, as is a relation in a single one.
    whole = Incremental(sgd()).fit(rows, y="late")
    one = Incremental(sgd()).fit(frame.repartition(npartitions=1), y="late")

    for model in models:
        assert_same_model(model.estimator_, loop)
        expected = loop.predict(features)
        answers = {
            "pandas": model.predict(features),
            "dask": model.predict(frame).compute(),
            "duckdb": predict_sql(model, relation, name="p").order("i").df()["p"],
        }
        for kind, answer in answers.items():
            np.testing.assert_array_equal(np.asarray(answer), expected, kind)
    assert_same_model(whole.estimator_, one.estimator_)


class Recorder(SGDClassifier):
    """Notes what it was given."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        self.given_ = [*getattr(self, "given_", []), (X, y, sample_weight)]
        return super().partial_fit(
            X.fillna(0), y, classes=classes, sample_weight=sample_weight
        )


@pytest.mark.parametrize(
    "columns",
    [
        "gaps, a",
        "gaps, c",  # a null in the third block makes all of them float64
        "small, c",
        "gaps, b",
        "flag, CASE WHEN i < 19000 THEN flag END AS maybe",
        "CASE WHEN i > 5000 THEN flag END AS maybe, c",
    ],
)
def test_arrays_equal_those_of_the_spilled_frame(con, columns):
    relation = con.sql(f"SELECT {columns}, late, weight FROM t ORDER BY i")
    given = []
    for X in (relation, read_sql(relation)):
        model = Incremental(Recorder(random_state=0), epochs=2)
        model.fit(X, y="late", sample_weight="weight")
        given.append(model.estimator_.given_)

    assert len(given[0]) == len(given[1]) > 4
    is_float = "c" in columns.split(", ")[-1] or columns.endswith("a")
    for (X, y, weight), (other_X, other_y, other_weight) in zip(*given, strict=True):
        # Whole numbers stay what they are in blocks without a null.
        pd.testing.assert_frame_equal(X, other_X, check_dtype=is_float)
        np.testing.assert_array_equal(y, other_y)
        np.testing.assert_array_equal(weight, other_weight)
        assert y.dtype == other_y.dtype
        assert weight.dtype == other_weight.dtype
        assert np.asarray(X).flags.c_contiguous


class TakesFrames(SGDClassifier):
    """Takes text beside numbers, and encodes it itself."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        self.frames_ = [*getattr(self, "frames_", []), X]
        X = X.assign(word=X["word"].str.len()).astype("float64").fillna(-1)
        return super().partial_fit(X, y, classes=classes, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


def test_frames_with_text_equal_those_of_the_spilled_frame(con):
    relation = con.sql(
        "SELECT CASE WHEN i % 9 > 0 THEN 'w' || i % 100 END AS word, gaps, flag, "
        "CASE WHEN i > 1000 THEN flag END AS maybe, a, late FROM t"
    )
    models = [
        Incremental(TakesFrames(random_state=0)).fit(X, y="late")
        for X in (relation, read_sql(relation))
    ]
    frames = zip(*(model.estimator_.frames_ for model in models), strict=True)
    for streamed, spilled in frames:
        pd.testing.assert_frame_equal(streamed, spilled.reset_index(drop=True))
    assert_same_model(*models)


def test_several_targets(con):
    relation = con.sql("SELECT a, b, late, load FROM t")
    estimator = MultiOutputClassifier(sgd())
    streamed = Incremental(estimator).fit(relation, y=["late", "load"])
    spilled = Incremental(estimator).fit(read_sql(relation), y=["late", "load"])

    for one, other in zip(streamed.estimators_, spilled.estimators_, strict=True):
        assert_same_model(one, other)
    assert streamed.score(relation) == spilled.score(read_sql(relation))


@pytest.mark.parametrize("estimator", [StandardScaler(), GaussianNB()])
@pytest.mark.parametrize("epochs", [1, 2])
def test_merged_models_have_the_same_bits(con, estimator, epochs):
    is_classifier = isinstance(estimator, GaussianNB)
    y = {"y": "late"} if is_classifier else {}
    relation = con.sql(
        "SELECT a, b, late FROM t" if is_classifier else "SELECT a FROM t"
    )
    models = [
        Incremental(estimator, epochs=epochs).fit(X, **y)
        for X in (relation, read_sql(relation))
    ]

    for name in ("theta_", "var_") if is_classifier else ("mean_", "var_"):
        one, other = (getattr(model, name) for model in models)
        np.testing.assert_array_equal(one, other)
    assert steps_of(models[0]) == steps_of(models[1])


def test_partial_fit_takes_columns_by_name(con):
    first = con.sql("SELECT a, b, late FROM t WHERE i < 9000")
    second = con.sql("SELECT 'x' AS more, late, b, a FROM t WHERE i >= 9000")
    streamed = Incremental(sgd()).partial_fit(first, y="late")
    streamed.partial_fit(second, y="late")
    spilled = Incremental(sgd()).partial_fit(read_sql(first), y="late")
    spilled.partial_fit(read_sql(second.select("late, b, a")), y="late")

    assert_same_model(streamed, spilled)
    assert streamed.n_samples_seen_ == N_ROWS


def test_the_rows_of_an_int_sixty_four_are_whole(con):
    relation = con.sql("SELECT i + 9007199254740993 AS big, i % 2 AS y FROM t")
    model = Incremental(Recorder(random_state=0)).fit(relation, y="y")

    first = model.estimator_.given_[0][0]
    assert first["big"].dtype == "int64"
    assert first["big"].iloc[0] == 9007199254740993


@pytest.mark.parametrize("look_ahead", [0, 1, 5])
def test_look_ahead_does_not_touch_the_model(con, look_ahead):
    relation = con.sql("SELECT a, b, late FROM t")
    model = Incremental(sgd(), look_ahead=look_ahead, epochs=2)
    assert_same_model(
        model.fit(relation, y="late"),
        Incremental(sgd(), epochs=2).fit(relation, "late"),
    )


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(con, scheduler):
    relation = con.sql("SELECT a, b, late FROM t")
    expected = Incremental(sgd(), epochs=2).fit(relation, y="late")
    with dask.config.set(scheduler=scheduler, num_workers=2):
        assert_same_model(
            Incremental(sgd(), epochs=2).fit(relation, y="late"), expected
        )


@pytest.mark.distributed
def test_a_cluster_reads_the_spill(con, caplog):
    relation = con.sql("SELECT a, b, late FROM t")
    expected = Incremental(sgd()).fit(relation, y="late")
    with local_cluster(n_workers=1), caplog.at_level(logging.INFO, "dfml"):
        model = Incremental(sgd()).fit(relation, y="late")
        assert model.score(relation) == expected.score(relation)
    assert "the workers of a cluster read them" in caplog.text
    assert_same_model(model, expected)


# What runs, and how often


@pytest.fixture
def calls(con):
    """A function of SQL that notes each call."""
    noted = []

    def note(x: float) -> float:
        noted.append(x)
        return x

    con.create_function("note", note, side_effects=True)
    return noted


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("classes", [None, ["no", "yes"]])
def test_features_are_computed_once(con, calls, epochs, classes):
    relation = con.sql("SELECT note(a) AS a, late FROM t WHERE i < 5000")
    Incremental(sgd(), epochs=epochs).fit(relation, y="late", classes=classes)

    # The classes are found without them.
    assert len(calls) == 5000


def test_one_pass_writes_nothing(con, spills):
    Incremental(sgd()).fit(con.sql("SELECT a, late FROM t"), y="late")

    assert not spills.exists()


def test_more_passes_write_the_rows_once(con, spills):
    seen = []

    class Looks(SGDClassifier):
        def partial_fit(self, X, y, classes=None):
            seen.append(len(list_spills(spills)))
            return super().partial_fit(X, y, classes=classes)

    relation = con.sql("SELECT a, late FROM t")
    Incremental(Looks(random_state=0), epochs=3).fit(relation, y="late")

    assert set(seen) == {1}


def test_blocks_in_memory_are_not_read_again(con, monkeypatch):
    reads = []
    read = _spill.Spill.read

    def noting(self, *args):
        reads.append(args)
        return read(self, *args)

    monkeypatch.setattr(_spill.Spill, "read", noting)
    relation = con.sql("SELECT a, b, late FROM t")
    expected = Incremental(sgd(), epochs=3).fit(relation, y="late")
    assert len(reads) > 2
    reads.clear()
    with dask.config.set({"dfml.memory-budget": "100 MB"}):
        kept = Incremental(sgd(), epochs=3).fit(relation, y="late")

    assert_same_model(kept, expected)
    assert len(reads) <= 1  # for its columns


def test_it_runs_where_the_relation_is_at_home(con):
    con.register("frame", pd.DataFrame({"i": range(100), "extra": 1.0}))
    con.execute("CREATE TEMP TABLE more AS SELECT 200 + i AS i FROM range(100) t(i)")
    con.begin()
    con.execute("DELETE FROM t WHERE i < 50")
    relation = con.sql(
        "SELECT a, late FROM t WHERE i IN (FROM more) OR i IN (SELECT i FROM frame)"
    )
    with pytest.warns(DfmlWarning, match="another order"):
        model = Incremental(sgd()).fit(relation, y="late")
    con.rollback()

    assert model.n_samples_seen_ == 150


def test_settings_of_the_user_stay(con):
    query = "SELECT name, value FROM duckdb_settings() ORDER BY name"
    before = con.sql(query).fetchall()
    relation = con.sql("SELECT a, b, c, small, late FROM t ORDER BY i")
    Incremental(sgd(), epochs=2).fit(relation, y="late").score(relation)
    IID(DecisionTreeClassifier(), sample=100).fit(relation, y="late")

    assert con.sql(query).fetchall() == before


def test_parameters_of_the_query(con):
    relation = con.sql("SELECT a, late FROM t WHERE i < $n", params={"n": 3000})
    model = Incremental(sgd()).fit(relation, y="late")

    assert model.n_samples_seen_ == 3000


def test_at_most_look_ahead_blocks_wait(con, monkeypatch):
    made, trained, excess = [], [], []
    make = _streams.make_block_maker

    def noting(*args):
        made.append(1)
        return make(*args)

    class Slow(SGDClassifier):
        def partial_fit(self, *args, **kwargs):
            if len(trained) in (1, 2):
                event.wait(0.3)  # as long as somebody might read too much
            excess.append(len(made) - len(trained) - 1)
            trained.append(1)
            return super().partial_fit(*args, **kwargs)

    event = threading.Event()
    monkeypatch.setattr(_streams, "make_block_maker", noting)
    for look_ahead in (0, 1, 2):
        for noted in (made, trained, excess):
            noted.clear()
        model = Incremental(Slow(random_state=0), look_ahead=look_ahead)
        model.fit(con.sql("SELECT a, b, late FROM t"), y="late", classes=["no", "yes"])
        assert max(excess) == look_ahead
        assert len(made) == model.n_partitions_seen_


# Order


def test_a_query_without_a_fixed_order_is_warned_of(con):
    query = "SELECT t.a, u.b, t.late FROM t JOIN t u USING (i)"
    with pytest.warns(DfmlWarning, match=r"Incremental.fit: .*HASH_JOIN") as caught:
        Incremental(sgd()).fit(con.sql(query), y="late")
    assert caught[0].filename == __file__

    # None of these warns.
    Incremental(sgd()).fit(con.sql(f"{query} ORDER BY t.i"), y="late")
    con.execute("SET preserve_insertion_order = false")
    with pytest.warns(DfmlWarning, match="preserve_insertion_order"):
        Incremental(sgd()).fit(con.sql("SELECT a, late FROM t"), y="late")
    con.execute("SET threads = 1")
    Incremental(sgd()).fit(con.sql(query), y="late")


# Classes


def test_classes_are_those_of_the_frame(con):
    texts = ("late", "load", "'é' || b % 4")
    for label in (*texts, "b % 30", "flag", "floor(price % 2)", "floor(c % 2)"):
        relation = con.sql(f"SELECT a, {label} AS y FROM t")
        streamed = Incremental(sgd()).fit(relation, y="y").classes_
        spilled = Incremental(sgd()).fit(read_sql(relation), y="y").classes_
        np.testing.assert_array_equal(streamed, spilled)
        assert streamed.dtype == spilled.dtype


def test_labels_that_a_collation_takes_for_one(con):
    con.execute("CREATE TABLE c (a DOUBLE, y VARCHAR COLLATE NOCASE)")
    con.execute("INSERT INTO c VALUES (1, 'Yes'), (2, 'yes'), (3, 'no')")

    model = Incremental(sgd()).fit(con.table("c"), y="y")

    assert model.classes_.tolist() == ["Yes", "no", "yes"]


def test_a_label_of_any_name(con):
    relation = con.sql("""SELECT a, late AS "n_rows", b AS "odd ""name" FROM t""")
    model = Incremental(sgd()).fit(relation, y="n_rows")
    assert model.feature_names_in_.tolist() == ["a", 'odd "name']
    numbers = relation.project('a, "odd ""name"')
    assert len(Incremental(sgd()).fit(numbers, y='odd "name').classes_) > 2


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("CASE WHEN i > 9990 THEN late END", "9991 missing in column 'y'"),
        ("CASE WHEN i % 2 = 0 THEN 'nan'::FLOAT ELSE i % 3 END", "10000 missing"),
        ("'yes'", r"only \['yes'\] in column 'y'"),
        ("i + 0.5::DOUBLE", "20,000 distinct values in column 'y'"),
    ],
)
def test_labels_that_are_refused_before_training(con, calls, label, message):
    relation = con.sql(f"SELECT note(a) AS a, {label} AS y FROM t")
    with pytest.raises(LabelError, match=message):
        Incremental(sgd()).fit(relation, y="y")
    assert calls == []
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_a_label_outside_the_classes(con):
    relation = con.sql(
        "SELECT a, CASE WHEN i = 19000 THEN 'x' ELSE late END AS y FROM t"
    )
    with pytest.raises(LabelError, match="1 others, such as \\['x'\\]") as caught:
        Incremental(sgd()).fit(relation, y="y", classes=["no", "yes"])
    number = 19000 // read_sql(relation).divisions[1]
    assert number > 1
    assert caught.value.__notes__ == [f"dfml: in partition {number}."]
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_a_null_label_among_given_classes(con):
    relation = con.sql("SELECT a, CASE WHEN i <> 19000 THEN late END AS y FROM t")
    with pytest.raises(LabelError, match="1 missing in column 'y'"):
        Incremental(sgd()).fit(relation, y="y", classes=["no", "yes"])


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize(
    ("estimator", "label", "classes"),
    [
        (SGDClassifier(), "CASE WHEN i <> 19000 THEN i % 2 = 0 END", [False, True]),
        (SGDRegressor(), "CASE WHEN i <> 19000 THEN i % 3 END", None),
    ],
)
def test_a_null_among_labels_of_a_nullable_type(
    con, estimator, label, classes, spilled
):
    relation = con.sql(f"""SELECT a, {label} AS "the ""y" FROM t""")
    table = read_sql(relation) if spilled else relation
    expected = r"""Incremental.fit expects a label in every row. Got 1 missing in """
    expected += r"""column 'the "y'(?s:.*) WHERE "the ""y" IS NOT NULL"""
    options = {} if classes is None else {"classes": classes}
    with pytest.raises(LabelError, match=expected):
        Incremental(estimator).fit(table, y='the "y', **options)


# Failing


def test_no_rows(con):
    relation = con.sql("SELECT a, late FROM t WHERE i < 0")
    for epochs in (1, 2):
        model = Incremental(sgd(), epochs=epochs)
        with pytest.raises(EmptyTableError):
            model.fit(relation, y="late", classes=["no", "yes"])
        assert not hasattr(model, "estimator_")
    with pytest.raises(EmptyTableError):
        Incremental(SGDRegressor()).fit(relation.project("a, a + 1 AS y"), y="y")


FAILURES = {
    "error": ("CASE WHEN i = 800000 THEN error('boom') ELSE i END", "boom"),
    "cast": ("CASE WHEN i = 800000 THEN 'x' ELSE '1' END::INT", "Could not convert"),
}


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize(("value", "message"), FAILURES.values(), ids=FAILURES)
def test_a_stream_that_fails_is_no_result(con, epochs, value, message):
    relation = con.sql("SELECT a, b, late FROM t")
    model = Incremental(sgd(), epochs=epochs).fit(relation, y="late")
    before = model.coef_.copy()
    failing = con.sql(
        f"SELECT {value} AS a, i AS b, CASE WHEN i % 2 = 0 THEN 'yes' ELSE 'no' END "
        "AS late FROM range(2000000) r(i)"
    )

    for call in (model.fit, model.partial_fit):
        with pytest.raises(QueryError) as caught:
            call(failing, y="late", classes=["no", "yes"])
        text = str(caught.value)
        assert text.startswith(f"Incremental.{call.__name__} expects a query")
        assert message in text
        assert "range(2000000)" in text
        assert any("in partition" in note for note in caught.value.__notes__)
        np.testing.assert_array_equal(model.coef_, before)
        assert model.n_samples_seen_ == epochs * N_ROWS
        assert con.execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(QueryError, match=r"(?s)Incremental.score .*range\(2000000\)"):
        model.score(failing)


def test_a_query_that_cannot_start(con):
    relation = con.sql("SELECT a, late FROM t")
    con.execute("DROP TABLE t")
    with pytest.raises(QueryError, match="fit expects a query"):
        Incremental(sgd()).fit(relation, y="late", classes=["no", "yes"])


def test_an_open_result_of_the_user(con):
    relation = con.sql("SELECT a, late FROM t")
    reader = relation.to_arrow_reader(10)
    with pytest.raises(QueryError, match="fetch or close the open result"):
        Incremental(sgd()).fit(relation, y="late", classes=["no", "yes"])
    assert sum(batch.num_rows for batch in reader) == N_ROWS


def test_types_that_do_not_fit(con):
    relation = con.sql("SELECT [a] AS list, late FROM t")
    with pytest.raises(QueryError, match=r"Incremental\.fit expects .* Got list"):
        Incremental(sgd()).fit(relation, y="late")
    relation = con.sql("SELECT a, a, late FROM t")
    with pytest.raises(QueryError, match=r"Incremental\.fit expects .* Got a, a"):
        Incremental(sgd()).fit(relation, y="late")


class Failing(SGDClassifier):
    def partial_fit(self, X, y, classes=None):
        if getattr(self, "t_", 1) > 5000:
            raise RuntimeError("enough")
        return super().partial_fit(X, y, classes=classes)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_step_that_fails(con, epochs):
    model = Incremental(Failing(random_state=0), epochs=epochs)
    with pytest.raises(RuntimeError, match="enough") as caught:
        model.fit(con.sql("SELECT a, b, late FROM t"), y="late")

    assert caught.value.__notes__ == ["dfml: in partition 1, epoch 0."]
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_names_and_kinds_are_checked_before_anything_runs(con, calls):
    relation = con.sql("SELECT note(a) AS a, 'x' AS text, late FROM t")
    numbers = relation.project("a, late")
    for message, error, kwargs in [
        ("'lat'", ColumnMismatchError, {"y": "lat"}),
        ("'w'", ColumnMismatchError, {"y": "late", "sample_weight": "w"}),
        ("a DuckDB relation, y: an in-memory", InputTypeError, {"y": np.zeros(3)}),
        ("y: a DuckDB relation", InputTypeError, {"y": numbers.project("late")}),
        ("y: a dask Series", InputTypeError, {"y": read_sql("SELECT 1 AS a").a}),
    ]:
        with pytest.raises(error, match=message):
            Incremental(sgd()).fit(numbers, **kwargs)
    with pytest.raises(ColumnMismatchError, match="text in"):
        Incremental(sgd()).fit(relation, y="late")
    assert calls == []


def test_checkpoints_need_rows_that_are_kept(con, tmp_path):
    relation = con.sql("SELECT a, b, late FROM t")
    folder = tmp_path / "checkpoints"
    with pytest.raises(CheckpointError, match="spill_to"):
        Incremental(sgd(), checkpoint=folder).fit(relation, y="late")
    kept = read_sql(relation, spill_to=tmp_path / "rows")
    model = Incremental(sgd(), checkpoint=folder).fit(kept, y="late")
    assert_same_model(model, Incremental(sgd()).fit(relation, y="late"))


# What watches


def test_validation_on_the_same_connection(con):
    relation = con.sql("SELECT a, b, late FROM t WHERE i < 15000")
    held_out = con.sql("SELECT late, b, a FROM t WHERE i >= 15000")
    streamed = Incremental(sgd(), epochs=3)
    streamed.fit(relation, y="late", validation=(held_out, "late"))
    spilled = Incremental(sgd(), epochs=3)
    spilled.fit(read_sql(relation), "late", validation=(read_sql(held_out), "late"))

    assert streamed.validation_scores_ == spilled.validation_scores_
    assert len(streamed.validation_scores_) == 3


def test_early_stopping_by_prequential_scores(con):
    relation = con.sql("SELECT a, b, late FROM t")
    models = [
        Incremental(sgd(), epochs=30, early_stopping=True, n_iter_no_change=2)
        for _ in range(2)
    ]
    streamed = models[0].fit(relation, y="late")
    spilled = models[1].fit(read_sql(relation), y="late")

    assert steps_of(streamed) == steps_of(spilled)
    assert 1 < len(streamed.validation_scores_) < 30
    assert streamed.validation_scores_ == spilled.validation_scores_
    assert_same_model(streamed, spilled)


class Notes:
    """A callback of scikit-learn that notes tasks and may ask to stop."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.tasks = []

    def setup(self, estimator, context):
        """Nothing to set up."""

    def teardown(self, estimator, context):
        """Nothing to take down."""

    def on_fit_task_begin(self, estimator, context):
        """Nothing at the beginning."""

    def on_fit_task_end(self, estimator, context, **kwargs):
        self.tasks.append((context.task_name, context.max_subtasks))
        n_partitions = sum(name == "partition" for name, _ in self.tasks)
        return self.stop_after is not None and n_partitions >= self.stop_after


def test_callbacks(con):
    pytest.importorskip("sklearn.callback")
    relation = con.sql("SELECT a, b, late FROM t")
    names = []
    for X in (relation, read_sql(relation)):
        notes = Notes()
        model = Incremental(sgd(), epochs=2).set_callbacks(notes)
        model.fit(X, y="late")
        names.append([name for name, _ in notes.tasks])
    assert names[0] == names[1]
    assert names[0].count("epoch") == 2


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_callback_that_stops(con, epochs):
    pytest.importorskip("sklearn.callback")
    model = Incremental(sgd(), epochs=epochs).set_callbacks(Notes(stop_after=2))
    model.fit(con.sql("SELECT a, b, late FROM t"), y="late")

    assert model.n_partitions_seen_ == 2
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_shuffle_spills_and_says_so(con, caplog):
    relation = con.sql("SELECT a, b, late FROM t")
    parameters = {"shuffle": True, "random_state": 3, "epochs": 2}
    with caplog.at_level(logging.INFO, logger="dfml"):
        model = Incremental(sgd(), **parameters).fit(relation, y="late")
    assert "spilled first: shuffle=True permutes" in caplog.text
    assert_same_model(
        model, Incremental(sgd(), **parameters).fit(read_sql(relation), y="late")
    )


def test_rows_that_are_written_down_are_said(con, caplog):
    with caplog.at_level(logging.INFO, logger="dfml"):
        Incremental(sgd(), epochs=2).fit(con.sql("SELECT a, late FROM t"), y="late")
    assert f"fit: the first pass has written {N_ROWS:,} rows to" in caplog.text


# Scores


@pytest.mark.parametrize("scoring", [None, "roc_auc", "neg_log_loss"])
@pytest.mark.parametrize("sample_weight", [None, "weight"])
def test_score_is_that_of_the_frame(con, scoring, sample_weight, spills):
    relation = con.sql("SELECT b, late, weight, a FROM t ORDER BY i")
    model = Incremental(sgd(loss="log_loss"), scoring=scoring)
    model.fit(con.sql("SELECT a, b, late FROM t"), y="late")
    streamed = model.score(relation, sample_weight=sample_weight)
    assert not spills.exists()
    assert streamed == model.score(read_sql(relation), sample_weight=sample_weight)


def test_score_of_a_regressor_and_of_clusters(con):
    relation = con.sql("SELECT a, b, i FROM t")
    rows = relation.df()
    line = LinearRegression().fit(rows[["a", "b"]], rows["i"])
    named = ParallelPostFit(line).score(relation, y="i")
    assert named == ParallelPostFit(line).score(read_sql(relation), y="i")
    assert named == pytest.approx(line.score(rows[["a", "b"]], rows["i"]))
    bare = LinearRegression().fit(rows[["a", "b"]].to_numpy(), rows["i"])
    assert ParallelPostFit(bare).score(relation, y="i") == named
    clusters = MiniBatchKMeans(2, random_state=0, n_init=1).fit(rows[["a", "b"]])
    assert ParallelPostFit(clusters).score(relation.project("a, b")) == pytest.approx(
        clusters.score(rows[["a", "b"]])
    )


def test_score_of_nothing(con):
    model = Incremental(sgd()).fit(con.sql("SELECT a, late FROM t"), y="late")
    with pytest.raises(EmptyTableError):
        model.score(con.sql("SELECT a, late FROM t WHERE i < 0"))
    with pytest.raises(ColumnMismatchError, match="missing: \\['a'\\]"):
        model.score(con.sql("SELECT b, late FROM t"))


# IID


def tree():
    return DecisionTreeClassifier(max_depth=4, random_state=0)


def assert_same_tree(one, other):
    for name in ("threshold", "feature", "value"):
        np.testing.assert_array_equal(
            getattr(one.tree_, name), getattr(other.tree_, name)
        )


def test_the_first_partition_is_that_of_the_frame(con, spills):
    relation = con.sql("SELECT a, b, late FROM t")
    streamed = IID(tree()).fit(relation, y="late")
    assert not spills.exists()
    spilled = IID(tree()).fit(read_sql(relation), y="late")

    assert_same_tree(streamed, spilled)
    assert streamed.n_samples_seen_ == spilled.n_samples_seen_ < N_ROWS
    assert streamed.partition_ == 0


def test_the_first_partition_does_not_run_the_rest(con):
    relation = con.sql(
        "SELECT a, CASE WHEN i > 1000000 THEN error('ran') ELSE i % 2 END AS y "
        "FROM range(100000000) r(i), (SELECT 0.5 AS a)"
    )
    model = IID(tree()).fit(relation.project("a::DOUBLE + y AS a, y"), y="y")
    assert model.n_samples_seen_ < 10_000
    assert con.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize("sample", ["random", 3000, 0.2])
def test_a_seed_draws_the_same_rows(con, sample, spills):
    relation = con.sql("SELECT a, b, late FROM t")
    models = []
    for threads in (4, 1, 4, 2):
        con.execute(f"SET threads = {threads}")
        model = IID(tree(), sample=sample, random_state=7)
        models.append(model.fit(relation, y="late"))
    for model in models[1:]:
        assert_same_tree(model, models[0])
        assert model.partition_ == models[0].partition_
    other = IID(tree(), sample=sample, random_state=8).fit(relation, y="late")
    assert not np.array_equal(other.tree_.value, models[0].tree_.value)
    assert not spills.exists()


@pytest.mark.parametrize(("sample", "n_samples"), [(3000, 3000), (0.2, 4000)])
def test_rows_are_drawn_over_the_whole_result(con, sample, n_samples):
    seen = []

    class Notes(LinearRegression):
        def fit(self, X, y):
            seen.append((X, y))
            return super().fit(X, y)

    model = IID(Notes(), sample=sample, random_state=0)
    model.fit(con.sql("SELECT a, i FROM t"), y="i")
    ((_, drawn),) = seen
    assert model.n_samples_seen_ == n_samples
    assert model.partition_ is None
    assert len(set(drawn.tolist())) == n_samples
    # As many from each quarter, but for chance.
    quarters = np.histogram(drawn, bins=4, range=(0, N_ROWS))[0]
    assert (abs(quarters - n_samples / 4) < 5 * np.sqrt(n_samples / 4)).all()


# The last one is above DuckDB's own limit.
@pytest.mark.parametrize("sample", [10 * N_ROWS, 2_000_000_000])
def test_a_sample_larger_than_the_table(con, sample):
    model = IID(tree(), sample=sample).fit(con.sql("SELECT a, late FROM t"), "late")
    assert model.n_samples_seen_ == N_ROWS


@pytest.mark.parametrize("sample", ["first", "random", 100, 0.5])
def test_a_sample_of_nothing(con, sample):
    with pytest.raises(EmptyTableError):
        IID(tree(), sample=sample).fit(
            con.sql("SELECT a, late FROM t WHERE i < 0"), "late"
        )


def test_a_sample_says_what_may_change(con):
    query = "SELECT t.a, t.late FROM t JOIN t u USING (i)"
    with pytest.warns(DfmlWarning, match=r"IID\.fit: .*HASH_JOIN"):
        IID(tree(), sample=100).fit(con.sql(query), y="late")


def test_classes_of_scikit_learn(con):
    from dfml.iid.tree import DecisionTreeClassifier as Tree

    relation = con.sql("SELECT a, b, late FROM t")
    model = Tree(max_depth=4, random_state=0).fit(relation, y="late")
    assert_same_tree(model, IID(tree()).fit(relation, y="late").estimator_)
    assert model.score(relation) == model.score(read_sql(relation))


# Ctrl-C


PROGRAM = """
import os, signal, sys, threading, time
import duckdb, dask, dfml
from sklearn.linear_model import SGDClassifier
from dfml.sources import _lazy_frame, _spill

_spill.BATCH_BYTES, _lazy_frame.PARTITION_BYTES = 2**15, 2**17
signal.signal(signal.SIGINT, signal.default_int_handler)
con = duckdb.connect()
con.execute("SET threads = 2")
con.execute("CREATE TEMP TABLE mine AS SELECT 42 AS a")
relation = con.sql({query!r})


told = []


class Told(SGDClassifier):
    def partial_fit(self, *args, **kwargs):
        super().partial_fit(*args, **kwargs)
        if self.t_ > {after} and not told:
            told.append(1)
            # The reader is as far ahead as it may be by then, or waits for DuckDB.
            threading.Timer({delay}, os.kill, [os.getpid(), signal.SIGINT]).start()
            time.sleep({sleep})
        return self


model = dfml.Incremental(Told(random_state=0), epochs={epochs})
begin = time.perf_counter()
try:
    model.fit(relation, y="y", classes=[0, 1])
except KeyboardInterrupt as interrupt:
    notes = interrupt.__notes__
else:
    sys.exit("was not interrupted")
rows = model.n_samples_seen_
whole = model.estimator_.t_ == 1 + rows
time.sleep(0.3)
assert model.n_samples_seen_ == rows and whole, (rows, model.estimator_.t_)
left = [t.name for t in threading.enumerate() if t.name.startswith("dfml")]
assert left == [], left
assert con.execute("FROM mine").fetchall() == [(42,)]
print(notes[-1], rows)
"""

STREAMS = {
    # Endless, for any test.
    "fast": "SELECT i / 7 AS a, i % 2 AS y FROM range(100000000000) t(i)",
    # The rows run dry while the query goes on: one read takes for ever.
    "dry": "SELECT i / 7 AS a, i % 2 AS y FROM range(100000000000) t(i) "
    "WHERE i < 400000 OR hash(i) % 1000000000000 = 1",
}


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("stream", STREAMS)
def test_ctrl_c(tmp_path, stream, epochs):
    program = PROGRAM.format(
        query=STREAMS[stream],
        epochs=epochs,
        after=20_000 if stream == "fast" else 370_000,
        delay=0.2 if stream == "fast" else 2,
        sleep=0.4 if stream == "fast" else 0,
    )
    environment = {**os.environ, "DASK_DFML__SPILL_DIRECTORY": str(tmp_path / "s")}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "estimator_ holds the model after" in done.stdout
    assert list_spills(tmp_path / "s") == []


def test_ctrl_c_before_the_first_row(con):
    endless = con.sql(
        "SELECT i AS a, i % 2 AS y FROM range(100000000000000) t(i) "
        "WHERE hash(i) % 10000000000000 = 5"
    )
    incremental, iid = Incremental(sgd()), IID(tree(), sample=10)
    line = ParallelPostFit(LinearRegression().fit([[0]], [0]))
    for call in (
        partial(incremental.fit, endless, y="y", classes=[0, 1]),
        partial(incremental.fit, endless, y="y"),
        partial(iid.fit, endless, y="y"),
        partial(line.score, endless, y="y"),
    ):
        timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call()
        timer.join()
        assert con.execute("SELECT 1").fetchall() == [(1,)]
    assert not hasattr(incremental, "estimator_")
    assert not hasattr(iid, "estimator_")


def test_a_failure_before_anybody_asks(con, monkeypatch):
    """The first rows are read before a block is asked for."""
    failing = con.sql(
        "SELECT i / 7 AS a, CASE WHEN i = 9000 THEN error('boom') ELSE i % 2 END AS y "
        "FROM range(1000000) t(i) WHERE i >= 8000"
    )
    slow = threading.Event()
    submit = _streams._Reader.submit

    def late(self, turn):
        slow.wait(0.2)  # the reader has failed by then
        return submit(self, turn)

    monkeypatch.setattr(_streams._Reader, "submit", late)
    with pytest.raises(QueryError, match="boom"):
        Incremental(sgd()).fit(failing, y="y", classes=[0, 1])
    assert con.execute("SELECT 1").fetchall() == [(1,)]
