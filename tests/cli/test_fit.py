from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys

import dask.dataframe as dd
import duckdb
import numpy as np
import pytest
from sklearn.linear_model import Ridge, SGDClassifier

import dfml
from dfml.models import load_model, save_model

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

SGD = "sklearn.linear_model.SGDClassifier"
TREE = "sklearn.tree.DecisionTreeClassifier"
QUERY = "SELECT a, b, late FROM parcels ORDER BY id"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "model.skops"


@pytest.fixture
def fit(run, output):
    """Run ``dfml fit`` with what every call needs; later options win."""

    def call(*args, estimator=SGD, target="late"):
        options = ["--estimator", estimator, "--target", target, "--output", output]
        return run("fit", *args, *options)

    return call


def trained(lake, **options):
    sgd = SGDClassifier(loss="log_loss", alpha=1e-3, random_state=0)
    frame = dd.read_parquet(lake)[["a", "b", "late"]]
    return dfml.Incremental(sgd, random_state=0, **options).fit(frame, y="late")


PARAMS = ["--param", "loss=log_loss", "--param", "alpha=1e-3", "--random-state", "0"]


@pytest.mark.parametrize("pattern", ["", "*.parquet"])
def test_parquet_trains_as_the_library_does(fit, lake, output, pattern):
    result = fit(lake / pattern, "--features", "a,b", *PARAMS)

    assert result.exit_code == 0, result.output
    expected = trained(lake)
    np.testing.assert_array_equal(load_model(output).coef_, expected.coef_)
    assert "600" in result.stdout
    assert "no, yes" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("kind", ["text", "option", "file"])
def test_sql_trains_as_parquet_does(fit, lake, database, output, tmp_path, kind):
    file = tmp_path / "query.sql"
    file.write_text(f"-- all of them\n{QUERY}\n")
    source = {"text": [QUERY], "option": ["--sql", QUERY], "file": [file]}[kind]
    sql_options = ["--database", database, "--rows-per-partition", "200"]

    result = fit(*source, *sql_options, *PARAMS)

    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(load_model(output).coef_, trained(lake).coef_)


def test_sql_without_a_database_reads_files(fit, lake, output):
    result = fit(f"SELECT a, b, late FROM '{lake}/*.parquet'")

    assert result.exit_code == 0, result.output
    assert output.exists()


def test_the_database_is_left_as_it_was(fit, database):
    before = database.read_bytes()
    statement = "WITH x AS (SELECT 1) INSERT INTO parcels SELECT * FROM parcels"

    result = fit(statement, "--database", database)

    assert result.exit_code == 1
    assert fit(QUERY, "--database", database).exit_code == 0
    assert database.read_bytes() == before


def test_json_is_one_object(fit, lake):
    options = ["--features", "b,a", "--score", "--epochs", "2", "--shuffle"]
    result = fit(lake, *options, "--json", *PARAMS)

    facts = json.loads(result.stdout)
    assert facts["estimator"] == SGD
    assert facts["mode"] == "incremental"
    assert facts["features"] == ["b", "a"]
    assert facts["classes"] == ["no", "yes"]
    assert facts["n_samples_seen"] == 1200
    assert facts["n_partitions_seen"] == 6
    assert facts["partitions"] == 3
    assert 0.5 < facts["score"] <= 1
    assert result.stderr == ""


def test_iid_takes_any_estimator(fit, lake, output):
    options = ["--mode", "iid", "--drop", "id,depot,weight", "--param", "max_depth=3"]
    result = fit(lake, *options, estimator=TREE)

    assert result.exit_code == 0, result.output
    assert "number 0 of 3" in result.stdout
    model = load_model(output)
    assert isinstance(model, dfml.IID)
    assert model.estimator_.max_depth == 3
    assert model.n_samples_seen_ == 200


@pytest.mark.parametrize(
    ("sample", "n_rows"), [("50", 50), ("0.5", 300), ("random", 200)]
)
def test_iid_takes_samples(fit, lake, output, sample, n_rows):
    options = ["--mode", "iid", "--features", "a,b", "--random-state", "0"]
    result = fit(lake, *options, "--sample", sample, estimator=TREE)

    assert result.exit_code == 0, result.output
    assert load_model(output).n_samples_seen_ == n_rows


def test_classes_of_dfml_are_not_wrapped_again(fit, lake, output):
    result = fit(lake, "--features", "a", estimator="dfml.iid.tree.ExtraTreeClassifier")

    assert result.exit_code == 0, result.output
    assert type(load_model(output)) is dfml.iid.tree.ExtraTreeClassifier


def test_classes_and_weights(fit, lake, output):
    options = ["--features", "a,b", "--sample-weight", "weight"]
    result = fit(lake, *options, "--classes", "maybe,no,yes", *PARAMS)

    assert result.exit_code == 0, result.output
    model = load_model(output)
    assert model.classes_.tolist() == ["maybe", "no", "yes"]
    assert model.feature_names_in_.tolist() == ["a", "b"]


def test_classes_are_literals_where_they_can_be(fit, tmp_path, output):
    query = "SELECT i AS x, i % 2 AS y FROM range(10) t(i)"
    result = fit(query, "--classes", "0,1,2", target="y")

    assert result.exit_code == 0, result.output
    assert load_model(output).classes_.tolist() == [0, 1, 2]


WRONG_USAGE = {
    "no source": ([], "Give one SOURCE"),
    "two sources": ([QUERY, "--sql", QUERY], "Give one SOURCE"),
    "no sql file": (["nothing.sql"], "no file 'nothing.sql'"),
    "no database": ([QUERY, "--database", "nothing.duckdb"], "does not exist"),
    "database with a name": (
        ["parcels", "--rows-per-partition", "5"],
        "a whole table is 'FROM name'",
    ),
    "database with parquet": (["lake", "--rows-per-partition", "5"], "go with SQL"),
    "parameter without value": ([QUERY, "--param", "alpha"], "name=value"),
    "unknown parameter": ([QUERY, "--param", "alfa=1"], "no parameter alfa"),
    "unknown mode": ([QUERY, "--mode", "both"], "'both' is not one of"),
    "epochs of one sample": ([QUERY, "--mode", "iid", "--epochs", "2"], "--epochs"),
    "sample of all": ([QUERY, "--sample", "random"], "--sample goes with"),
    "a share of more than all": (
        [QUERY, "--mode", "iid", "--sample", "1.5"],
        "share of them between 0 and 1",
    ),
    "no sample": ([QUERY, "--mode", "iid", "--sample", "some"], "Got 'some'"),
    "weight of the target": ([QUERY, "--sample-weight", "late"], "are both late"),
    "epochs": ([QUERY, "--epochs", "0"], "0 is not in the range"),
    "no folder for the model": ([QUERY, "--output", "no/x.skops"], "no folder"),
}


@pytest.mark.parametrize("name", WRONG_USAGE)
def test_wrong_usage(run, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args, message = WRONG_USAGE[name]
    options = ["--target", "late", "--estimator", SGD, "--output", "m.skops"]

    result = run("fit", *options, *args)

    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("SGDClassifier", "names no module"),
        ("sklearn.linear_model.NoSuchThing", "cannot be imported"),
        ("no_such_package.Thing", "cannot be imported"),
        ("..Thing", "names no module"),
        ("sklearn.base.clone", "is not an estimator class"),
        ("pathlib.Path", "is not an estimator class"),
        (TREE, "Pass --mode iid"),
        ("dfml.Incremental", "cannot be made"),
    ],
)
def test_wrong_estimator(fit, lake, output, path, message):
    result = fit(lake, estimator=path)

    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert not output.exists()


FAILURES = {
    "sql with an error": ("SELECT nonsense FROM parcels", "nonsense"),
    "two statements": ("SELECT 1; SELECT 2", "exactly one SQL statement"),
    "not a query": ("WITH t AS (SELECT 1) DELETE FROM parcels", "expects a SELECT"),
    "no such column": ("SELECT a, b FROM parcels", "['late']"),
    "text for a model of numbers": ("SELECT a, depot, late FROM parcels", "depot"),
    "one class": ("SELECT a, 'no' AS late FROM parcels", "two classes"),
    "missing label": ("SELECT a, nullif(late, 'no') AS late FROM parcels", "missing"),
    "no rows": ("SELECT a, late FROM parcels WHERE id < 0", "at least one row"),
    "NaN": ("SELECT if(id = 7, NULL, a) AS a, late FROM parcels", "NaN"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failed_work_leaves_the_old_model(fit, database, output, name):
    query, message = FAILURES[name]
    save_model(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), output)
    before = output.read_bytes()

    result = fit(query, "--database", database)

    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert output.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_output_is_never_what_is_read(run, database, tmp_path):
    options = ["--database", database, "--target", "late", "--estimator", SGD]
    query = tmp_path / "train.sql"
    query.write_text(QUERY)
    for source, output in [(QUERY, database), (query, query)]:
        before = output.read_bytes()
        result = run("fit", source, *options, "--output", output)

        assert result.exit_code == 1, result.output
        assert f"{output}, a file that is no model" in result.stderr
        assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--features", "a,A"], "['A']"),
        (["--features", "a", "--classes", "no,maybe"], "labels among the classes"),
        (["--features", "a", "--param", "loss=huge"], "'loss' parameter"),
        (["--drop", "nothing"], "['nothing']"),
    ],
)
def test_failed_options(fit, lake, output, args, message):
    result = fit(lake, *args)

    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert not output.exists()


@pytest.mark.parametrize("option", ["--features", "--drop"])
def test_the_target_is_no_feature(fit, lake, output, option):
    result = fit(lake, option, "a,late")

    assert result.exit_code == 2
    assert f"{option} names late" in result.stderr
    assert not output.exists()


def test_transformers_learn_from_no_target(run, lake, output):
    options = ["--estimator", "sklearn.preprocessing.StandardScaler"]
    result = run("fit", lake, *options, "--features", "a,b", "--output", output)

    assert result.exit_code == 0, result.output
    expected = dd.read_parquet(lake)[["a", "b"]].mean().compute()
    np.testing.assert_allclose(load_model(output).estimator_.mean_, expected)
    scored = run("fit", lake, *options, "--output", output, "--score")
    assert "Pass --target" in scored.stderr
    needed = run("fit", lake, "--estimator", SGD, "--output", output)
    assert needed.exit_code == 2
    assert "SGDClassifier learns from a target" in needed.stderr


def test_a_folder_may_be_called_as_sql_is(fit, lake, output, tmp_path):
    shutil.copytree(lake, tmp_path / "lake.sql")
    result = fit(tmp_path / "lake.sql", "--features", "a,b", *PARAMS)

    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(load_model(output).coef_, trained(lake).coef_)


def test_statements_are_sql_whatever_they_start_with(fit, database):
    whole = fit("TABLE parcels", "--database", database, "--drop", "depot")
    assert whole.exit_code == 0, whole.output
    for statement in ("DELETE FROM parcels", "drop table parcels", "(SHOW TABLES)"):
        result = fit(statement, "--database", database)
        assert result.exit_code == 1, result.output
    assert "600" in fit(QUERY, "--database", database).stdout


def test_a_source_that_is_not_there(fit, output):
    result = fit("nothing/*.parquet")

    assert result.exit_code == 1
    assert "there is nothing" in result.stderr


def test_a_file_that_is_not_parquet(fit, tmp_path, output):
    broken = tmp_path / "broken.parquet"
    broken.write_text("this is not Parquet at all")

    result = fit(broken)

    assert result.exit_code == 1
    assert "broken.parquet" in result.stderr


def test_a_database_that_is_not_one(fit, tmp_path, output):
    broken = tmp_path / "broken.duckdb"
    broken.write_text("this is not a database, although it is long enough " * 100)

    result = fit(QUERY, "--database", broken)

    assert result.exit_code == 1
    assert "broken.duckdb" in result.stderr
    assert "Hint: name a file that DuckDB has made" in result.stderr


def test_a_parquet_file_is_no_database(fit, lake, output):
    result = fit(QUERY, "--database", lake / "0.parquet")

    assert result.exit_code == 1
    assert "0.parquet" in result.stderr
    assert "FROM 'rows.parquet'" in result.stderr


def test_a_database_that_another_process_writes_to(fit, tmp_path, output):
    path = tmp_path / "busy.duckdb"
    program = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print(flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{program}; sys.stdin.read()", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        result = fit(QUERY, "--database", path)
        process.stdin.close()

    assert result.exit_code == 1
    assert "busy.duckdb" in result.stderr
    assert "Hint: end the program that has it open for writing" in result.stderr


def test_a_sql_file_that_is_no_text(fit, tmp_path, output):
    (tmp_path / "train.sql").write_bytes(b"\xff\xfe")
    result = fit(tmp_path / "train.sql")

    assert result.exit_code == 2
    assert "train.sql" in result.stderr


def test_ctrl_c_writes_no_model(fit, lake, output, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(dfml.Incremental, "fit", interrupted)

    result = fit(lake, "--features", "a")

    assert result.exit_code == 130
    said = "Interrupted. 0 partitions were trained on, and no model was written.\n"
    assert result.stderr == said
    assert not output.exists()


@pytest.fixture
def calls(monkeypatch):
    """Count the steps; after so many of them somebody presses Ctrl-C."""
    partial_fit, counted = SGDClassifier.partial_fit, {"steps": 0, "until": 10**9}

    @functools.wraps(partial_fit)
    def count(self, *args, **options):
        counted["steps"] += 1
        if counted["steps"] == counted["until"]:
            os.kill(os.getpid(), signal.SIGINT)
        return partial_fit(self, *args, **options)

    monkeypatch.setattr(SGDClassifier, "partial_fit", count)
    monkeypatch.setattr("dfml.training._checkpoints.EVERY_SECONDS", 0.0)
    return counted


@pytest.mark.parametrize("kind", ["files", "SQL"])
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(
    fit, lake, output, tmp_path, calls, kind
):
    folder = tmp_path / "somewhere" / "checkpoint"
    source = f"SELECT * FROM '{lake}/*.parquet' ORDER BY id" if kind == "SQL" else lake
    options = ["--features", "a,b", *PARAMS, "--epochs", "3", "--shuffle"]
    if kind == "SQL":
        options += ["--rows-per-partition", "100"]
    whole = fit(source, *options)
    assert whole.exit_code == 0, whole.output
    expected, n_all = load_model(output).coef_, calls["steps"]
    output.unlink()

    calls.update(steps=0, until=7)
    stopped = fit(source, *options, "--checkpoint", folder)
    n_before = calls["steps"]
    others = folder / "rows-of-another-job"
    others.mkdir()
    calls.update(steps=0, until=10**9)
    done = fit(source, *options, "--checkpoint", folder)

    assert (stopped.exit_code, done.exit_code) == (130, 0), done.output
    assert "7 partitions were trained on" in stopped.stderr
    assert f"from the checkpoint in '{folder}'" in stopped.stderr
    assert n_before + calls["steps"] in (n_all, n_all + 1)
    np.testing.assert_array_equal(load_model(output).coef_, expected)
    assert list(folder.iterdir()) == [others]


def test_epochs_end_early_by_the_score_of_other_rows(fit, lake, output):
    options = ["--epochs", "60", "--early-stopping", "--scoring", "roc_auc", "--json"]
    held = f"SELECT * FROM '{lake}/0.parquet' WHERE a < 1"
    found = [
        fit(lake, "--features", "a,b", *PARAMS, *options, "--validation", source)
        for source in (lake / "0.parquet", held)
    ]

    for result in found:
        assert result.exit_code == 0, result.output
        scores = json.loads(result.stdout)["validation_scores"]
        assert 5 < len(scores) < 60
        assert all(0.5 < score <= 1 for score in scores)
    model = load_model(output)
    assert model.scoring == "roc_auc"
    assert model.validation_scores_ == scores


def test_scores_of_epochs_are_shown(fit, lake):
    options = ["--features", "a,b", "--epochs", "2", "--validation", lake / "0.parquet"]
    result = fit(lake, *options)

    assert result.exit_code == 0, result.output
    (line,) = [each for each in result.stdout.splitlines() if "scores of ep" in each]
    assert line.count("0.") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--mode", "iid", "--checkpoint", "x", "--early-stopping"],
            "--early-stopping",
        ),
        (["--mode", "iid", "--checkpoint", "x"], "--checkpoint: only with --mode incr"),
        (["--mode", "iid", "--validation", "x"], "--validation goes with --mode incr"),
        (["--scoring", "roc_auc"], "goes with --score, --validation or"),
        (["--early-stopping", "--scoring", "roc_acu"], "Did you mean roc_auc"),
    ],
)
def test_options_that_do_not_go_together(fit, lake, output, options, message):
    result = fit(lake, "--features", "a", *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert not output.exists()


@pytest.mark.parametrize("source", ["not-there.parquet", "SELECT a, late FROM parcels"])
def test_errors_of_the_validation_say_so(fit, lake, database, output, source):
    result = fit(
        *("SELECT * FROM parcels", "--database", database),
        *("--features", "a,b", "--validation", source),
    )

    assert result.exit_code == 1
    assert "dfml fit --validation expects" in result.stderr
    assert not output.exists()


def test_validation_needs_a_target(run, lake, output):
    result = run(
        *("fit", lake, "--estimator", "sklearn.preprocessing.StandardScaler"),
        *("--output", output, "--validation", lake),
    )

    assert result.exit_code == 2
    assert "--validation is scored" in result.stderr


def test_a_model_that_cannot_be_stored(fit, lake, output, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dfml.models.replace_file", full)

    result = fit(lake, "--features", "a")

    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert not output.exists()


def test_the_same_seed_gives_the_same_model(fit, database, output):
    options = ["--database", database, "--shuffle", "--random-state", "3"]
    coefficients = []
    for _ in range(2):
        assert fit(QUERY, *options).exit_code == 0
        coefficients.append(load_model(output).coef_)

    np.testing.assert_array_equal(*coefficients)


def test_duckdb_is_closed(fit, database, output):
    assert fit(QUERY, "--database", database).exit_code == 0

    with duckdb.connect(str(database)) as con:  # to write: needs the lock
        con.execute("CREATE TEMP TABLE t AS SELECT 1")
