from __future__ import annotations

import pytest

from dfml.cli import main
from dfml.cli._status import Progress, as_time
from dfml.cli._wording import in_options


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
    ],
)
def test_arguments_become_options(command, text, expected):
    assert in_options(text, main.commands[command]) == expected


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
