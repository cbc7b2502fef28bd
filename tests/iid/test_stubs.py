from __future__ import annotations

import ast
import subprocess
import sys

import pytest
import sklearn

from dfml.iid import _stubs
from tests.iid.test_classes import MADE, MODULES

same_version = pytest.mark.skipif(
    not sklearn.__version__.startswith(f"{_stubs.version_of_stubs()}."),
    reason="made for another version of scikit-learn",
)


@same_version
def test_stubs_are_up_to_date():
    made = _stubs.stubs()
    folder = next(iter(made)).parent
    assert set(folder.rglob("*.pyi")) == set(made)
    stale = [
        str(path.relative_to(folder))
        for path, text in made.items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `python -m dfml.iid._stubs`"


@same_version
def test_every_class_is_in_a_stub():
    declared = {
        node.name
        for text in _stubs.stubs().values()
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef)
    }
    assert set(MADE) - declared <= _stubs._EXPERIMENTAL
    assert len(_stubs.stubs()) == len(MODULES) + 1


@pytest.mark.slow
def test_a_type_checker_knows_the_classes(tmp_path):
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(
        "import dfml.iid\n"
        "from dfml.iid.linear_model import LogisticRegression\n"
        "reveal_type(LogisticRegression().fit(1, y='late').partition_)\n"
        "reveal_type(dfml.iid.ensemble.RandomForestClassifier().fit(1, 'late'))\n"
        "LogisticRegression().fit(1, 'late', wieght=2)\n"
    )
    arguments = ["--strict", "--ignore-missing-imports", str(program)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'Revealed type is "int | None"' in done.stdout.replace(
        "Union[int, None]", "int | None"
    )
    assert "RandomForestClassifier" in done.stdout
    assert 'Unexpected keyword argument "wieght"' in done.stdout
