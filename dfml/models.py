"""Model files: write, read and inspect fitted estimators, without pickle.

A model file is a skops file with two additions that skops does not look at:
``dfml.json``, a card of plain facts, and a SHA-256 digest in the comment of the zip.
What is trusted is never read from a file. Nothing here knows tables or partitions.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import math
import os
import platform
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from dfml._model_places import check_replaceable, replace_file
from dfml._trust import trusted_among, walk_states
from dfml.exceptions import (
    DfmlError,
    DfmlWarning,
    EstimatorTypeError,
    InputTypeError,
    ModelFileError,
    UntrustedTypeError,
)
from dfml.responses._partitionwise import PartitionwiseMixin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ModelCard", "inspect_model", "load_model", "save_model"]

_CARD = "dfml.json"
_MARK = b"dfml sha256 "
_N_DIGITS = 64


@dataclass(frozen=True)
class ModelCard:
    """What a model file says about its model.

    The card describes and grants nothing: what a load would make, and would have to
    be trusted for, is read from the content of the file itself.

    Parameters
    ----------
    estimator : str
        Import path of the class of the model.
    inner_estimator : str or None
        Class of the scikit-learn estimator inside a model of dfml.
    n_features : int or None
        Number of features.
    feature_names : list or None
        Feature names in the order of ``fit``, where they are known.
    feature_kinds : list of str or None
        One kind a feature (number, text, time, ...), after a fit on a lazy table.
    target : str, list or None
        Target column or columns, after a fit on a lazy table.
    classes : list or None
        Classes of a classifier; a list of lists for several targets.
    parameters : dict or None
        Parameters of ``get_params``; what is not plain data is shown as text.
    dfml_version, sklearn_version, python_version : str or None
        Versions when the file was written; None in files of other programs.
    file_size : int
        Bytes on disk.
    untrusted_types : list of str
        What has to be named in ``load_model(path, trusted=[...])``.
    """

    estimator: str
    inner_estimator: str | None
    n_features: int | None
    feature_names: list[Any] | None
    feature_kinds: list[str] | None
    target: Any
    classes: list[Any] | None
    parameters: dict[str, Any] | None
    dfml_version: str | None
    sklearn_version: str | None
    python_version: str | None
    file_size: int
    untrusted_types: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Give the card as a dict of plain data, for ``json.dumps``.

        Returns
        -------
        card : dict
            One item a field.
        """
        return asdict(self)


def save_model(model: Any, path: str | os.PathLike[str]) -> Path:
    """Write a fitted model to a file, without pickle.

    The compressed file is made in memory, then written beside its place, flushed to
    disk and renamed: after a crash the old file is there, or the new one.

    Parameters
    ----------
    model : estimator
        Fitted, of dfml, scikit-learn, or built like theirs.
    path : str or path-like
        Where to write. A model file of that name is replaced, any other file is not. By
        custom it ends in ``.skops``.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model is not fitted; save parameters with ``get_params`` instead.
    EstimatorTypeError
        If it is not an estimator.
    ModelFileError
        If it holds something that cannot be stored, such as a lambda, or that cannot be
        read again, which is tried; or if the file is there and is no model file.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from dfml.models import inspect_model, load_model, save_model
    >>> model = LinearRegression().fit(np.array([[0.0], [1.0]]), [1.0, 3.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_model(model, pathlib.Path(folder) / "line.skops")
    ...     inspect_model(path).n_features, load_model(path).predict([[2.0]]).round()
    (1, array([5.]))
    """
    if isinstance(model, type) or not hasattr(model, "fit"):
        raise EstimatorTypeError.expecting(
            "save_model",
            "a fitted estimator",
            repr(model)[:100],
            "pass an instance after fit",
        )
    check_is_fitted(model)
    target = Path(path)
    check_replaceable("save_model", target)
    replace_file(target, _encode(model))
    return target


def load_model(path: str | os.PathLike[str], *, trusted: Iterable[str] = ()) -> Any:
    """Read a model from a file; nothing runs that nobody has said to trust.

    Parameters
    ----------
    path : str or path-like
        A file of :func:`save_model`, or any other skops file.
    trusted : iterable of str, default=()
        Import paths of further types and functions that may be made, as the error
        and :func:`inspect_model` list them. dfml trusts its own estimators, those of
        scikit-learn, and what is inside its forests and boosted trees.

    Returns
    -------
    model : estimator
        As it was saved: the same predictions to the bit, parameters and columns.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UntrustedTypeError
        If the file asks for types that are not trusted; none of it has run then.
    ModelFileError
        If the file is damaged, or is not a model file.

    Warns
    -----
    DfmlWarning
        If the file was written under another version of scikit-learn.

    Notes
    -----
    Trust is about types. A hostile file of trusted types runs no code of its own, but
    may hold a wrong model, or a tree whose indices crash the process in ``predict``.
    """
    from skops import io as skops_io

    data = _read("load_model", path)
    with _one_error("load_model", path):
        facts = _parse(data)
        asked = skops_io.get_untrusted_types(data=data)
        known = trusted_among(asked, _schema_of(data))
    unknown = sorted(set(asked) - _names(trusted) - known)
    if unknown:
        raise UntrustedTypeError.expecting(
            "load_model",
            "a model file with types that are trusted",
            f"{os.fspath(path)}, which asks for {unknown}",
            f"if you know them and the author, load_model(path, trusted={unknown})",
        )
    with _one_error("load_model", path), warnings.catch_warnings():
        # One warning below stands for one of each estimator inside.
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        model = skops_io.loads(data, trusted=asked)
    _warn_of_version(path, facts["sklearn_version"])
    return model


def inspect_model(path: str | os.PathLike[str]) -> ModelCard:
    """Tell what is in a model file without making any object of it.

    Parameters
    ----------
    path : str or path-like
        A file of :func:`save_model`; other skops files show less.

    Returns
    -------
    card : ModelCard
        Classes, features, parameters, versions, and what would have to be trusted.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged, or is not a model file.
    """
    from skops import io as skops_io

    data = _read("inspect_model", path)
    with _one_error("inspect_model", path):
        facts = _parse(data)
        asked = skops_io.get_untrusted_types(data=data)
        known = trusted_among(asked, _schema_of(data))
        facts["untrusted_types"] = sorted(set(asked) - known)
        facts["file_size"] = len(data)
        return ModelCard(**facts)


# Writing


def _encode(model: Any) -> bytes:
    from skops import io as skops_io

    try:
        stored = io.BytesIO(
            skops_io.dumps(model, compression=zipfile.ZIP_DEFLATED, compresslevel=6)
        )
    except Exception as err:
        raise _cannot_store(model, f"{type(err).__name__}: {err}") from err
    with zipfile.ZipFile(stored, "a", zipfile.ZIP_DEFLATED) as archive:
        for state in walk_states(json.loads(archive.read("schema.json"))):
            _check_importable(model, state)
        archive.writestr(_CARD, json.dumps(_describe(model), indent=2))
        archive.comment = _MARK + b"0" * _N_DIGITS
    _check_comes_back(model, stored.getvalue())
    content = stored.getvalue()[:-_N_DIGITS]
    return content + hashlib.sha256(content).hexdigest().encode()


def _check_importable(model: Any, state: dict[str, Any]) -> None:
    """Refuse what skops stores by name although nobody can import it by that name."""
    module, name = state["__module__"], state["__class__"]
    if module is None:
        return
    try:
        getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as err:
        raise _cannot_store(
            model, f"{module}.{name}, which has no import path"
        ) from err


def _check_comes_back(model: Any, data: bytes) -> None:
    """Refuse what skops writes and cannot read, such as Timestamps among objects."""
    from skops import io as skops_io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            skops_io.loads(data, trusted=skops_io.get_untrusted_types(data=data))
    except Exception as err:
        what = f"parts that cannot be read again ({type(err).__name__}: {err})"
        raise _cannot_store(model, what) from err


def _cannot_store(model: Any, what: str) -> ModelFileError:
    return ModelFileError.expecting(
        "save_model",
        "a model of types that skops can store",
        f"a {type(model).__name__} with {what}",
        "use functions and classes at the top level of a module, numbers and text in"
        " the place of other objects, or leave this part out of the model",
    )


def _describe(model: Any) -> dict[str, Any]:
    ours = isinstance(model, PartitionwiseMixin)
    contract = model._contract if ours else None
    names = getattr(model, "feature_names_in_", None)
    if contract is not None:
        names = contract.names if contract.named else None
    classes = getattr(model, "classes_", None)
    n_features = getattr(model, "n_features_in_", None)
    return {
        "estimator": _path_of(type(model)),
        "inner_estimator": _path_of(type(model._response_estimator)) if ours else None,
        "n_features": None if n_features is None else int(n_features),
        "feature_names": None if names is None else _plain(list(names)),
        "feature_kinds": _plain(contract.kinds) if contract is not None else None,
        "target": _plain(contract.target) if contract is not None else None,
        "classes": None if classes is None else _plain(list(classes)),
        "parameters": _plain(model.get_params(deep=True)),
        "dfml_version": version("dfml"),
        "sklearn_version": sklearn.__version__,
        "python_version": platform.python_version(),
    }


def _plain(value: Any) -> Any:
    """Show a value as JSON has it, or as a line of text."""
    if isinstance(value, np.generic | np.ndarray) and value.ndim < 2:
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if hasattr(value, "__qualname__"):
        return _path_of(value)
    has_name = hasattr(value, "get_params") or "object at 0x" in repr(value)
    text = _path_of(type(value)) if has_name else " ".join(repr(value).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _path_of(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


# Reading


@contextmanager
def _one_error(where: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a broken file causes into one error that names the file."""
    try:
        yield
    except DfmlError:
        raise
    except Exception as err:
        if _is_import(err):
            raise ModelFileError.expecting(
                where,
                "a model whose classes and functions can be imported here",
                f"{os.fspath(path)}, of which one cannot ({type(err).__name__}: {err})",
                "install its package, or put the folder of its module on PYTHONPATH",
            ) from err
        raise _not_a_model(where, path, f"{type(err).__name__}: {err}") from err


def _is_import(err: Exception) -> bool:
    """Tell if a module was not found, or has no such name."""
    is_name = isinstance(err, AttributeError) and isinstance(err.obj, ModuleType)
    return is_name or isinstance(err, ImportError)


def _not_a_model(where: str, path: str | os.PathLike[str], why: str) -> ModelFileError:
    return ModelFileError.expecting(
        where,
        "a whole model file, as save_model writes it",
        f"{os.fspath(path)} ({why})",
        "copy the file anew, or save the model again with the versions installed here",
    )


def _read(where: str, path: str | os.PathLike[str]) -> bytes:
    if Path(path).is_dir():
        raise _not_a_model(where, path, "a folder")
    data = Path(path).read_bytes()
    content, digest = data[:-_N_DIGITS], data[-_N_DIGITS:]
    if content.endswith(_MARK):
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise _not_a_model(where, path, "its bytes have changed")
        return data
    with _one_error(where, path), zipfile.ZipFile(io.BytesIO(data)) as archive:
        if _CARD in archive.namelist():
            raise ValueError("it has lost its digest")
    return data


def _schema_of(data: bytes) -> Any:
    """Read what skops makes the objects from."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read("schema.json"))


def _parse(data: bytes) -> dict[str, Any]:
    """Read the fields of the card, from JSON alone; what is not known is None."""
    schema = _schema_of(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        has_card = _CARD in archive.namelist()
        card = json.loads(archive.read(_CARD)) if has_card else {}
    path = f"{schema['__module__']}.{schema['__class__']}"
    if has_card and card["estimator"] != path:
        raise ValueError(f"the card says {card['estimator']}, the content {path}")
    facts = {field.name: card.get(field.name) for field in fields(ModelCard)}
    facts["estimator"] = path
    facts["sklearn_version"] = facts["sklearn_version"] or _version_in(schema)
    return facts


def _version_in(schema: dict[str, Any]) -> str | None:
    """Find the version that scikit-learn's estimators carry in their state."""
    for state in walk_states(schema):
        content = state.get("content")
        if isinstance(content, dict) and "_sklearn_version" in content:
            return str(json.loads(content["_sklearn_version"]["content"]))
    return None


def _warn_of_version(path: str | os.PathLike[str], saved: str | None) -> None:
    if saved is not None and saved != sklearn.__version__:
        warnings.warn(
            f"load_model read {os.fspath(path)}, which was saved under scikit-learn"
            f" {saved}, under {sklearn.__version__}. Its predictions may differ.\n\n"
            f"Hint: install scikit-learn=={saved}, or fit and save the model again.",
            DfmlWarning,
            stacklevel=3,
        )


def _names(trusted: Any) -> set[str]:
    names = [trusted] if isinstance(trusted, str) else trusted
    if isinstance(names, bool) or not all(isinstance(name, str) for name in names):
        raise InputTypeError.expecting(
            "load_model",
            "trusted as a list of type names",
            repr(trusted),
            "inspect_model(path).untrusted_types lists what the file asks for",
        )
    return set(names)
