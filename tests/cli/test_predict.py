from __future__ import annotations

import json
import shutil

import dask.dataframe as dd
import duckdb
import pytest

import dfml
from dfml.models import load_model

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "scored"


def scored(target):
    return duckdb.sql(f"FROM '{target}/*.parquet' ORDER BY id").df()


def test_predictions_are_those_of_the_library(run, model, lake, target):
    result = run("predict", model, lake, target, "--keep", "id,late")

    assert result.exit_code == 0, result.output
    assert "600" in result.stdout
    assert result.stderr == ""
    rows = scored(target)
    assert rows.columns.tolist() == ["id", "late", "prediction"]
    expected = load_model(model).predict(dd.read_parquet(lake)).compute()
    assert rows["prediction"].tolist() == expected.tolist()


def test_json_is_the_report(run, model, lake, target):
    methods = ["--method", "predict", "--method", "predict_proba"]
    result = run("predict", model, lake, target, "--keep", "id", *methods, "--json")

    report = json.loads(result.stdout)
    assert report["rows"] == 600
    assert report["columns"] == [
        "id",
        "prediction",
        "probability_no",
        "probability_yes",
    ]


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (["--keep-none"], ["prediction"]),
        (["--keep", "b,id"], ["b", "id", "prediction"]),
        (["--keep", "b", "--keep", "id, late"], ["b", "id", "late", "prediction"]),
        (["--keep-none", "--name", "guess"], ["guess"]),
        (["--keep-none", "--prefix", "my_"], ["my_prediction"]),
        (["--keep-none", "--method", "decision_function"], ["decision"]),
    ],
)
def test_columns(run, model, lake, target, options, columns):
    result = run("predict", model, lake, target, *options)

    assert result.exit_code == 0, result.output
    assert duckdb.sql(f"FROM '{target}/*.parquet'").columns == columns


def test_a_target_of_another_job(run, model, lake, target):
    assert run("predict", model, lake, target, "--keep-none").exit_code == 0

    again = run("predict", model, lake, target, "--keep", "id")
    assert again.exit_code == 1
    assert "Hint:" in again.stderr

    options = ["--keep", "id", "--mode", "overwrite"]
    assert run("predict", model, lake, target, *options).exit_code == 0
    assert len(scored(target)) == 600


def test_a_folder_that_is_something_else(run, model, lake, target):
    target.mkdir()
    (target / "mine.txt").write_text("mine")

    for mode in ("error", "overwrite"):
        result = run("predict", model, lake, target, "--mode", mode)
        assert result.exit_code == 1
        assert [path.name for path in target.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1 AS id, 0.5 AS a", "['b']"),
        ("SELECT 1 AS id, 0.5 AS a, 'x' AS b", "b"),
        ("SELECT 1 AS id, 0.5 AS a, NULL::DOUBLE AS b", "rows.parquet"),
    ],
)
def test_bad_rows(run, model, target, tmp_path, query, message):
    source = tmp_path / "rows.parquet"
    duckdb.sql(query).write_parquet(str(source))

    result = run("predict", model, source, target)

    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not target.exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--keep", "id", "--keep-none"], 2, "not both"),
        (["--mode", "upsert"], 2, "'upsert' is not one of"),
        (["--keep", "nothing"], 1, "nothing"),
        (["--method", "guess"], 1, "guess"),
        (["--method", "transform"], 1, "transform"),
        (["--mode", "append"], 1, "half-way"),
        (["--table", "scored"], 1, "leave --table out"),
        (["--partition-by", "nothing"], 1, "nothing"),
    ],
)
def test_bad_options(run, model, lake, target, args, code, message):
    result = run("predict", model, lake, target, *args)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not target.exists()


QUERY = "SELECT id, a, b FROM parcels WHERE id < 500 ORDER BY id"


@pytest.mark.parametrize("is_file", [False, True])
def test_sql_is_a_source(run, model, lake, database, target, tmp_path, is_file):
    source = tmp_path / "rows.sql" if is_file else QUERY
    if is_file:
        source.write_text(QUERY)
    command = ["predict", model, source, target, "--database", database]
    result = run(*command)

    assert result.exit_code == 0, result.output
    rows = scored(target)
    assert rows.columns.tolist() == ["id", "a", "b", "prediction"]
    frame = dd.read_parquet(lake)
    expected = load_model(model).predict(frame[frame["id"] < 500]).compute()
    assert rows["prediction"].tolist() == expected.tolist()
    assert "nothing to do" in run(*command).stdout


def test_sql_reads_files_without_a_database(run, model, lake, target):
    result = run("predict", model, f"FROM '{lake}/*.parquet'", target)
    assert result.exit_code == 0, result.output
    assert len(scored(target)) == 600


def test_from_a_database_back_into_it(run, model, database, tmp_path):
    copy = shutil.copy(database, tmp_path / "copy.duckdb")
    command = ["predict", model, QUERY, copy, "--database", copy, "--table", "scored"]
    for _ in range(2):
        result = run(*command)
        assert result.exit_code == 0, result.output
    assert "nothing to do" in result.stdout
    with duckdb.connect(copy) as con:
        assert con.sql("SELECT count(*) FROM scored").fetchall() == [(500,)]


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("WITH t AS (SELECT 1) DELETE FROM parcels", 1, "a SELECT"),
        ("SELECT 1; DROP TABLE parcels", 1, "exactly one SQL statement"),
        ("SELECT a FROM nowhere WHERE 1", 1, "nowhere does not exist"),
        ("SELECT a FROM parcels", 1, r"missing: ['b']"),
        ("missing.sql", 2, "no file 'missing.sql'"),
        ("lake", 2, "--database goes with SQL. 'lake' is neither"),
    ],
)
def test_bad_sql_changes_nothing(run, model, database, tmp_path, source, code, message):
    copy = shutil.copy(database, tmp_path / "copy.duckdb")
    options = ["--database", copy, "--table", "scored"]
    result = run("predict", model, source, copy, *options)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    with duckdb.connect(copy, read_only=True) as con:
        assert con.sql("SHOW TABLES").fetchall() == [("parcels",)]
        assert con.sql("SELECT count(*) FROM parcels").fetchall() == [(600,)]


def test_a_database_is_no_source_by_itself(run, model, database, target):
    result = run("predict", model, database, target)
    assert result.exit_code == 1, result.output
    assert f'"FROM name" --database {database}' in result.stderr


def test_a_database_that_is_written_to_elsewhere(run, model, database, target):
    with duckdb.connect(str(database)):
        result = run("predict", model, QUERY, target, "--database", database)
    assert result.exit_code == 1, result.output
    assert "--database to be a DuckDB file that can be read" in result.stderr


def test_nothing_to_do(run, model, lake, target):
    first = run("predict", model, lake, target)
    assert "rows a second" in first.stdout
    assert "nothing to do" not in first.stdout

    again = run("predict", model, lake, target)

    assert again.exit_code == 0
    assert again.stdout.startswith("nothing to do: an earlier call")
    assert "600" in again.stdout
    assert "a second" not in again.stdout


def test_checks(run, model, lake, target, tmp_path):
    good = "probability_yes: nulls=0, minimum=0, maximum=1"
    bad = "probability_yes: minimum=0, maximum=0.5"
    options = ["--method", "predict", "--method", "predict_proba"]

    failed = run("predict", model, lake, target, *options, "--check", bad)
    assert failed.exit_code == 1
    assert "no value of 'probability_yes' above 0.5" in failed.stderr
    assert not target.exists()

    options += ["--check", good]
    result = run("predict", model, lake, target, *options)
    assert result.exit_code == 0, result.output
    assert "3 of 3 parts" in result.stdout
    assert "rows a second" not in result.stdout  # nothing was predicted
    share = "prediction: nulls=0, share(yes)=0.1..0.9"
    again = run("predict", model, lake, tmp_path / "b", "--check", share, "--verify")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("prediction", "COLUMN: RULE=VALUE"),
        ("prediction:", "COLUMN: RULE=VALUE"),
        ("prediction: nulls", "Got 'nulls'"),
        ("prediction: nulls=few", "Got 'nulls=few'"),
        ("prediction: share(yes)=0.1", "LOW..HIGH"),
        ("prediction: size=1", "Got 'size=1'"),
        ("prediction: nulls=nan", "Got nan"),
        ("prediction: nulls=-1", "Got -1"),
        ("id: minimum=2, maximum=1", "Got 2 and 1"),
        ("prediction: share(yes)=10..40", "pairs from 0 to 1"),
    ],
)
def test_checks_that_cannot_be_read(run, model, lake, target, check, message):
    result = run("predict", model, lake, target, "--check", check)

    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_broken_files_are_shown(run, model, lake, target, tmp_path):
    broken = tmp_path / "lake"
    shutil.copytree(lake, broken)
    (broken / "1.parquet").write_text("no")

    assert "1.parquet" in run("predict", model, broken, target).stderr
    result = run("predict", model, broken, target, "--on-bad-file", "skip")

    assert result.exit_code == 0, result.output
    assert "400" in result.stdout
    (line,) = [each for each in result.stdout.splitlines() if "skipped" in each]
    assert str(broken / "1.parquet") in line


def test_no_source(run, model, target):
    result = run("predict", model, "nothing/", target)

    assert result.exit_code == 1
    assert "nothing" in result.stderr


def test_ctrl_c(run, model, lake, target, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dfml.cli._predict.predict_table", interrupted)

    result = run("predict", model, lake, target)

    assert result.exit_code == 130
    assert not target.exists()


def test_a_model_of_scikit_learn(run, lake, target, tmp_path):
    from sklearn.linear_model import LogisticRegression

    rows = dd.read_parquet(lake).compute()
    path = tmp_path / "plain.skops"
    plain = LogisticRegression().fit(rows[["a", "b"]], rows["late"])
    dfml.models.save_model(plain, path)

    result = run("predict", path, lake, target, "--keep", "id")

    assert result.exit_code == 0, result.output
    expected = plain.predict(rows[["a", "b"]]).tolist()
    assert scored(target)["prediction"].tolist() == expected
