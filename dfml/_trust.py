"""What a model file may be made of without anybody saying so.

Names are trusted one by one, and nothing of it is read from a file.
"""

from __future__ import annotations

from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from sklearn.utils import all_estimators

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["TRUSTED", "iid_types", "trusted_among", "walk_states"]

# Beside what skops trusts; one name each, never a prefix. All are plain Python but for
# the two tree types, whose indices scikit-learn follows without looking.
_TRUSTED_BY_MODULE = {
    "dfml._schema": "Contract OutputSchema",
    "dfml.estimators._iid": "IID",
    "dfml.estimators._incremental": "Incremental",
    "dfml.estimators._post_fit": "ParallelPostFit",
    "sklearn._loss.loss": "HalfTweedieLoss HalfTweedieLossIdentity",
    "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration",
    "sklearn.compose._column_transformer": "make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",
    "sklearn.feature_selection._univariate_selection": "chi2 f_classif f_regression",
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": "ConstantKernel Product RBF Sum WhiteKernel",
    "sklearn.metrics._scorer": "_PassthroughScorer",
    "sklearn.model_selection._split": "KFold StratifiedKFold TimeSeriesSplit",
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.tree._tree": "Tree",
    "sklearn.utils._bunch": "Bunch",
}
# Functions that may be bound to arguments, as boosted trees bind one to read
# categories. A partial of anything else may call it in ways that no type tells.
_TRUSTED_IN_PARTIALS = frozenset({"sklearn.utils.validation.check_array"})
_PARTIAL = "functools.partial"
# skops makes one from an empty array of the type, which it reads without pickle.
_DTYPE = "numpy.dtype"
TRUSTED = frozenset(
    f"{module}.{name}"
    for module, names in _TRUSTED_BY_MODULE.items()
    for name in names.split()
)


def trusted_among(asked: Sequence[str], schema: Any) -> set[str]:
    """Choose the names that dfml trusts of those that a file asks for.

    Parameters
    ----------
    asked : sequence of str
        What skops does not trust by itself.
    schema : dict
        The file's ``schema.json``, to look at what the names are used for.

    Returns
    -------
    names : set of str
        Of `asked`.
    """
    trusted = TRUSTED | _TRUSTED_IN_PARTIALS
    if any(name.startswith("dfml.iid.") for name in asked):
        trusted |= iid_types()
    if _has_known_partials(schema):
        trusted |= {_PARTIAL}
    if _has_known_dtypes(schema):
        trusted |= {_DTYPE}
    return {*asked} & trusted


def _has_known_partials(schema: Any) -> bool:
    """Tell if all partials in a schema are of functions that may be in one."""
    states = list(walk_states(schema))
    partials = [state for state in states if _name_of(state) == _PARTIAL]
    functions = [state["content"]["func"] for state in partials]
    # For an identifier that it has met before skops takes what it was then.
    known = {function.get("__id__") for function in functions}
    same = [state for state in states if state.get("__id__") in known]
    return all(
        state["__loader__"] == "FunctionNode"
        and _name_of(state) in _TRUSTED_IN_PARTIALS
        for state in [*functions, *same]
    )


def _has_known_dtypes(schema: Any) -> bool:
    """Tell if all dtypes in a schema are made as skops makes them."""
    return all(
        state["__loader__"] == "DTypeNode"
        for state in walk_states(schema)
        if _name_of(state) == _DTYPE
    )


def _name_of(state: dict[str, Any]) -> str:
    return f"{state['__module__']}.{state['__class__']}"


def walk_states(state: Any) -> Iterator[dict[str, Any]]:
    """Go through a schema for the states that skops makes objects from.

    Parameters
    ----------
    state : object
        A schema, or something in it.

    Yields
    ------
    state : dict
        With its loader, module and class.
    """
    pending = [state]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            pending += current.values()
            if "__loader__" in current:
                yield current
        elif isinstance(current, list):
            pending += current


@cache
def iid_types() -> frozenset[str]:
    """Name the classes of ``dfml.iid`` whose parents skops trusts."""
    names = set()
    for name, cls in all_estimators():
        package, *parts = cls.__module__.split(".")
        if package == "sklearn":
            public = takewhile(lambda part: not part.startswith("_"), parts)
            names.add(".".join(["dfml", "iid", *public, name]))
    return frozenset(names)
