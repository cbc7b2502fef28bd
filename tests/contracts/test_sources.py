"""What every source of predict_table keeps, whatever it is."""

from __future__ import annotations

import datetime as dt
import json
import pickle
import struct
import subprocess
import sys
from decimal import Decimal

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression, SGDClassifier

import dfml
from dfml.exceptions import BadFileError, SourceError, TargetExistsError
from dfml.sources._open import open_table
from tests.contracts.sources import KINDS
from tests.processes import local_cluster

pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("x", pa.float64()),
        ("n", pa.int32()),
        ("flag", pa.bool_()),
        ("text", pa.string()),
        ("day", pa.date32()),
        ("when", pa.timestamp("us")),
        ("instant", pa.timestamp("us", "UTC")),
        ("price", pa.decimal128(9, 2)),
    ]
)
DAY = dt.date(2024, 2, 29)


def make_rows(start, stop):
    ids = range(start, stop)
    moments = [dt.datetime(2024, 2, 29, 1, 2, 3, 4 + i) for i in ids]
    rows = {
        "id": list(ids),
        "x": [None if i % 7 == 5 else i / 2 for i in ids],
        "n": [None if i % 5 == 3 else i for i in ids],
        "flag": [None if i % 4 == 3 else i % 2 == 0 for i in ids],
        "text": [None if i % 3 == 2 else f"t{i}" for i in ids],
        "day": [DAY + dt.timedelta(i) for i in ids],
        "when": moments,
        "instant": moments,
        "price": [Decimal(i) / 4 for i in ids],
    }
    return pa.table(rows, SCHEMA)


FILES = [make_rows(0, 8), make_rows(8, 9), make_rows(9, 20)]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


@pytest.fixture
def source(kind, tmp_path):
    return kind.make(tmp_path, SCHEMA, FILES)


def read_all(table, names):
    schema = table.schema(names)
    read = [each for part in table.parts for each in part.read("read", schema)]
    return pa.concat_tables([schema.empty_table(), *read])


# Tables and parts


def test_rows_are_all_there_with_their_values(source):
    table = open_table("read", source)

    rows = read_all(table, table.names).to_pylist()

    expected = pa.concat_tables(FILES).to_pylist()
    if "query" in str(table.version()):  # as in read_sql
        for row in expected:
            row["day"] = dt.datetime.combine(row["day"], dt.time())
            row["price"] = float(row["price"])
    by_id = {row["id"]: row for row in rows}
    assert [by_id[row["id"]] for row in expected] == expected
    assert len(rows) == len(expected) == table.n_rows
    assert table.names == SCHEMA.names


def test_parts_read_what_they_say(source):
    table = open_table("read", source)

    numbers = [part.number for part in table.parts]
    assert numbers == list(range(len(table.parts)))
    assert len({json.dumps(part.key) for part in table.parts}) == len(table.parts)
    for part in table.parts:
        for names in (["text", "id"], ["n"], table.names[::-1]):
            schema = table.schema(names)
            assert schema.names == names
            read = list(part.read("read", schema))
            assert all(each.schema == schema for each in read)
            assert sum(each.num_rows for each in read) == part.n_rows
            sent = list(pickle.loads(pickle.dumps(part)).read("read", schema))
            assert pa.concat_tables(sent).equals(pa.concat_tables(read))


def test_version_changes_with_the_rows_and_only_then(kind, tmp_path):
    def version(files):
        table = open_table("read", kind.make(tmp_path, SCHEMA, files))
        return json.dumps([table.version(), [part.key for part in table.parts]])

    assert version(FILES) == version(FILES) != version([*FILES, make_rows(20, 21)])


def test_table_says_what_it_is(source):
    table = open_table("the call", source)

    assert table.where == "the call"
    assert table.describe()
    assert all(part.describe() for part in table.parts)


# predict_table


@pytest.fixture
def model():
    rows = pa.concat_tables(FILES).to_pandas()[["id"]]
    return LinearRegression().fit(rows, 2 * rows["id"] + 1)


def test_predict_table_and_again(kind, tmp_path, model):
    source = kind.make(tmp_path, SCHEMA, FILES)
    report = dfml.predict_table(model, source, tmp_path / "out", keep=["id", "text"])
    same = kind.make(tmp_path, SCHEMA, FILES)
    again = dfml.predict_table(model, same, tmp_path / "out", keep=["id", "text"])

    assert (report.rows, again.predicted_rows, again.job) == (20, 0, report.job)
    scored = pq.read_table(tmp_path / "out").to_pandas().sort_values("id")
    np.testing.assert_allclose(scored["prediction"], 2 * scored["id"] + 1)
    assert scored["text"].isna().sum() == 6
    more = kind.make(tmp_path, SCHEMA, [*FILES, make_rows(20, 25)])
    with pytest.raises(TargetExistsError):
        dfml.predict_table(model, more, tmp_path / "out", keep=["id", "text"])


def test_predict_table_goes_on_where_it_stopped(kind, tmp_path, model, monkeypatch):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 1:
            raise Stop

    if kind.name == "query":
        monkeypatch.setattr("dfml.sources._spill.MAX_BATCH_ROWS", 8)
        monkeypatch.setattr("dfml.sources._row_groups.PART_BYTES", 1)
    source = kind.make(tmp_path, SCHEMA, FILES)
    with pytest.raises(Stop):
        dfml.predict_table(model, source, tmp_path / "out", progress=stop)

    same = kind.make(tmp_path, SCHEMA, FILES)
    report = dfml.predict_table(model, same, tmp_path / "out")

    assert (report.parts, report.resumed_parts, report.rows) == (3, 1, 20)
    scored = pq.read_table(tmp_path / "out")
    assert sorted(scored["id"].to_pylist()) == list(range(20))


@pytest.mark.parametrize("kind", KINDS[:3], ids=lambda kind: kind.name)
def test_target_inside_the_source_is_refused(source, model):
    place = getattr(source, "location", lambda: source)().removeprefix("file://")

    for target in (f"{place}/out", place):
        with pytest.raises(TargetExistsError):
            dfml.predict_table(model, source, target, mode="overwrite")


@pytest.mark.distributed
def test_cluster(tmp_path, model):
    with local_cluster():
        for kind in KINDS:
            source = kind.make(tmp_path, SCHEMA, FILES)
            target = tmp_path / f"from {kind.name}"
            report = dfml.predict_table(model, source, target, keep=["id"])
            again = dfml.predict_table(
                model, kind.make(tmp_path, SCHEMA, FILES), target, keep=["id"]
            )
            assert (report.rows, again.predicted_rows) == (20, 0)
            scored = pq.read_table(target).to_pandas().sort_values("id")
            np.testing.assert_allclose(scored["prediction"], 2 * scored["id"] + 1)
            if kind.read is not None:
                assert len(kind.read(source)[["id"]].compute()) == 20


# Frames


LAZY = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.read], ids=lambda kind: kind.name
)


@LAZY
def test_dtypes_are_those_of_the_meta_in_every_partition(kind, source):
    frame = kind.read(source)

    for names in (list(frame.columns), ["flag", "id"], ["text"]):
        for i in range(frame.npartitions):
            part = frame[names].partitions[i].compute()
            pd.testing.assert_series_equal(part.dtypes, frame[names].dtypes)
            assert part.index[0] == frame.divisions[i]
    whole = frame.compute()
    assert whole.index.tolist() == list(range(20))
    assert whole["n"].dtype == "Int32"
    assert whole["id"].dtype == "int64"
    expected = make_rows(0, 20).to_pandas(types_mapper=pd.ArrowDtype)
    ordered = whole.sort_values("id", ignore_index=True)
    for name in ("id", "x", "n", "flag", "text", "when", "instant"):
        left, right = ordered[name], expected[name]
        assert left.isna().equals(right.isna())
        assert left.dropna().tolist() == right.dropna().tolist()


@LAZY
def test_frames_train_and_answer(kind, source):
    frame = kind.read(source)[["id", "x", "n", "flag"]].fillna({"x": 0.0, "n": 0})
    frame["flag"] = frame["flag"].fillna(False).astype("bool")
    loop = SGDClassifier(random_state=0)
    for i in range(frame.npartitions):
        part = frame.partitions[i].compute()
        X = part[["id", "x", "n"]].astype("float64")
        loop.partial_fit(X, part["flag"], classes=[False, True])

    model = dfml.Incremental(SGDClassifier(random_state=0)).fit(frame, y="flag")

    np.testing.assert_array_equal(model.coef_, loop.coef_)
    answered = frame.ml.predict(model).compute()
    X = frame[["id", "x", "n"]].compute().astype("float64")
    assert answered["prediction"].tolist() == loop.predict(X).tolist()
    assert len(dfml.ParallelPostFit(loop).predict(frame[["id", "x", "n"]])) == 20


@pytest.mark.parametrize("kind", KINDS[1:3], ids=lambda kind: kind.name)
def test_frames_have_the_same_keys_in_every_process(kind, source):
    given = getattr(source, "metadata_location", source).removeprefix("file://")
    code = f"import dfml; print(dfml.{kind.read.__name__}({given!r})._name)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    with dask.config.set({"tokenize.ensure-deterministic": True}):
        assert kind.read(source)._name == done.stdout.strip()


# Files that drift


def drift(first, second):
    return [
        pa.table({"id": [1, 2], "x": first}),
        pa.table({"id": [3, 4], "x": second}),
    ]


INT, FLOAT, TEXT = pa.int64(), pa.float64(), pa.string()
DRIFTS = {
    "reordered": (
        FLOAT,
        [
            pa.table({"id": [1, 2], "x": [0.5, 1.5]}),
            pa.table({"x": [2.5, 3.5], "id": [3, 4]}),
        ],
        [0.5, 1.5, 2.5, 3.5],
    ),
    "extra": (
        FLOAT,
        [
            pa.table({"id": [1, 2], "x": [0.5, 1.5]}),
            pa.table({"e": ["a", "b"], "x": [2.5, 3.5], "id": [3, 4]}),
        ],
        [0.5, 1.5, 2.5, 3.5],
    ),
    "missing": (
        FLOAT,
        [pa.table({"id": [1, 2], "x": [0.5, 1.5]}), pa.table({"id": [3, 4]})],
        [0.5, 1.5, None, None],
    ),
    "narrow int": (
        INT,
        drift(pa.array([2**40, 2]), pa.array([3, 4], pa.int32())),
        [2**40, 2, 3, 4],
    ),
    "narrow float": (
        FLOAT,
        drift(pa.array([0.1, 2]), pa.array([0.5, 4], pa.float32())),
        [0.1, 2, 0.5, 4],
    ),
    "int in float": (
        FLOAT,
        drift(pa.array([0.5, 2]), pa.array([3, 4], INT)),
        [0.5, 2, 3, 4],
    ),
    "float in int": (
        INT,
        drift(pa.array([1, 2], INT), pa.array([3.5, 4])),
        [1, 2, 3.5, 4],
    ),
    "large int in float": (
        FLOAT,
        drift(pa.array([0.5, 2]), pa.array([2**53 + 1, 4], INT)),
        [0.5, 2, 2**53 + 1, 4],
    ),
    "text in int": (
        INT,
        drift(pa.array([1, 2], INT), pa.array(["3", "4"])),
        [1, 2, 3, 4],
    ),
    "int in text": (
        TEXT,
        drift(pa.array(["1", "2"]), pa.array([3, 4], INT)),
        ["1", "2", "3", "4"],
    ),
    "all null": (
        TEXT,
        drift(pa.array(["1", "2"]), pa.nulls(2)),
        ["1", "2", None, None],
    ),
    "null first": (
        INT,
        drift(pa.nulls(2), pa.array([3, 4], INT)),
        [None, None, 3, 4],
    ),
    "dictionary": (
        TEXT,
        drift(pa.array(["1", "2"]), pa.array(["a", None]).dictionary_encode()),
        ["1", "2", "a", None],
    ),
    "unsigned": (
        INT,
        drift(pa.array([1, 2], INT), pa.array([3, 2**32 - 1], pa.uint32())),
        [1, 2, 3, 2**32 - 1],
    ),
    "large unsigned": (
        INT,
        drift(pa.array([1, 2], INT), pa.array([3, 2**64 - 1], pa.uint64())),
        [1, 2, 3, 2**64 - 1],
    ),
    "flag in int": (
        INT,
        drift(pa.array([1, 2], INT), pa.array([True, False])),
        [1, 2, True, False],
    ),
    "other case": (
        FLOAT,
        [
            pa.table({"id": [1, 2], "x": [0.5, 1.5]}),
            pa.table({"id": [3, 4], "X": [2.5, 3.5]}),
        ],
        [0.5, 1.5, 2.5, 3.5],
    ),
}
#: What a source reads; other drifts are an error.
_EVERY = {"reordered", "narrow int", "narrow float", "dictionary", "unsigned"}
READ = {
    "parquet": _EVERY
    | {"extra", "int in float", "float in int", "all null", "null first"},
    "delta": _EVERY | {"extra", "missing", "int in float", "all null", "null first"},
    "iceberg": _EVERY | {"missing"},
}
CASES = [(kind, name) for kind in KINDS[:3] for name in DRIFTS]


def drift_cases(*, are_read):
    return pytest.mark.parametrize(
        ("kind", "name"),
        [
            pytest.param(kind, name, id=f"{kind.name}-{name}")
            for kind, name in CASES
            if (name in READ[kind.name]) == are_read
        ],
    )


def make_drifting(kind, name, folder):
    type_, files, _ = DRIFTS[name]
    return kind.make(folder, pa.schema([("id", pa.int64()), ("x", type_)]), files)


@drift_cases(are_read=True)
def test_files_that_differ_give_right_values(kind, name, tmp_path):
    table = open_table("read", make_drifting(kind, name, tmp_path))

    rows = read_all(table, ["id", "x"]).sort_by("id")

    assert rows["x"].to_pylist() == DRIFTS[name][2]


@drift_cases(are_read=False)
def test_files_that_do_not_fit_are_an_error(kind, name, tmp_path):
    if kind.name == "iceberg":  # they do not come into the table
        with pytest.raises((ValueError, TypeError, struct.error)) as refused:
            make_drifting(kind, name, tmp_path)
        assert any("pyiceberg" in str(entry.path) for entry in refused.traceback)
        return
    table = open_table("read", make_drifting(kind, name, tmp_path))

    with pytest.raises(SourceError, match=r"column 'x'.*1\.parquet") as refused:
        read_all(table, ["id", "x"])
    assert not isinstance(refused.value, BadFileError)
    assert read_all(table, ["id"])["id"].to_pylist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", sorted(READ["delta"]))
def test_files_that_differ_have_the_dtypes_of_the_meta(name, tmp_path):
    frame = dfml.read_delta(make_drifting(KINDS[1], name, tmp_path))

    parts = [frame.partitions[i].compute() for i in range(frame.npartitions)]

    for part in parts:
        pd.testing.assert_series_equal(part.dtypes, frame.dtypes)
    values = pd.concat(parts)["x"].astype(object)
    assert values.where(values.notna(), None).tolist() == DRIFTS[name][2]
