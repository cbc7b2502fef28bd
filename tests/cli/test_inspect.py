from __future__ import annotations

import json

import pytest

from dfml.models import inspect_model, save_model

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def test_json_is_the_card(run, model):
    result = run("inspect", model, "--json")

    assert json.loads(result.stdout) == inspect_model(model).to_dict()
    assert result.stderr == ""


def test_the_card_is_readable(run, model):
    result = run("inspect", model)

    lines = result.stdout.splitlines()
    assert any(line.split() == ["target", "late"] for line in lines)
    assert any(line.split() == ["classes", "no,", "yes"] for line in lines)
    assert "  estimator__loss='log_loss'" in lines


@pytest.fixture
def untrusted(model, tmp_path):
    """A model of a type that nobody trusts."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    path = tmp_path / "untrusted.skops"
    steps = [("shout", FunctionTransformer(json.dumps))]
    save_model(Pipeline(steps).fit([[1.0]]), path)
    return path


def test_untrusted_types_are_shown_and_not_made(run, untrusted, lake, tmp_path):
    shown = run("inspect", untrusted)
    assert shown.exit_code == 0
    assert "json.dumps" in shown.stdout

    for args in (["predict", untrusted, lake, tmp_path / "t"],):
        result = run(*args)
        assert result.exit_code == 1
        assert "json.dumps" in result.stderr
        assert not (tmp_path / "t").exists()


def test_trust(run, untrusted, lake):
    result = run("score", untrusted, lake, "--trust", "json.dumps", "--target", "late")

    assert result.exit_code == 1  # it was loaded, and has no score
    assert "trusted" not in result.stderr


@pytest.mark.parametrize("command", ["inspect", "score", "predict"])
def test_broken_files(run, model, lake, tmp_path, command):
    broken = tmp_path / "broken.skops"
    broken.write_bytes(model.read_bytes()[:-700])
    rest = {"inspect": [], "score": [lake], "predict": [lake, tmp_path / "target"]}

    result = run(command, broken, *rest[command])

    assert result.exit_code == 1
    assert "broken.skops" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "target").exists()


def test_no_file(run):
    result = run("inspect", "nothing.skops")

    assert result.exit_code == 2
    assert "nothing.skops" in result.stderr
