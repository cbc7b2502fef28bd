from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import dfml
from dfml.arrays._packer import missing_labels
from dfml.cli import main
from dfml.cli._status import Progress, as_time
from dfml.cli._wording import HINTS, in_options


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        (
            "predict",
            'pass mode="overwrite", or another',
            "pass --mode overwrite, or another",
        ),
        ("predict", "correct keep=.", "correct --keep."),
        ("predict", "pass name=, prefix= or", "pass --name, --prefix or"),
        ("predict", "pass resume=False", "pass --no-resume"),
        ("predict", 'or on_bad_file="skip"', "or --on-bad-file skip"),
        ("predict", "write checks={...: dfml.Check(...)}", "write --check"),
        (
            "predict",
            "the author, load_model(path, trusted=['a.B', 'c.D'])",
            "the author, --trust a.B --trust c.D",
        ),
        ("predict", "/lake/mode=3/name=x/0.parquet", "/lake/mode=3/name=x/0.parquet"),
        ("predict", "leave spill_to= out", "leave spill_to= out"),
        (
            "fit",
            "pass all classes, fit(..., classes=[...])",
            "pass all classes, --classes",
        ),
        (
            "fit",
            'dfml.IID(estimator, sample="random") or sample=0.1',
            "--sample random or --sample 0.1",
        ),
        ("score", "pass scoring= to dfml", "pass --scoring to dfml"),
        (
            "fit",
            str(missing_labels("fit", "a", 3)).partition("Hint: ")[2],
            'leave those rows out, in SQL with WHERE "a" IS NOT NULL.',
        ),
    ],
)
def test_arguments_become_options(command, text, expected):
    assert in_options(text, main.commands[command]) == expected


def test_hints_for_the_command_line_stand_for_some_of_the_library():
    modules = Path(dfml.__file__).parent.rglob("*.py")
    texts = [path.read_text() for path in modules if path.parent.name != "cli"]
    # Texts that go over several lines are joined as Python joins them.
    library = re.sub(r'"\s*\n\s*f?"', "", "\n".join(texts))
    for hint in HINTS.keys() - {"a DuckDBPyConnection"}:
        assert hint in library, hint


def test_hints_name_options_and_no_python(run, model, database, tmp_path):
    target = tmp_path / "new.duckdb"
    forgotten = run("predict", model, "FROM parcels", tmp_path / "scored")
    assert "file of the table with --database" in forgotten.stderr
    written = run("score", model, "DELETE FROM parcels", "--database", database)
    assert "run it in DuckDB, and read its result" in written.stderr
    shutil.copy(database, target)
    both = ["FROM parcels", target, "--database", target]
    unnamed = run("predict", model, *both)
    assert "Got no --table for a DuckDB database." in unnamed.stderr
    other = run("predict", model, *both, "--format", "parquet")
    assert "leave --format out" in other.stderr
    for result in (forgotten, written, unnamed, other):
        assert result.exit_code == 1
        assert not re.search(r"connection\.\w|ddf|DuckDBPy", result.stderr)


def test_hints_of_errors_name_options(run, model, lake, tmp_path):
    target = tmp_path / "scored"
    run("predict", model, lake, target)

    taken = run("predict", model, lake, target, "--keep-none")
    assert "pass --mode overwrite" in taken.stderr
    unknown = run("predict", model, lake, tmp_path / "b", "--keep", "nothing")
    assert "Hint: correct --keep." in unknown.stderr
    assert "=" not in unknown.stderr.partition("Hint:")[2]


def test_progress_tells_the_rate_and_the_time_left():
    progress = Progress(3, 100.0)
    progress.update(3, 10)
    assert progress.describe(101.0) == "[######..............] 3 of 10 parts, 30%"

    progress.update(5, 10)
    assert progress.describe(104.0) == (
        "[##########..........] 5 of 10 parts, 50%, 0.5 a second, 10 s left"
    )
    assert [as_time(each) for each in (59.4, 61, 7_300)] == [
        "59 s",
        "1 min 01 s",
        "2 h 01 min",
    ]
