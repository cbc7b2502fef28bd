"""Writes the stubs that let editors complete what ``dfml.iid`` makes on first use.

``python -m dfml.iid._stubs`` writes them anew, for another version of scikit-learn.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import sklearn

__all__ = ["stubs", "version_of_stubs", "write_stubs"]

_FOLDER = Path(__file__).parent
_PACKAGE = "dfml.iid"
_VERSION = "# Made by dfml.iid._stubs from scikit-learn "
_HEAD = """\
{version}
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"
"""
#: In scikit-learn's modules only after an import of ``sklearn.experimental``.
_EXPERIMENTAL = frozenset(
    {"HalvingGridSearchCV", "HalvingRandomSearchCV", "IterativeImputer"}
)


def stubs() -> dict[Path, str]:
    """Make the text of every stub.

    Returns
    -------
    stubs : dict
        By the path of the file.
    """
    return {
        path.with_suffix(".pyi"): _stub(path)
        for path in sorted(_FOLDER.rglob("*.py"))
        if path.stem == "__init__" or not path.stem.startswith("_")
    }


def version_of_stubs() -> str:
    """Tell for which version of scikit-learn the stubs on disk were made.

    Returns
    -------
    version : str
        Its first two numbers.
    """
    first = (_FOLDER / "linear_model.pyi").read_text(encoding="utf-8")
    return first.partition("\n")[0].removeprefix(_VERSION)


def write_stubs() -> None:
    """Write every stub beside its module."""
    for path, text in stubs().items():
        path.write_text(text, encoding="utf-8")


def _stub(path: Path) -> str:
    parts = path.relative_to(_FOLDER).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    module = importlib.import_module(".".join((_PACKAGE, *parts)))
    version = _VERSION + ".".join(sklearn.__version__.split(".")[:2])
    lines = [_HEAD.format(version=version)]
    classes = [
        getattr(module, name)
        for name in getattr(module, "__all__", [])
        if name not in _EXPERIMENTAL and inspect.isclass(getattr(module, name, None))
    ]
    if classes:
        lines += _imports(classes, ".".join(("sklearn", *parts)))
    lines += _modules(path)
    for cls in classes:
        lines += _class(cls)
    return "\n".join(lines) + "\n"


def _imports(classes: list[Any], parent: str) -> list[str]:
    return [
        "from typing import Any, Self\n",
        *(f"from {parent} import {c.__name__} as _{c.__name__}" for c in classes),
        "\nfrom dfml.iid._classes import FirstPartitionMixin\n",
    ]


def _modules(path: Path) -> list[str]:
    """List the modules of a package, so that they are seen without an import."""
    if path.stem != "__init__":
        return []
    within = ".".join((_PACKAGE, *path.parent.relative_to(_FOLDER).parts))
    names = {
        found.parent.name if found.stem == "__init__" else found.stem
        for pattern in ("[a-z]*.py", "[a-z]*/__init__.py")
        for found in path.parent.glob(pattern)
    }
    return [f"from {within} import {name} as {name}" for name in sorted(names)]


def _class(cls: Any) -> list[str]:
    name = cls.__name__
    signature = inspect.signature(cls.fit)
    parameters = ", ".join(_parameter(p) for p in signature.parameters.values())
    return [
        f"\nclass {name}(FirstPartitionMixin, _{name}):",
        "    partition_: int | None",
        f"    def fit({parameters}) -> Self: ...",
    ]


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.name == "self":
        return "self"
    stars: dict[Any, str] = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
    default = "" if parameter.default is parameter.empty else " = ..."
    return f"{stars.get(parameter.kind, '')}{parameter.name}: Any{default}"


if __name__ == "__main__":
    write_stubs()
