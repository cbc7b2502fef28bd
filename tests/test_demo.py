from __future__ import annotations

import json
import sys

import dask.dataframe as dd
import duckdb
import pytest

from dfml.cli import main
from dfml.demo import OUTPUTS, run_demo
from dfml.exceptions import TargetExistsError
from dfml.models import load_model

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

ROWS = 20_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "output"
    steps = []
    facts = run_demo(folder, rows=ROWS, seed=0, report=steps.append)
    return folder, facts, steps


def test_everything_is_there(demo):
    folder, _, _ = demo

    visible = {path.name for path in folder.glob("[!.]*")}
    assert visible == set(OUTPUTS)
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_lake_is_believable(demo):
    folder, _, _ = demo
    lake = f"read_parquet('{folder}/lake/*/*.parquet')"
    found = duckdb.sql(f"""
        SELECT count(*), count(DISTINCT parcel_id), count(DISTINCT month),
            count(*) - count(note), count(*) - count(weight_kg),
            count(*) - count(delivered_on), count(DISTINCT depot) FROM {lake}
    """).fetchall()
    ((n_rows, n_ids, months, no_note, no_weight, lost, depots),) = found

    assert (n_rows, n_ids, months, depots) == (ROWS, ROWS, 12, 24)
    assert no_note > ROWS / 2
    assert ROWS / 50 > lost > 0
    assert ROWS / 20 > no_weight > 0


def test_the_metric_is_plausible(demo):
    _, facts, _ = demo

    assert 0.70 < facts["roc_auc"] < 0.85


def test_what_is_measured(demo):
    _, facts, steps = demo

    json.dumps(facts)
    assert list(facts["steps"]) == [step.name for step in steps]
    assert facts["steps"]["score"]["rows"] == ROWS
    assert facts["steps"]["train"]["rows_per_second"] > 0
    assert facts["peak_memory_bytes"] > 2**20


def test_every_parcel_is_scored(demo):
    folder, facts, _ = demo
    scored = duckdb.sql(f"FROM '{folder}/scored/*.parquet' ORDER BY parcel_id").df()

    assert scored["parcel_id"].tolist() == list(range(ROWS))
    assert sum(count for _, count, _ in facts["counts"]) == ROWS
    model = load_model(folder / "late.skops")
    features = dd.read_parquet(folder / "features")
    expected = model.predict_proba(features)["probability_True"]
    both = dd.concat([features["parcel_id"], expected], axis=1).compute()
    by_id = both.set_index("parcel_id")["probability_True"].sort_index()
    assert scored["probability_True"].tolist() == by_id.tolist()


def test_the_same_seed_gives_the_same_metric(demo, tmp_path):
    _, facts, _ = demo

    again = run_demo(tmp_path / "again", rows=ROWS, seed=0)
    other = run_demo(tmp_path / "again", rows=ROWS, seed=1)  # replaces its own

    assert again["roc_auc"] == facts["roc_auc"]
    assert again["counts"] == facts["counts"]
    assert other["roc_auc"] != facts["roc_auc"]


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(TargetExistsError, match="--output"):
        run_demo(tmp_path, rows=ROWS)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_other_files_in_its_own_folder_stay(tmp_path):
    folder = tmp_path / "it's here"  # a quote must not break the SQL
    run_demo(folder, rows=ROWS)
    (folder / "notes.txt").write_text("mine")

    run_demo(folder, rows=ROWS)

    assert (folder / "notes.txt").read_text() == "mine"


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    steps = []

    run_demo(tmp_path / "output", rows=ROWS, report=steps.append)

    assert 'pip install "dfml[plot]"' in steps[-1].text
    assert not (tmp_path / "output" / "picture.png").exists()


def test_the_command(tmp_path):
    from click.testing import CliRunner

    output = tmp_path / "output"
    args = ["demo", "--rows", str(ROWS), "--output", str(output)]
    shown = CliRunner().invoke(main, args)
    assert shown.exit_code == 0, shown.output
    assert "ROC AUC 0." in shown.stdout
    assert "rows/s" in shown.stdout
    assert str(output / "scored") in shown.stdout
    assert shown.stderr == ""

    facts = CliRunner().invoke(main, [*args, "--json"])
    assert 0.7 < json.loads(facts.stdout)["roc_auc"] < 0.85

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    refused = CliRunner().invoke(main, [*args, "--output", str(tmp_path / "mine")])
    assert refused.exit_code == 1
    assert refused.stdout == ""
