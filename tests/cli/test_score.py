from __future__ import annotations

import glob
import json
import shutil

import dask.dataframe as dd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dfml.models import load_model, save_model

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def test_the_score_is_that_of_the_library(run, model, lake):
    result = run("score", model, lake, "--json")

    facts = json.loads(result.stdout)
    assert facts["score"] == load_model(model).score(dd.read_parquet(lake))
    assert facts["rows"] == 600
    assert facts["scoring"] == "default"


def test_sql_and_another_metric(run, model, database, lake):
    query = "SELECT * FROM parcels ORDER BY id"
    options = ["--database", database, "--scoring", "roc_auc", "--json"]

    result = run("score", model, query, *options)

    rows = dd.read_parquet(lake).compute()
    inner = load_model(model).estimator_
    probability = inner.predict_proba(rows[["a", "b"]])[:, 1]
    expected = roc_auc_score(rows["late"], probability)
    assert json.loads(result.stdout)["score"] == pytest.approx(expected)


def test_the_result_is_readable(run, model, lake):
    result = run("score", model, lake, "--target", "late", "--sample-weight", "weight")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("model")
    assert "600" in result.stdout
    assert result.stderr == ""


def test_a_model_without_a_target(run, lake, tmp_path):
    rows = dd.read_parquet(lake).compute()
    path = tmp_path / "plain.skops"
    plain = LogisticRegression().fit(rows[["a", "b"]], rows["late"])
    save_model(plain, path)

    result = run("score", path, lake)
    assert result.exit_code == 2
    assert "--target" in result.stderr

    result = run("score", path, lake, "--target", "late", "--json")
    assert result.exit_code == 0, result.output
    expected = plain.score(rows[["a", "b"]], rows["late"])
    assert json.loads(result.stdout)["score"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--scoring", "roc_acu"], 2, "Did you mean roc_auc"),
        (["--scoring", "???"], 2, "no scorer"),
        (["--target", "nothing"], 1, "nothing"),
        (["--sample-weight", "late"], 2, "are both late"),
        (["--scoring", "r2"], 1, ""),
    ],
)
def test_bad_options(run, model, lake, args, code, message):
    result = run("score", model, lake, *args)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stdout == ""


def test_a_missing_feature(run, model, database):
    query = "SELECT a, late FROM parcels"
    result = run("score", model, query, "--database", database)

    assert result.exit_code == 1
    assert "['b']" in result.stderr


def test_the_truth_is_not_there(run, model, database):
    result = run("score", model, "SELECT a, b FROM parcels", "--database", database)

    assert result.exit_code == 1
    assert "late" in result.stderr


@pytest.mark.parametrize("pattern", ["[01].parquet", "?.parquet", "*", "1.parquet"])
@pytest.mark.parametrize("folder", ["plain", "with [1] brackets", "star*"])
def test_globs_are_those_of_predict(run, model, lake, tmp_path, folder, pattern):
    copied = shutil.copytree(lake, tmp_path / folder)
    source = f"{glob.escape(str(copied))}/{pattern}"

    score = run("score", model, source, "--json")
    predict = run("predict", model, source, tmp_path / "out", "--json")

    assert json.loads(score.stdout)["rows"] == json.loads(predict.stdout)["rows"]


def test_a_folder_with_a_wildcard_in_its_name(run, model, lake, tmp_path):
    copied = shutil.copytree(lake, tmp_path / "star*")

    for place in (copied, copied / "1.parquet"):
        assert run("score", model, place, "--json").exit_code == 0


@pytest.mark.parametrize("place", ["1.parquet", "*.parquet", ""])
def test_a_broken_file_is_named(run, model, lake, tmp_path, place):
    copied = shutil.copytree(lake, tmp_path / "lake")
    (copied / "1.parquet").write_bytes(b"not Parquet")

    result = run("score", model, copied / place)

    assert result.exit_code == 1
    assert "1.parquet" in result.stderr
    assert "Hint: write the file again" in result.stderr
    assert "registered to the pandas backend" not in result.stderr


def test_a_database_is_not_a_file_of_rows(run, model, database):
    result = run("score", model, database)

    assert result.exit_code == 1
    assert f'"FROM name" --database {database}' in result.stderr
