from __future__ import annotations

import json

import duckdb
import pyarrow as pa
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def test_delta(run, model, lake, tmp_path):
    deltalake = pytest.importorskip("deltalake")
    call = ["predict", model, lake, tmp_path / "scored", "--keep", "id,late"]
    options = ["--format", "delta", "--partition-by", "late"]

    first = run(*call, *options)
    assert first.exit_code == 0, first.output
    again = json.loads(run(*call, "--mode", "append", "--json").stdout)
    assert again["predicted_rows"] == 0
    other = run(*call, "--mode", "append", "--prefix", "", "--method", "predict")
    assert other.exit_code == 0, other.output

    table = deltalake.DeltaTable(tmp_path / "scored")
    assert table.metadata().partition_columns == ["late"]
    assert pa.table(table.scan()).num_rows == 600


def test_duckdb(run, model, lake, tmp_path):
    call = ["predict", model, lake, tmp_path / "w.duckdb", "--keep", "id"]
    options = ["--format", "duckdb", "--table", "marts.scored"]
    with duckdb.connect(tmp_path / "w.duckdb") as connection:
        connection.execute("CREATE SCHEMA marts")

    for _ in range(2):
        done = run(*call, *options, "--mode", "append")
        assert done.exit_code == 0, done.output
        assert "marts.scored" in done.stdout

    with duckdb.connect(tmp_path / "w.duckdb") as connection:
        found = connection.execute("SELECT count(*) FROM marts.scored").fetchall()
    assert found == [(600,)]


def test_parquet_by_column(run, model, lake, tmp_path):
    call = ["predict", model, lake, tmp_path / "scored", "--keep", "id"]
    done = run(*call, "--partition-by", "prediction")

    assert done.exit_code == 0, done.output
    folders = {path.name for path in (tmp_path / "scored").iterdir()}
    assert folders == {"prediction=no", "prediction=yes"}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--format", "duckdb"], 1, "pass the name of the table"),
        (["--table", "t"], 1, "--format duckdb for a database file"),
        (["--mode", "append"], 1, "half-way"),
        (["--mode", "upsert"], 2, "overwrite_partitions"),
        (["--format", "csv"], 2, "duckdb"),
        (["--partition-by", "nope"], 1, "nope"),
    ],
)
def test_what_cannot_be_written(run, model, lake, tmp_path, options, code, message):
    done = run("predict", model, lake, tmp_path / "scored", *options)

    assert done.exit_code == code
    assert message in done.stderr
    assert not (tmp_path / "scored").exists()


@pytest.mark.parametrize("name", ["w.duckdb", "w.ddb", "w.db"])
def test_a_database_is_known_by_its_name(run, model, lake, tmp_path, name):
    call = ["predict", model, lake, tmp_path / name, "--keep", "id"]

    failed = run(*call)
    assert failed.exit_code == 1
    assert "pass the name of the table" in failed.stderr
    assert not (tmp_path / name).exists()
    done = run(*call, "--table", "t")
    assert done.exit_code == 0, done.output
    with duckdb.connect(tmp_path / name) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(600,)]


def test_a_folder_with_the_name_of_a_database(run, model, lake, tmp_path):
    (tmp_path / "w.db").mkdir()

    assert run("predict", model, lake, tmp_path / "w.db").exit_code == 0
    assert list((tmp_path / "w.db").glob("*.parquet"))
