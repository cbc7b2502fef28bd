"""Spills that are kept and known again, and spills of processes that have died."""

from __future__ import annotations

import errno
import gc
import json
import logging
import pickle
import signal
import subprocess
import sys
from datetime import date
from decimal import Decimal

import dask
import dask.dataframe as dd
import duckdb
import pandas as pd
import pytest

from dfml import read_sql
from dfml._data_tokens import data_token
from dfml.exceptions import (
    InputTypeError,
    QueryError,
    SourceError,
    TargetError,
    TargetExistsError,
)
from dfml.sources import _spill, _spill_folder

QUERY = "SELECT i, i % 3 AS k, 's' || i AS s FROM range(100) t(i) ORDER BY hash(i)"


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(autouse=True)
def spills(tmp_path):
    directory = tmp_path / "spills"
    with dask.config.set({"dfml.spill-directory": str(directory)}):
        yield directory


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "kept"


def run(program, *arguments, **options):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, **options
    ).stdout


# Places


@pytest.mark.parametrize("wrong", ["", 5, b""])
def test_what_is_no_path(con, wrong):
    with pytest.raises(InputTypeError, match="spill_to to be a path"):
        read_sql(QUERY, con, spill_to=wrong)


def test_places_that_cannot_be_written_to(con, tmp_path):
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "new")
    with pytest.raises(TargetError, match=r"Got '.*file': (?s:.*)pass another path"):
        read_sql(QUERY, con, spill_to=below)
    for place, error, message in [
        (below, TargetError, r"file(?s:.*)dfml.spill-directory"),
        (tmp_path / "file", TargetError, r"file(?s:.*)dfml.spill-directory"),
        (5, InputTypeError, "dfml.spill-directory to be a path. Got 5"),
    ]:
        setting = dask.config.set({"dfml.spill-directory": place})
        with setting, pytest.raises(error, match=message):
            read_sql(QUERY, con)


# Kept


def test_rows_are_kept(con, target, spills):
    frame = read_sql(QUERY, con, spill_to=target)
    data = pickle.dumps(frame)
    del frame
    gc.collect()
    assert sorted(path.name for path in target.iterdir()) == ["rows.arrow", "rows.json"]
    assert [path.name for path in target.parent.iterdir()] == ["kept"]
    assert not spills.exists()
    assert pickle.loads(data).i.sum().compute() == 4950


def test_the_same_query_reads_what_was_kept(con, target, caplog):
    con.execute("CREATE SEQUENCE s")
    con.execute("CREATE TYPE level AS ENUM ('low', 'high')")
    query = """
        SELECT nextval('s') AS v, CASE WHEN i > 0 THEN i END AS n, i > 2 AS b,
               'low'::level AS e, TIMESTAMPTZ '2020-01-01 00:00+00' AS t,
               1.5::DECIMAL AS d
        FROM range(10) t(i)
    """
    first = read_sql(query, con, spill_to=target, npartitions=2)
    with caplog.at_level(logging.INFO, logger="dfml"):
        again = read_sql(query, con, spill_to=str(target), npartitions=3)
    assert con.sql("SELECT nextval('s')").fetchall() == [(11,)]
    assert again.npartitions == 3
    assert again.dtypes.equals(first.dtypes)
    pd.testing.assert_frame_equal(again.compute(), first.compute())
    assert "kept by an earlier run" in caplog.records[-1].getMessage()


def test_an_empty_directory_is_taken(con, tmp_path):
    (tmp_path / "empty").mkdir()
    read_sql(QUERY, con, spill_to=tmp_path / "empty")
    assert read_sql(QUERY, con, spill_to=tmp_path / "empty").i.sum().compute() == 4950


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(con, tmp_path, exists):
    if exists:
        (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    first = read_sql(QUERY, con, spill_to=tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read_sql(QUERY, con, spill_to=tmp_path / "disk")._name == first._name


def test_the_home_is_where_the_user_has_it(con, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    read_sql(QUERY, con, spill_to="~/kept")
    with dask.config.set({"dfml.spill-directory": "~/spills of mine"}):
        frame = read_sql(QUERY, con)
    assert len(list((tmp_path / "spills of mine").iterdir())) == 1
    assert (tmp_path / "kept" / "rows.arrow").exists()
    assert not (tmp_path / "~").exists()
    del frame


def test_what_is_on_no_disk_is_refused(con, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputTypeError, match=r"spill_to .*Got 's3://bucket/rows'"):
        read_sql(QUERY, con, spill_to="s3://bucket/rows")
    with (
        dask.config.set({"dfml.spill-directory": "file:///disk"}),
        pytest.raises(InputTypeError, match=r"dfml.spill-directory .*'file:///disk'"),
    ):
        read_sql(QUERY, con)
    assert list(tmp_path.iterdir()) == []


FILLING = """
import resource, sys, dask, dask.dataframe as dd, duckdb, pandas as pd
from sklearn.linear_model import SGDClassifier
import dfml
from dfml.exceptions import DiskFullError
dask.config.set({"dfml.spill-directory": sys.argv[1]})
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
con = duckdb.connect()
query = "SELECT hash(i) % 1000 / 7 AS x, i % 2 = 0 AS y FROM range(1000000) t(i)"
model = dfml.Incremental(SGDClassifier(), epochs=2)
frames = {"d": dd.from_pandas(pd.DataFrame({"a": range(9)}), npartitions=3)}
for run in (
    lambda: dfml.read_sql(query, con),
    lambda: dfml.read_sql(query, con, spill_to=sys.argv[1] + "/kept"),
    lambda: dfml.read_sql(query + ", d", con, frames=frames),
    lambda: model.fit(con.sql(query + " ORDER BY i"), y="y", classes=[False, True]),
):
    try:
        run()
    except DiskFullError as err:
        print(err.errno, str(err).splitlines()[0])
        print(str(err).splitlines()[-1])
"""


def test_a_full_disk(spills):
    said = run(FILLING, spills).splitlines()
    assert len(said) == 8
    assert all(line.startswith(f"{errno.EFBIG} ") for line in said[::2])
    assert all(f"expects room for rows in '{spills}'" in line for line in said[::2])
    assert "Incremental.fit expects" in said[6]
    hints = [line.partition("ulimit -f, or ")[2] for line in said[1::2]]
    assert ["dfml.spill-directory" in hint for hint in hints] == [1, 0, 1, 1]
    assert "spill_to" in hints[1]
    assert list(spills.iterdir()) == []


@pytest.mark.parametrize("taken", ["file", "full"])
def test_anything_else_is_not(con, tmp_path, taken):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    with pytest.raises(TargetExistsError, match=taken):
        read_sql(QUERY, con, spill_to=tmp_path / taken)


def test_another_query_is_an_error(con, target, tmp_path):
    con.execute("CREATE TABLE t AS FROM range(5) r(i)")
    read_sql("FROM t WHERE i > ?", con, params=[1], spill_to=target)
    with duckdb.connect(tmp_path / "base.duckdb") as other:
        other.execute("CREATE TABLE t AS FROM range(5) r(i)")
        for connection, query, params, message in [
            (con, "FROM t WHERE i > ?", [2], "rows of the same text"),
            (con, "FROM t WHERE i > ?", [1.0], "rows of the same text"),
            (con, "FROM t WHERE i >  ?", [1], r"rows of:\nFROM t"),
            (other, "FROM t WHERE i > ?", [1], "rows of the same text"),
        ]:
            with pytest.raises(TargetExistsError, match=f"Got {message}"):
                read_sql(query, connection, params=params, spill_to=target)
    con.execute("SET TimeZone = 'Asia/Tokyo'")
    with pytest.raises(TargetExistsError):
        read_sql("FROM t WHERE i > ?", con, params=[1], spill_to=target)


@pytest.mark.parametrize(
    ("query", "before", "after"),
    [
        ("FROM v", "CREATE VIEW v AS SELECT 1 AS a", "CREATE VIEW v AS SELECT 2 AS a"),
        ("FROM w", "CREATE VIEW w AS FROM v", "CREATE VIEW v AS SELECT 2 AS a"),
        ("SELECT m(1) AS a", "CREATE MACRO m(x) AS x", "CREATE MACRO m(x) AS x + 1"),
        ("SELECT 3 / 2 AS a", "SET integer_division = 0", "SET integer_division = 1"),
        (
            "SELECT getvariable('n') AS a",
            "SET VARIABLE n = 1",
            "SET VARIABLE n = 2",
        ),
        (
            "SELECT a FROM t",
            "CREATE TABLE t AS SELECT 1 AS a",
            "CREATE TABLE t AS SELECT 'x' AS a",
        ),
        (
            "SELECT a FROM hidden",
            "CREATE TABLE hidden AS SELECT 1 AS a",
            "CREATE TEMP TABLE hidden AS SELECT 2 AS a",
        ),
    ],
)
def test_what_names_mean_is_part_of_the_query(con, target, query, before, after):
    con.execute("CREATE VIEW v AS SELECT 1 AS a")
    for statement in (before, after):
        con.execute(statement.replace("CREATE", "CREATE OR REPLACE"))
        if statement == before:
            first = read_sql(query, con, spill_to=target)
            assert read_sql(query, con, spill_to=target)._name == first._name
    with pytest.raises(TargetExistsError, match=r"same text|the columns"):
        read_sql(query, con, spill_to=target)


def test_the_order_of_parameters_is_no_part_of_the_query(con, target):
    query = "SELECT $a AS a, $b AS b"
    first = read_sql(query, con, params={"a": 1, "b": 2}, spill_to=target)
    again = read_sql(query, con, params={"b": 2, "a": 1}, spill_to=target)
    assert again._name == first._name


def test_what_is_not_named_is_no_part_of_the_query(con, target, tmp_path):
    first = read_sql(QUERY, con, spill_to=target)
    con.execute("CREATE VIEW v AS SELECT 1 AS a; CREATE MACRO m(x) AS x")
    con.execute(f"SET VARIABLE n = 1; ATTACH '{tmp_path}/other.duckdb'")
    assert read_sql(QUERY, con, spill_to=target)._name == first._name


def test_another_file_under_the_name_of_a_database_is_another_query(target, tmp_path):
    for number in range(2):
        with duckdb.connect() as con:
            con.execute(f"ATTACH '{tmp_path}/{number}.duckdb' AS other")
            con.execute(f"CREATE TABLE other.t AS SELECT {number} AS a")
            if number == 0:
                read_sql("FROM other.t", con, spill_to=target)
            else:
                with pytest.raises(TargetExistsError, match="rows of the same text"):
                    read_sql("FROM other.t", con, spill_to=target)


def test_relative_files_are_those_of_the_working_directory(
    con, target, tmp_path, monkeypatch
):
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        con.execute(f"COPY (SELECT {number} AS a) TO 'rows.parquet'")
        if number == 0:
            read_sql("FROM 'rows.parquet'", con, spill_to=target)
            read_sql(QUERY, con, spill_to=tmp_path / "elsewhere")
    with pytest.raises(TargetExistsError, match="working directory"):
        read_sql("FROM 'rows.parquet'", con, spill_to=target)
    read_sql(QUERY, con, spill_to=tmp_path / "elsewhere")


def test_kept_rows_outlive_their_table_and_frames_are_registered_anew(con, target):
    con.execute("CREATE TABLE t AS SELECT 1 AS a")
    con.register("r", pd.DataFrame({"b": [2]}))
    first = read_sql("FROM t, r", con, spill_to=target)
    con.register("r", pd.DataFrame({"b": [3]}))
    assert read_sql("FROM t, r", con, spill_to=target)._name == first._name
    con.execute("DROP TABLE t")
    assert read_sql("FROM t, r", con, spill_to=target)._name == first._name


def test_statements_do_not_run_to_learn_their_types(con, target):
    con.execute("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(QueryError, match="exactly one SQL statement"):
        read_sql("FROM t; DROP TABLE t", con, spill_to=target)
    assert con.sql("FROM t").fetchall() == [(1,)]


def test_parameters_of_all_kinds_are_known_again(con, target):
    params = {"a": date(2020, 1, 1), "b": Decimal("1.5"), "c": "x'y", "d": None}
    query = "SELECT $a AS a, $b AS b, $c AS c, $d::INT AS d"
    first = read_sql(query, con, params=params, spill_to=target)
    again = read_sql(query, con, params=dict(params), spill_to=target)
    assert first._name == again._name


def test_changed_data_are_not_noticed_until_the_directory_is_removed(con, target):
    con.execute("CREATE TABLE t AS FROM range(5) r(i)")
    first = read_sql("FROM t", con, spill_to=target)
    con.execute("INSERT INTO t VALUES (5)")
    assert len(read_sql("FROM t", con, spill_to=target)) == 5
    for path in target.iterdir():
        path.unlink()
    fresh = read_sql("FROM t", con, spill_to=target)
    assert len(fresh) == 6
    assert data_token(fresh.expr) != data_token(first.expr)


def test_relations(con, target):
    con.execute("CREATE TABLE t AS FROM range(5) r(i)")
    for _ in range(2):
        relation = con.table("t").filter("i > 2").project("i * 2 AS j")
        assert read_sql(relation, spill_to=target).compute().j.tolist() == [6, 8]
    with pytest.raises(TargetExistsError):
        read_sql(con.table("t").filter("i > 3"), spill_to=target)


def test_relations_whose_values_the_text_does_not_tell(con, tmp_path):
    def over_a_variable():
        local = pd.DataFrame({"a": [1]})
        return con.sql(f"SELECT * FROM local LIMIT {len(local)}")

    for number, make in enumerate(
        [
            over_a_variable,
            lambda: con.from_df(pd.DataFrame({"a": [1]})),
            lambda: con.sql("SELECT ? AS a", params=[1]),
        ]
    ):
        target = tmp_path / str(number)
        assert len(read_sql(make(), spill_to=target)) == 1
        with pytest.raises(TargetExistsError):
            read_sql(make(), spill_to=target)


def test_dask_frames_are_part_of_the_query(con, tmp_path, target):
    pd.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "a.parquet")

    def read(**arguments):
        frames = {"d": dd.read_parquet(tmp_path / "a.parquet", **arguments)}
        return read_sql("SELECT sum(a) AS s FROM d", frames=frames, spill_to=target)

    first, again = read(), read()
    assert first._name == again._name
    with pytest.raises(TargetExistsError):
        read(filters=[("a", ">", 1)])


@pytest.mark.parametrize("harm", ["short", "gone", "format", "text", "label"])
def test_broken_files_are_told(con, target, harm):
    read_sql(QUERY, con, spill_to=target)
    rows, manifest = target / "rows.arrow", target / "rows.json"
    content = json.loads(manifest.read_text())
    if harm == "short":
        rows.write_bytes(rows.read_bytes()[:-1])
    elif harm == "gone":
        rows.unlink()
    elif harm == "text":
        manifest.write_text("{")
    else:
        content["format" if harm == "format" else "bytes"] = "dfml spill 0"
        manifest.write_text(json.dumps(content))
    with pytest.raises(SourceError, match=r"(?s)dfml spill 1.*remove") as caught:
        read_sql(QUERY, con, spill_to=target)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize("part", ["footer", "middle"])
def test_damaged_rows_are_told(con, target, part):
    read_sql(QUERY, con, spill_to=target)
    rows = target / "rows.arrow"
    content = bytearray(rows.read_bytes())
    at = {"footer": len(content) - 200, "middle": len(content) // 3}[part]
    content[at : at + 100] = b"\xff" * 100
    rows.write_bytes(content)
    with pytest.raises(SourceError, match=r"(?s)dfml spill 1.*remove") as caught:
        read_sql(QUERY, con, spill_to=target).compute()
    assert str(target) in str(caught.value)


FAILING = (
    "SELECT CASE WHEN i = 900000 THEN error('boom') ELSE i END AS v "
    "FROM range(3000000) t(i)"
)


def test_a_failure_in_the_middle_keeps_nothing(con, tmp_path):
    (tmp_path / "old").mkdir()
    for target in ("old", "new"):
        with pytest.raises(QueryError, match="boom"):
            read_sql(FAILING, con, spill_to=tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert list((tmp_path / "old").iterdir()) == []


def test_two_at_once(con, target, monkeypatch):
    """Whoever is first keeps it; the other leaves nothing behind."""
    write = _spill._write_manifest

    def late(*arguments):
        write(*arguments)
        target.mkdir()
        (target / "theirs").touch()

    monkeypatch.setattr(_spill, "_write_manifest", late)
    with pytest.raises(TargetExistsError, match="stay an empty directory"):
        read_sql(QUERY, con, spill_to=target)
    assert [path.name for path in target.parent.iterdir()] == ["kept"]
    assert [path.name for path in target.iterdir()] == ["theirs"]


def test_two_runs_of_a_query_at_once_share_the_rows(con, target, monkeypatch):
    """The second to end reads what the first has kept, and leaves nothing behind."""
    write, others = _spill._write_manifest, []

    def late(*arguments):
        write(*arguments)
        monkeypatch.setattr(_spill, "_write_manifest", write)
        others.append(read_sql(QUERY, con.cursor(), spill_to=target))

    monkeypatch.setattr(_spill, "_write_manifest", late)
    frame = read_sql(QUERY, con, spill_to=target)
    assert frame._name == others[0]._name
    assert len(frame) == 100
    assert [path.name for path in target.parent.iterdir()] == ["kept"]


WRITER = """
import sys, time, duckdb, dfml
from dfml.sources import _spill
write = _spill._write_file
def slow(*arguments):
    contents = write(*arguments)
    print("written", flush=True)
    time.sleep(60)
    return contents
_spill._write_file = slow
target = None if sys.argv[1] == "-" else sys.argv[1]
import dask
dask.config.set({"dfml.spill-directory": sys.argv[2]})
dfml.read_sql(sys.argv[3], duckdb.connect(), spill_to=target)
"""


def killed_writer(target, spills):
    """Kill a process that has written all rows, and is about to say so."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), str(spills), QUERY],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)


def test_a_killed_writer_never_looks_complete(con, target, spills):
    killed_writer(target, spills)
    (left,) = target.parent.iterdir()
    assert left.name.startswith(_spill_folder.PREFIX)
    assert read_sql(QUERY, con, spill_to=target).i.sum().compute() == 4950
    assert [path.name for path in target.parent.iterdir()] == ["kept"]


TRAINER = """
import sys, duckdb, numpy as np
from sklearn.linear_model import SGDClassifier
import dfml, dfml.training._checkpoints, dfml.training._steps
dfml.training._checkpoints.EVERY_SECONDS = 0
target, checkpoints, log, kill_after = *sys.argv[1:4], int(sys.argv[4])
class Noting(SGDClassifier):
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        with open(log, "a") as file:
            file.write("step\\n")
        if kill_after and sum(1 for _ in open(log)) > kill_after:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return super().partial_fit(X, y, classes)
frame = dfml.read_sql(
    "SELECT i % 7 AS a, i % 11 AS b, i % 7 > 3 AS y "
    "FROM range(1000) t(i) ORDER BY hash(i)",
    duckdb.connect(), spill_to=target, npartitions=5,
)
model = dfml.Incremental(Noting(random_state=0), epochs=2, checkpoint=checkpoints)
model.fit(frame, y="y")
print(np.asarray(model.coef_).tobytes().hex())
"""


def test_training_goes_on_over_kept_rows_in_a_new_process(tmp_path):
    log = tmp_path / "log"
    arguments = [tmp_path / "kept", tmp_path / "checkpoints", log]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(TRAINER, *arguments, 6)
    assert caught.value.returncode == -signal.SIGKILL, caught.value.stderr
    assert len(log.read_text().split()) == 7
    resumed = run(TRAINER, *arguments, 0)
    assert len(log.read_text().split()) < 2 * 10, "the first steps were not repeated"
    whole = run(TRAINER, tmp_path / "kept", tmp_path / "others", tmp_path / "log 2", 0)
    assert resumed == whole


# Left behind by processes that have died


def test_the_next_spill_sweeps_those_of_dead_processes(con, spills):
    spills.mkdir()
    killed_writer("-", spills)
    (left,) = spills.iterdir()
    assert (left / "rows.arrow").stat().st_size > 0
    frame = read_sql(QUERY, con)
    (own,) = spills.iterdir()
    assert own != left
    assert frame.i.sum().compute() == 4950


def test_spills_of_living_processes_stay(con, spills):
    frame = read_sql(QUERY, con)
    program = """
import sys, dask, duckdb, dfml
dask.config.set({"dfml.spill-directory": sys.argv[1]})
frame = dfml.read_sql("SELECT 1 AS a", duckdb.connect())
"""
    run(program, spills)
    assert len(list(spills.iterdir())) == 1
    assert frame.i.sum().compute() == 4950


def test_what_is_not_known_to_be_dead_stays(con, spills):
    spills.mkdir()
    other = spills / f"{_spill_folder.PREFIX}other"
    other.mkdir()
    (other / _spill_folder.LOCK_NAME).write_text("another machine")
    strange = spills / f"{_spill_folder.PREFIX}strange"
    strange.mkdir()
    (strange / "rows.arrow").touch()
    read_sql(QUERY, con)
    gc.collect()
    assert sorted(spills.iterdir()) == [other, strange]


def test_kept_rows_may_be_moved(con, target):
    read_sql(QUERY, con, spill_to=target)
    moved = target.rename(target.parent / "moved")
    frame = read_sql(QUERY, con, spill_to=moved)
    gc.collect()
    assert frame.i.sum().compute() == 4950
    assert not target.exists()
