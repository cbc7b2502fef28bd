"""Rules about the code itself, each checked by a machine."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dfml"

# From the lowest to the highest: a module or package imports only from its own line
# and from lines before it. `__init__` is the package itself, as in
# `from dfml import read_sql`.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("exceptions",),
    ("_full_disk",),
    ("_optional",),
    ("_dask_settings",),
    ("_threads",),
    ("_digest",),
    ("_finishing",),
    ("_waiting",),
    ("_schema",),
    ("_loaders",),
    ("_partitions",),
    ("_data_tokens",),
    ("sources",),
    ("arrays",),
    ("_frames",),
    ("_relations",),
    ("_streams",),
    ("responses",),
    ("_scoring",),
    ("training",),
    ("estimators",),
    ("iid",),
    ("_model_places",),
    ("_trust", "models"),
    ("sinks",),
    ("_report",),
    ("table",),
    ("sql_functions",),
    ("testing",),
    ("accessor",),
    ("datasets",),
    ("plotting",),
    ("__init__",),
    ("demo",),
    ("cli",),
)

LOADED_ON_USE = (
    "click",
    "deltalake",
    "distributed",
    "duckdb",
    "matplotlib",
    "pyiceberg",
    "skops",
)

FORBIDDEN_NAMES = {"common", "helper", "helpers", "util", "utils"}

DOCSTRING_CODES = {
    "GL08",  # there is no docstring
    "SS03",  # the summary does not end with a period
    "PR01",  # a parameter is not documented
    "PR02",  # a documented parameter does not exist
    "PR03",  # the parameters are in another order
    "RT03",  # a returned value has no description
    "RT04",  # ... which does not start with a capital letter
    "RT05",  # ... which does not end with a period
}
# What is made from scikit-learn's classes has scikit-learn's docstrings.
DOCSTRINGS_FROM_ELSEWHERE = ("dfml.iid.",)

MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 500

# Written in parts, so that this file does not contain them.
MACHINE_PATHS = tuple("/" + name for name in ("work/", "tmp/w", "root/"))

SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}
# Importing `__main__` would run it.
IMPORTABLE = [name for name in MODULES if not name.endswith("__main__")]


@cache
def syntax_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


# (a) Imports point one way


def layer_of(module: str) -> str:
    """Return the layer of a dotted name: its first part inside dfml."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def absolute_base(node: ast.ImportFrom, path: Path) -> str:
    """Return the module a `from` statement names, with its dots resolved."""
    if not node.level:
        return node.module or ""
    package = path.parent.relative_to(ROOT).parts
    base = package[: len(package) - node.level + 1]
    return ".".join((*base, *filter(None, [node.module])))


def imported_layers(path: Path) -> list[tuple[int, str]]:
    """Return the line and the layer of each import from dfml, wherever it stands."""
    found = []
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute_base(node, path)
            names = [base]
            if base == "dfml":  # `from dfml import _frames` names a module too
                full = [f"dfml.{alias.name}" for alias in node.names]
                names = [name if name in MODULES else "dfml" for name in full]
        else:
            continue
        found += [
            (node.lineno, layer_of(name))
            for name in names
            if name.split(".")[0] == "dfml"
        ]
    return found


RANKS = {name: rank for rank, group in enumerate(LAYERS) for name in group}


def test_every_module_has_a_layer():
    unlisted = {layer_of(name) for name in MODULES} - set(RANKS)

    assert not unlisted, (
        f"{sorted(unlisted)} of dfml have no place in LAYERS of {Path(__file__).name}."
        " Add each after the last module it imports."
    )


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    own = RANKS.get(layer_of(name), len(LAYERS))
    upward = [
        f"line {line}: imports {layer!r}"
        for line, layer in imported_layers(MODULES[name])
        if RANKS.get(layer, -1) > own
    ]

    assert not upward, (
        f"{name} imports what is above it in LAYERS: {'; '.join(upward)}."
        " Move the shared part down, or pass it as an argument."
    )


def imported_modules(name: str) -> set[str]:
    """Return the modules of dfml that one imports, a package where that is meant."""
    found = set()
    for node in ast.walk(syntax_tree(MODULES[name])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute_base(node, MODULES[name])
            full = {f"{base}.{alias.name}" for alias in node.names}
            found |= {each if each in MODULES else base for each in full}
    return found & set(MODULES) - {name}


def test_no_imports_in_a_circle():
    imports = {name: imported_modules(name) for name in MODULES}

    assert imports["dfml.arrays._packer"] >= {"dfml.arrays._blocks", "dfml._schema"}
    TopologicalSorter(imports).prepare()  # a CycleError names the modules


@pytest.mark.parametrize(
    ("statement", "layers"),
    [
        ("import numpy", []),
        ("import dfml", ["__init__"]),
        ("import dfml.cli, dfml.sources.sql", ["cli", "sources"]),
        ("from dfml.exceptions import DfmlError", ["exceptions"]),
        ("from dfml import exceptions, read_sql", ["exceptions", "__init__"]),
        ("from . import _x", ["sources"]),
        ("from .. import exceptions", ["exceptions"]),
        ("from ..exceptions import DfmlError", ["exceptions"]),
        ("def f():\n    from dfml.cli import main", ["cli"]),
        ("if TYPE_CHECKING:\n    from dfml.table import Report", ["table"]),
        ("import dfmlx", []),
    ],
)
def test_imports_are_found(statement, layers, monkeypatch):
    monkeypatch.setitem(globals(), "syntax_tree", lambda _: ast.parse(statement))

    found = imported_layers(PACKAGE / "sources" / "_probe.py")

    assert [layer for _, layer in found] == layers


# (b) The import is light


def test_import_loads_nothing_optional():
    program = "import sys, dfml; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split()).intersection(LOADED_ON_USE)

    assert not loaded, (
        f"`import dfml` loads {sorted(loaded)}. Import them where they are used;"
        " `python -X importtime -c 'import dfml'` shows who does."
    )


# (c) __all__


def all_order(name: str) -> tuple[int, list[str | int]]:
    """Sort as ruff's RUF022 does: constants, classes, the rest, numbers by value."""
    is_constant = name.isupper() and len(name) > 1
    is_class = name[:1].isupper()
    kind = 0 if is_constant else 1 if is_class else 2
    pieces = re.split(r"(\d+)", name)
    return kind, [int(piece) if piece.isdigit() else piece for piece in pieces]


@pytest.mark.parametrize("name", IMPORTABLE)
def test_all_is_sorted_and_true(name):
    module = importlib.import_module(name)
    exported = list(getattr(module, "__all__", []))

    missing = [each for each in exported if not hasattr(module, each)]
    assert not missing, f"{name}.__all__ names what is not there: {missing}."
    assert exported == sorted(set(exported), key=all_order), (
        f"{name}.__all__ is not sorted, or names something twice."
        " `ruff check --select RUF022 --fix` sorts it."
    )


def test_completion_offers_public_names_alone():
    import dfml

    assert set(dir(dfml)) == set(dfml.__all__)


# (d) Names


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_named_for_what_they_hold(name):
    vague = FORBIDDEN_NAMES.intersection(
        part.strip("_").lower() for part in name.split(".")
    )

    assert not vague, f"{name}: {vague} says nothing. Name it for what it owns."


# (e) Docstrings


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def public_methods(cls: type, name: str) -> list[str]:
    """Return the public methods and properties that dfml itself gives to a class."""
    found = []
    for attribute in dir(cls):
        owner = next((c for c in cls.__mro__ if attribute in vars(c)), object)
        ours = owner.__module__.split(".")[0] == "dfml"
        if attribute.startswith("_") or not ours:
            continue
        raw = vars(owner)[attribute]
        value = inspect.getattr_static(cls, attribute)
        if isinstance(value, property) or (
            callable(getattr(cls, attribute, None)) and not inspect.isclass(raw)
        ):
            found.append(f"{name}.{attribute}")
    return found


@cache
def public_objects() -> tuple[str, ...]:
    """Return the dotted names of all that has to have a docstring."""
    found: dict[int, list[str]] = {}
    for module_path in filter(is_public, IMPORTABLE):
        if module_path.startswith(DOCSTRINGS_FROM_ELSEWHERE):
            continue
        module = importlib.import_module(module_path)
        for attribute in getattr(module, "__all__", []):
            value = getattr(module, attribute)
            # The type of a click command is neither, and its text is for the shell.
            if not (inspect.isclass(value) or inspect.isroutine(value)):
                continue
            name = f"{module_path}.{attribute}"
            names = [name]
            if inspect.isclass(value):
                names += public_methods(value, name)
            found.setdefault(id(value), names)
    return tuple(name for names in found.values() for name in names)


def takes_any_arguments(name: str) -> bool:
    """Tell exceptions apart: they take what their builtin takes, undocumented."""
    module_path, _, attribute = name.rpartition(".")
    value = getattr(sys.modules.get(module_path), attribute, None)
    return (
        inspect.isclass(value)
        and issubclass(value, BaseException)
        and not inspect.isfunction(value.__init__)
    )


def docstring_errors(name: str) -> list[str]:
    """Return what numpydoc has against one docstring, among the codes we keep."""
    numpydoc = pytest.importorskip("numpydoc.validate")

    class Validator(numpydoc.Validator):
        # Read only for "numpydoc ignore" comments, which we do not use; and numpydoc
        # stops with StopIteration where a method was made by a lambda.
        source_file_def_line = 1

        def __init__(self, obj_name):
            super().__init__(numpydoc.get_doc_object(self._load_obj(obj_name)))

    unchecked = ("PR",) if takes_any_arguments(name) else ()
    errors = numpydoc.validate(name, validator_cls=Validator)["errors"]
    return [
        f"{name}: {code} {message}"
        for code, message in errors
        if code in DOCSTRING_CODES and not code.startswith(unchecked)
    ]


def test_public_docstrings_are_valid():
    problems = [error for name in public_objects() for error in docstring_errors(name)]

    assert not problems, "Docstrings to mend:\n" + "\n".join(problems)


def test_bad_docstrings_are_found(monkeypatch):
    from dfml import datasets

    def make_blobs(n_samples, n_features):
        """Make

        Parameters
        ----------
        n_features : int
            Number of features.
        """

    monkeypatch.setattr(datasets, "make_blobs", make_blobs)

    found = " ".join(docstring_errors("dfml.datasets.make_blobs"))

    assert "SS03" in found
    assert "PR01 Parameters {'n_samples'}" in found


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_own(name):
    assert ast.get_docstring(syntax_tree(MODULES[name])), (
        f"{name} has no docstring. Say what it owns and what must not go in it."
    )


# (f) Sizes


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines from the first statement after the docstring to the last."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_short(name):
    long = [
        f"{node.name} (line {node.lineno}): {body_lines(node)} lines"
        for node in ast.walk(syntax_tree(MODULES[name]))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_lines(node) > MAX_FUNCTION_LINES
    ]

    assert not long, (
        f"{name} has bodies of more than {MAX_FUNCTION_LINES} lines: {long}."
        " Give a part of each a name."
    )


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name):
    n_lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())

    assert n_lines <= MAX_MODULE_LINES, (
        f"{name} has {n_lines} lines, more than {MAX_MODULE_LINES}. Split it by what"
        " its parts know."
    )


# (g) What is in the repository


def tracked_files() -> list[Path]:
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_file_names_a_path_of_one_machine():
    found = []
    for path in tracked_files():
        if not path.is_file():  # deleted, and not committed yet
            continue
        content = path.read_bytes()
        found += [
            f"{path.relative_to(ROOT)}: {machine_path}"
            for machine_path in MACHINE_PATHS
            if machine_path.encode() in content
        ]

    assert not found, f"Paths that exist on one machine only: {found}."


def test_no_lock_file():
    tracked = [path for path in tracked_files() if path.name == "uv.lock"]

    assert not tracked, f"{tracked}: a library does not pin what its users install."
    assert not (ROOT / "uv.lock").exists(), "Remove uv.lock."
