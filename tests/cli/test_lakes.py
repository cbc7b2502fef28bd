from __future__ import annotations

import json
import os

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import ROWS, SGD

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture
def delta(tmp_path):
    """The rows of the lake twice, and the first copy overwritten."""
    deltalake = pytest.importorskip("deltalake")
    rows = duckdb.sql(f"SELECT * EXCLUDE (part) FROM ({ROWS})").to_arrow_table()
    for mode in ("append", "overwrite"):
        deltalake.write_deltalake(tmp_path / "delta", rows, mode=mode)
    return tmp_path / "delta"


@pytest.fixture
def iceberg(tmp_path):
    pytest.importorskip("pyiceberg")
    from tests.iceberg_table import load_or_create

    rows = duckdb.sql(f"SELECT * EXCLUDE (part) FROM ({ROWS})").to_arrow_table()
    table = load_or_create(tmp_path / "iceberg", rows.schema)
    table.append(rows)
    return table.metadata_location.removeprefix("file://")


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_fit_score_and_predict(run, tmp_path, kind, request):
    source = request.getfixturevalue(kind)
    model, target = tmp_path / "late.skops", tmp_path / "out"
    options = ["--target", "late", "--features", "a,b", "--estimator", SGD]

    fitted = run("fit", source, *options, "--random-state", "0", "--output", model)
    scored = run("score", model, source, "--json")
    predicted = run("predict", model, source, target, "--keep", "id,late", "--json")

    assert (fitted.exit_code, scored.exit_code) == (0, 0), fitted.output + scored.output
    assert json.loads(predicted.stdout)["rows"] == 600
    rows = pq.read_table(target).to_pandas()
    right = (rows["late"] == rows["prediction"]).mean()
    assert json.loads(scored.stdout)["score"] == pytest.approx(right)


@pytest.mark.parametrize("command", ["score", "predict"])
def test_files_of_a_delta_table_are_refused(run, model, delta, tmp_path, command):
    files = os.path.join(delta, "*.parquet")
    rest = [tmp_path / "out"] if command == "predict" else []

    result = run(command, model, files, *rest)

    assert result.exit_code == 1
    assert "files of the Delta table" in result.stderr
