from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from dfml.exceptions import TargetError, TargetExistsError
from dfml.sinks import _duckdb
from dfml.sinks._duckdb_table import parse_name
from dfml.sinks._files import FileSystem
from dfml.sinks._targets import open_target
from tests.sinks.places import SCHEMA, in_order, make_part, opened, write_job
from tests.sinks.test_delta import Before, elsewhere
from tests.sinks.test_targets import A, B, rows_of

ONE = pa.schema([("x", pa.int64())])


@pytest.fixture
def connection():
    with duckdb.connect() as found:
        yield found


@pytest.fixture
def place(tmp_path):
    with opened("duckdb file", tmp_path) as found:
        yield found


@pytest.fixture
def in_memory(tmp_path):
    with opened("duckdb in memory", tmp_path) as found:
        yield found


def write_one(connection, table, mode="error", job="a", x=1):
    target = open_target("write", connection, table=table, mode=mode)
    return write_job(target, job * 32, [pa.table({"x": [x]})], schema=ONE)


def tables_of(connection):
    return set(
        connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables()"
        ).fetchall()
    )


HOSTILE = [
    "x; DROP TABLE victim",
    "x) AS SELECT 1; --",
    "victim' OR 1=1 --",
    "select",
    "a b",
    "ü",
    "*",
    "%",
    "x\ny",
    '"a.b"',
    '"x""; DROP TABLE victim; --"',
    '"\'; DROP SCHEMA main; --"',
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_mean_nothing_but_themselves(connection, name):
    connection.execute("CREATE TABLE victim AS SELECT 1 AS x")
    for job, mode in [("a", "error"), ("b", "append"), ("c", "overwrite")]:
        write_one(connection, name, mode, job)
        assert write_one(connection, name, mode, job)["rows"] == 1

    (plain,) = parse_name("write", name)
    expected = {("main", "victim"), ("main", plain), ("dfml", "jobs")}
    assert tables_of(connection) == expected
    assert connection.execute("FROM victim").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t ALTER x SET DEFAULT 5",
        "COMMENT ON TABLE t IS 'mine'",
        "COMMENT ON COLUMN t.x IS 'mine'",
        'ALTER TABLE t ADD y VARCHAR COLLATE NOCASE; ALTER TABLE t RENAME y TO "a\'b"',
    ],
)
def test_defaults_collations_and_comments_are_not_overwritten(connection, statement):
    connection.execute("CREATE TABLE t AS SELECT 1::BIGINT AS x")
    connection.execute(statement)
    with pytest.raises(TargetError, match="defaults, collations or comments"):
        write_one(connection, "t", "overwrite")
    if "COLLATE" in statement:
        return
    write_one(connection, "t", "append")
    assert connection.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


def test_another_table_of_jobs_is_left_alone(connection):
    connection.execute("CREATE SCHEMA dfml; CREATE TABLE dfml.jobs AS SELECT 1 AS a")
    with pytest.raises(TargetError, match=r"table of jobs.*columns \['a'\]"):
        write_one(connection, "t", "error")
    assert connection.execute("FROM dfml.jobs").fetchall() == [(1,)]
    assert tables_of(connection) == {("dfml", "jobs")}


def test_a_temporary_table_is_no_target(connection):
    with pytest.raises(TargetError, match="read-only, temporary or not attached"):
        write_one(connection, "temp.t", "error")


def test_names_that_speak_of_collations_have_none(connection):
    connection.execute('CREATE TABLE t ("COLLATE" INT, "a"" COLLATE ""b" INT)')
    write_one(connection, "t", "overwrite")
    assert connection.execute("FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "hide",
    [
        lambda c: c.execute("CREATE TEMP TABLE t AS SELECT 1 AS x"),
        lambda c: c.execute("CREATE TEMP VIEW t AS SELECT 1 AS x"),
        lambda c: c.register("t", pa.table({"x": [1]})),
    ],
)
def test_what_is_temporary_does_not_hide_the_target(connection, hide):
    hide(connection)
    with pytest.raises(TargetError, match="temporary table, view or registered"):
        write_one(connection, "T", "append")
    write_one(connection, "main.t", "append", x=2)
    assert connection.execute("FROM memory.main.t").fetchall() == [(2,)]


def test_only_ascii_letters_have_two_cases(connection):
    connection.execute('CREATE TABLE "É" AS SELECT 1 AS x')
    connection.execute('CREATE SCHEMA "Ö"')
    write_one(connection, "é", "error", "a", x=2)
    connection.execute('CREATE SCHEMA "ö"')
    write_one(connection, "ö.T", "error", "b", x=3)
    write_one(connection, "Ö.t", "error", "c", x=4)

    for name, x in [("É", 1), ("é", 2), ("ö.t", 3), ("Ö.t", 4)]:
        assert connection.execute(f"FROM {name}").fetchall() == [(x,)]
    with pytest.raises(TargetExistsError):
        write_one(connection, "Ö.T", "error", "d")


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", 'a"b', '"a', "a.b.c.d", '""', '"a"b', "a.."]
)
def test_texts_that_are_no_names(connection, name):
    with pytest.raises(TargetError, match="table= to be a name"):
        open_target("write", connection, table=name)


def test_schemas_and_databases(tmp_path, connection):
    connection.execute("CREATE SCHEMA marts")
    connection.execute(f"ATTACH '{tmp_path}/other.duckdb' AS other")
    connection.execute("CREATE SCHEMA other.marts")
    for name in [
        "t",
        "marts.t",
        "MARTS.T2",
        "other.t",
        "other.marts.t",
        "memory.main.u",
    ]:
        write_one(connection, name)

    assert tables_of(connection) == {
        ("main", "t"),
        ("main", "u"),
        ("marts", "t"),
        ("MARTS".lower(), "T2"),
        ("dfml", "jobs"),
    }
    found = connection.execute(
        "SELECT database_name, count(*) FROM duckdb_tables() GROUP BY ALL"
    ).fetchall()
    assert dict(found) == {"memory": 5, "other": 3}
    write_one(connection, "OTHER.MARTS.t", "append")  # the same job, the same table
    assert connection.execute("FROM other.marts.t").fetchall() == [(1,)]
    connection.execute("USE other.marts")
    write_one(connection, "t", "append")
    assert connection.execute("FROM other.marts.t").fetchall() == [(1,)]


def test_databases_that_cannot_be_written_to(tmp_path, connection):
    duckdb.connect(tmp_path / "other.duckdb").close()
    connection.execute(f"ATTACH '{tmp_path}/other.duckdb' AS other (READ_ONLY)")

    for name in ["other.t", "nowhere.t"]:
        with pytest.raises(TargetError, match="read-only, temporary or not attached"):
            open_target("write", connection, table=name)


def test_report_is_in_the_database(in_memory):
    report = write_job(in_memory.target(), "a" * 32, A)
    write_job(in_memory.target("append"), "b" * 32, B)

    sql = 'SELECT job, "table", change, n_rows, report FROM dfml.jobs ORDER BY id'
    first, second = in_memory.connection.execute(sql).fetchall()
    assert first[:4] == ("a" * 32, "scored", "create", 7)
    assert json.loads(first[4]) == report
    assert second[:4] == ("b" * 32, "scored", "append", 14)


def test_connection_is_free_afterwards(in_memory):
    """A result that is not fetched to its end would keep it busy."""
    for _ in range(2):
        write_job(in_memory.target("append"), "a" * 32, A)
        assert in_memory.connection.sql("FROM scored").fetchall()
        assert in_memory.connection.table("scored").shape == (7, 3)


def test_open_transaction_is_refused_and_left_alone(in_memory):
    connection = in_memory.connection
    connection.execute("CREATE TABLE mine AS SELECT 1 AS x")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO mine VALUES (2)")

    with pytest.raises(TargetError, match="without an open transaction"):
        write_job(in_memory.target(), "a" * 32, A)

    connection.execute("COMMIT")
    assert connection.execute("SELECT sum(x) FROM mine").fetchall() == [(3,)]
    write_job(in_memory.target(), "a" * 32, A)
    assert in_memory.read().equals(rows_of(A))


def test_views_are_refused(connection):
    connection.execute("CREATE VIEW v AS SELECT 1 AS x")
    for mode in ["error", "overwrite", "append"]:
        with pytest.raises(TargetError, match="'v', a view"):
            write_one(connection, "v", mode)


@pytest.mark.parametrize("more", ["PRIMARY KEY", "CHECK (x > 0)", "NOT NULL"])
def test_constraints_are_kept(connection, more):
    connection.execute(f"CREATE TABLE t (x BIGINT {more})")
    with pytest.raises(
        TargetError,
        match="constraints, indexes, defaults, collations or comments that would",
    ):
        write_one(connection, "t", "overwrite")

    write_one(connection, "t", "append")
    bad = {"PRIMARY KEY": 1, "CHECK (x > 0)": -1, "NOT NULL": None}[more]
    job = more[0]  # what is staged for databases in memory is found by its job
    with pytest.raises(TargetError, match="the constraints of 't'"):
        write_one(connection, "t", "append", job, x=pa.scalar(bad, pa.int64()))
    assert connection.execute("FROM t").fetchall() == [(1,)]
    assert write_one(connection, "t", "append", job="c", x=3)["rows"] == 1


def test_indexes_are_kept(connection):
    connection.execute("CREATE TABLE t (x BIGINT)")
    connection.execute("CREATE INDEX i ON t (x)")

    with pytest.raises(TargetError, match="constraints, indexes"):
        write_one(connection, "t", "overwrite")


def test_other_columns_take_the_place_of_the_old(connection):
    connection.execute("CREATE TABLE t AS SELECT 'a' AS y, 2 AS z")
    write_one(connection, "t", "overwrite")

    assert connection.table("t").columns == ["x"]


@pytest.mark.parametrize(
    ("schema", "match"),
    [
        (pa.schema([("x", pa.int64()), ("X", pa.int64())]), "Got x, X"),
        (pa.schema([("d", pa.duration("us"))]), "d: duration"),
        (pa.schema([("n", pa.null())]), "n: null"),
        (pa.schema([("m", pa.decimal256(50, 1))]), "m: decimal256"),
    ],
)
def test_columns_that_duckdb_lacks(connection, schema, match):
    target = open_target("write", connection, table="t")
    with pytest.raises(TargetError, match=match):
        write_job(target, "a" * 32, [schema.empty_table()], schema=schema)


def test_types_are_those_of_parquet(connection):
    table = pa.table(
        {
            "u": pa.array([2**64 - 1], pa.uint64()),
            "t": pa.array([1], pa.timestamp("ns")),
            "z": pa.array([1], pa.timestamp("us", "Europe/Vienna")),
            "k": pa.array(["a"]).dictionary_encode(),
            "d": pa.array([1], pa.decimal128(20, 2)),
            "l": pa.array([[1]]),
            "s": pa.array([{"x": 1}]),
        }
    )
    write_job(
        open_target("write", connection, table="t"),
        "a" * 32,
        [table],
        schema=table.schema,
    )

    types = [kind for _, kind, *_ in connection.execute("DESCRIBE t").fetchall()]
    assert types == [
        "UBIGINT",
        "TIMESTAMP_NS",
        "TIMESTAMP WITH TIME ZONE",
        "VARCHAR",
        "DECIMAL(20,2)",
        "BIGINT[]",
        "STRUCT(x BIGINT)",
    ]


def test_rows_that_were_changed_are_not_the_jobs(in_memory):
    connection = in_memory.connection
    write_job(in_memory.target(), "a" * 32, A)
    connection.execute("DELETE FROM scored WHERE id > 4")

    assert in_memory.target("append").committed("a" * 32) is not None
    assert in_memory.target("overwrite").committed("a" * 32) is None
    write_job(in_memory.target("overwrite"), "a" * 32, A)
    assert in_memory.read().equals(rows_of(A))


def test_rows_that_were_appended_to_others_are_not_the_table(in_memory):
    write_job(in_memory.target(), "a" * 32, A)
    write_job(in_memory.target("append"), "b" * 32, B)

    with pytest.raises(TargetExistsError, match="this job has not written"):
        write_job(in_memory.target(), "b" * 32, B)
    write_job(in_memory.target("overwrite"), "b" * 32, B)
    assert in_memory.read().equals(rows_of(B))
    assert in_memory.target("error").committed("b" * 32) is not None


def test_table_that_was_dropped_is_written_again(in_memory):
    for mode in ["append", "append", "error"]:
        write_job(in_memory.target(mode), "a" * 32, A)
        assert in_memory.read().equals(rows_of(A))
        in_memory.connection.execute("DROP TABLE scored")
    write_job(in_memory.target(), "b" * 32, B)
    write_job(in_memory.target("append"), "a" * 32, A)  # of the old table: not here
    assert in_memory.read().equals(rows_of(A, B))


@pytest.mark.parametrize("name", ["a'b", "x[1]", "q*", "ü%20", "{a}", "k=v"])
def test_odd_paths(tmp_path, name):
    (tmp_path / name).mkdir()
    with opened("duckdb file", tmp_path / name) as place:
        write_job(place.target(), "a" * 32, A)
        write_job(place.target("append"), "b" * 32, B)

        assert place.read().equals(rows_of(A, B))
    assert os.listdir(tmp_path) == [name]


def test_threads_may_write_to_one_file(tmp_path):
    """DuckDB refuses a file that another thread is about to open or to close."""
    path = tmp_path / "t.duckdb"

    def work(number):
        target = open_target("write", path, table=f"t{number % 2}", mode="append")
        return write_job(target, f"{number:032x}", A)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(16)))
    with duckdb.connect(str(path)) as con:
        assert con.sql("SELECT count(*) FROM t0").fetchall() == [(8 * 7,)]
        assert con.sql("SELECT count(*) FROM t1").fetchall() == [(8 * 7,)]


def test_a_look_makes_no_file(tmp_path, place):
    target = place.target()
    target.check_early()
    assert target.committed("a" * 32) is None

    assert os.listdir(tmp_path) == []


def test_staging_for_memory_is_where_spills_are(tmp_path, in_memory):
    import dask

    with dask.config.set({"dfml.spill-directory": str(tmp_path / "spill")}):
        target = in_memory.target()
        with target.locked("a" * 32):
            staged = target.stage("a" * 32, {}, SCHEMA, resume=True)
            assert staged.folder.startswith(str(tmp_path / "spill"))
        write_job(in_memory.target(), "a" * 32, A)

    assert os.listdir(tmp_path / "spill") == []


# Rivals


def test_database_that_another_process_has_open(tmp_path, place, monkeypatch):
    monkeypatch.setattr(_duckdb, "_OPEN_SECONDS", 0.2)
    write_job(place.target(), "a" * 32, A)
    program = (
        "import duckdb, sys; kept = duckdb.connect(sys.argv[1]);"
        "print('open', flush=True); sys.stdin.read()"
    )
    call = [sys.executable, "-c", program, str(tmp_path / "warehouse.duckdb")]
    with subprocess.Popen(
        call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(TargetExistsError, match="in the other process"):
            place.target("append").check_early()
        process.stdin.close()

    write_job(place.target("append"), "b" * 32, B)
    assert place.read().equals(rows_of(A, B))


def cursor_of(in_memory, mode, files=None, table="scored"):
    cursor = in_memory.connection.cursor()
    return open_target("write", cursor, table=table, mode=mode, files=files)


@pytest.mark.parametrize("mode", ["error", "append", "overwrite"])
def test_rival_that_does_the_same_job_is_noticed(in_memory, mode):
    if mode != "error":
        write_job(in_memory.target(), "a" * 32, A)
    rival = elsewhere(cursor_of(in_memory, mode), 1)
    files = Before(lambda: write_job(rival, "b" * 32, B))

    write_job(in_memory.target(mode, files), "b" * 32, B)

    assert in_memory.read().equals(rows_of(A if mode == "append" else [], B))
    count = in_memory.connection.execute("SELECT count(*) FROM dfml.jobs").fetchall()
    assert count == [(1 if mode == "error" else 2,)]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_four_rivals_commit_a_job_once(in_memory, mode):
    write_job(in_memory.target(), "a" * 32, A)
    barrier = threading.Barrier(4)

    class Together(FileSystem):
        def perform(self, commit):
            if not barrier.broken:
                try:
                    barrier.wait(10)
                except threading.BrokenBarrierError:
                    pass
                else:
                    barrier.abort()
            return super().perform(commit)

    rivals = [
        elsewhere(cursor_of(in_memory, mode, Together()), number) for number in range(4)
    ]
    threads = [
        threading.Thread(target=write_job, args=(rival, "b" * 32, B))
        for rival in rivals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert in_memory.read().equals(rows_of(A if mode == "append" else [], B))
    count = in_memory.connection.execute("SELECT count(*) FROM dfml.jobs").fetchall()
    assert count == [(2,)]


def test_jobs_that_append_at_once_all_do(in_memory):
    write_job(in_memory.target(), "0" * 32, [make_part(0)])
    jobs = {f"{n:032}": [make_part(n)] for n in range(1, 5)}
    threads = [
        threading.Thread(target=write_job, args=(cursor_of(in_memory, "append"), *job))
        for job in jobs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert in_memory.read()["id"].to_pylist() == list(range(5))


def test_rows_of_others_stay_where_a_commit_fails(in_memory):
    write_job(in_memory.target(), "a" * 32, A)

    class Fails(FileSystem):
        n_calls = 0

        def perform(self, commit):
            done = super().perform(commit)
            self.n_calls += 1
            if self.n_calls == 2:  # rows are written, the job is noted
                raise OSError("stopped")
            return done

    with pytest.raises(OSError, match="stopped"):
        write_job(in_memory.target("overwrite", Fails()), "b" * 32, B)

    assert in_order(in_memory.table()).equals(rows_of(A))
    write_job(in_memory.target("overwrite"), "b" * 32, B)
    assert in_memory.read().equals(rows_of(B))


def test_our_own_connections_print_no_progress(place):
    write_job(place.target(), "a" * 32, A)
    with place.target()._open() as connection:
        sql = "SELECT current_setting('enable_progress_bar')"
        assert connection.execute(sql).fetchall() == [(False,)]


@pytest.mark.parametrize("name", ["old.parquet", "old.csv", "notes.txt"])
def test_a_file_of_another_kind_is_no_database(tmp_path, name):
    path = tmp_path / name
    duckdb.sql("SELECT 1 AS x").write_parquet(str(tmp_path / "old.parquet"))
    (tmp_path / "old.csv").write_text("x\n1\n")
    (tmp_path / "notes.txt").write_text("nothing " * 1000)
    before = path.read_bytes()

    with pytest.raises(TargetExistsError, match="choose another file"):
        write_file(path, "t")

    assert path.read_bytes() == before


def write_file(path, table, parts=1, rows=1):
    target = open_target("write", path, format="duckdb", table=table)
    target.check_early()
    noise = np.random.default_rng(0).integers(2**62, size=(parts, rows))
    return write_job(target, "a" * 32, [pa.table({"x": x}) for x in noise], schema=ONE)


def test_a_database_that_is_open_in_another_way(tmp_path):
    with duckdb.connect(tmp_path / "t.db"):
        pass
    with (
        duckdb.connect(tmp_path / "t.db", read_only=True),
        pytest.raises(TargetExistsError, match="different configuration"),
    ):
        write_file(tmp_path / "t.db", "t")


def test_a_schema_that_is_not_there(tmp_path, connection):
    with pytest.raises(TargetError, match="create the schema"):
        write_one(connection, "marts.t")
    with pytest.raises(TargetError, match="create it first"):
        write_file(tmp_path / "new.db", "marts.t")
    assert os.listdir(tmp_path) == []
    write_file(tmp_path / "new.db", "new.main.t")
    with pytest.raises(TargetError, match="create the schema"):
        write_file(tmp_path / "new.db", "marts.t")


FULL = """
import pathlib, resource, sys
from dfml.exceptions import DiskFullError
from tests.sinks.test_duckdb import write_file
parts, rows, limit = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    write_file(pathlib.Path(sys.argv[1]), "t", parts, rows)
except DiskFullError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("parts", "rows", "limit"),
    [
        (4, 100_000, 1_500_000),  # the file of the database is too large
        (8, 2_000, 100_000),  # the log of its transactions is
    ],
)
def test_a_disk_that_is_full_at_the_commit(tmp_path, parts, rows, limit):
    # Each part alone is small enough.
    path = tmp_path / "t.db"
    command = [sys.executable, "-c", FULL, path, *map(str, (parts, rows, limit))]

    run = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "'File too large'" in run.stdout, run
    assert "ulimit -f" in run.stdout
    assert write_file(path, "t", parts, rows)["rows"] == parts * rows
