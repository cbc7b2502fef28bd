from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import sklearn

import dfml
from dfml.responses._methods import RESPONSES

DOCS = Path(__file__).resolve().parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows_of(text: str) -> list[str]:
    """First cells of a page's tables, without code marks."""
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


@pytest.fixture
def generator():
    path = DOCS / "partial_fit_table.py"
    spec = importlib.util.spec_from_file_location("partial_fit_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_table_of_partial_fit_estimators_is_true(generator):
    written = generator.read_table()
    if not sklearn.__version__.startswith(written.split()[1] + "."):
        pytest.skip("the page shows another version of scikit-learn")

    assert generator.make_table() == written


def test_every_error_has_its_line():
    assert sorted(rows_of(page("errors.md"))) == dfml.exceptions.__all__


def test_errors_are_also_what_the_page_says():
    lines = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page("errors.md"), re.MULTILINE)

    for name, builtin in lines:
        bases = [base.__name__ for base in getattr(dfml.exceptions, name).__mro__]
        assert builtin in bases[1:]


def test_every_response_method_has_its_line():
    assert rows_of(page("prediction.md"))[: len(RESPONSES)] == [
        response.name for response in RESPONSES
    ]


def test_every_public_name_is_in_the_api():
    text = page("api.md")

    assert [name for name in dfml.__all__ if f"dfml.{name}" not in text] == []


def test_every_page_is_listed():
    listed = {"index", *page("index.md").split()}

    assert {path.stem for path in DOCS.glob("*.md")} <= listed


def test_decisions_are_numbered():
    numbers = [path.name[:4] for path in sorted((DOCS / "design").glob("0*.md"))]

    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]
