"""scikit-learn's own classes, subclassed on first use with ``type()``."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if

from dfml import _frames
from dfml._relations import join_lazily
from dfml.estimators._base import LazyEstimatorMixin, answers
from dfml.estimators._iid import fit_on_sample
from dfml.exceptions import InputTypeError
from dfml.responses._methods import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FirstPartitionMixin", "iid_namespace", "make_class"]

_PARAGRAPH = """\
This is scikit-learn's class with one difference: a lazy table (dask DataFrame or Array,
DuckDB relation) is fitted on its first partition that has rows, which takes for granted
that partitions are independent and identically distributed. ``y`` and
``sample_weight`` may be names of columns. ``partition_`` is the number of that
partition. Response methods answer lazy tables lazily, partition by partition.
"""


class FirstPartitionMixin(LazyEstimatorMixin):
    """Fit on the first partition that has rows; everything after it is lazy.

    Stands before a scikit-learn class in the bases of each class of ``dfml.iid``.
    """

    _parent: type[Any]

    if TYPE_CHECKING:

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...

    @property
    def _response_estimator(self) -> Any:
        """The same state as an instance of scikit-learn's own class.

        Bound methods of ``super()`` cannot be shipped: they pickle to the override.
        """
        twin = object.__new__(self._parent)
        twin.__dict__.update(self.__dict__)
        return twin

    def _check_ready(self) -> None:
        """Leave the check to scikit-learn: its ``fit`` may call response methods."""

    def _fit_first_partition(self, given: dict[str, Any]) -> None:
        where = f"{type(self).__name__}.fit"
        X, y, weight = (given.pop(k, None) for k in (_X(given), _y(given), _WEIGHT))
        table = join_lazily(where, X, y, weight)
        model = self._response_estimator
        sample = fit_on_sample(where, model, model.fit, table, given)
        # Only now: a fit that fails leaves the estimator as it was.
        for name in set(self.__dict__) - set(model.__dict__):
            delattr(self, name)  # as names of features, when there are none this time
        self.__dict__.update(model.__dict__)
        self.__dict__.setdefault("n_samples_seen_", len(sample.block))
        self.partition_ = sample.partition
        self._learn_outputs(
            table.features, table.target_names, table.named, sample.block.X[:2]
        )

    def _fit_and_answer(self, name: str, X: Any, y: Any, params: Any) -> Any:
        if _frames.is_lazy(X):
            return super()._fit_and_answer(name, X, y, params)
        self._forget_outputs()
        return getattr(self._parent, f"fit_{name}")(self, X, y, **params)


_WEIGHT = "sample_weight"


def _X(given: dict[str, Any]) -> str:
    return next(iter(given))


def _y(given: dict[str, Any]) -> str:
    return "y" if "y" in given else "Y"


def _make_fit(parent: type[Any]) -> Callable[..., Any]:
    signature = inspect.signature(parent.fit)

    @functools.wraps(parent.fit)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs).arguments
        given = {k: v for k, v in bound.items() if k not in ("self", *_rest(signature))}
        for rest in _rest(signature):
            given.update(bound.get(rest, {}))
        if _frames.is_lazy(given.get(_X(given))):
            self._fit_first_partition(given)
            return self
        self._forget_outputs()
        where = f"{type(self).__name__}.fit"
        labels = {name: given[name] for name in (_y(given), _WEIGHT) if name in given}
        X, y, weight = _frames.split_columns(
            where, given[_X(given)], labels.get(_y(given)), labels.get(_WEIGHT)
        )
        resolved = {_X(given): X, _y(given): y, _WEIGHT: weight}
        return parent.fit(self, **{k: resolved.get(k, v) for k, v in given.items()})

    return fit


def _rest(signature: inspect.Signature) -> list[str]:
    """Names of the ``**kwargs`` of a signature."""
    kind = inspect.Parameter.VAR_KEYWORD
    return [p.name for p in signature.parameters.values() if p.kind == kind]


def _make_partial_fit(parent: type[Any]) -> Callable[..., Any]:
    @functools.wraps(parent.partial_fit)
    def partial_fit(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        if _frames.is_lazy(X):
            name = parent.__name__
            raise InputTypeError.expecting(
                f"{name}.partial_fit",
                "in-memory data",
                _frames.describe(X),
                f"use dfml.Incremental({name}()) to train on all partitions",
            )
        self._forget_outputs()
        return parent.partial_fit(self, X, *args, **kwargs)

    # Some have it only if the estimators inside do.
    made: Callable[..., Any] = available_if(answers("partial_fit"))(partial_fit)
    return made


def _make_refusals(parent: type[Any]) -> dict[str, Any]:
    """Keep lazy tables out of the methods that are no response methods.

    What takes X and does not answer each row with a row of a table (``kneighbors``,
    ``apply``, ``staged_predict``) is scikit-learn's own, and would gather the table.
    """
    ours = set(dir(LazyEstimatorMixin)) | {"fit", "partial_fit"}
    return {
        name: _make_refusal(parent, name)
        for name in dir(parent)
        if not name.startswith("_") and name not in ours and _takes_X(parent, name)
    }


def _takes_X(parent: type[Any], name: str) -> bool:
    method = getattr(parent, name, None)
    if not inspect.isfunction(method):
        return False
    return list(inspect.signature(method).parameters)[:2] == ["self", "X"]


def _make_refusal(parent: type[Any], name: str) -> Any:
    original = getattr(parent, name)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        X = args[0] if args else kwargs.get("X")
        if _frames.is_lazy(X):
            raise InputTypeError.expecting(
                f"{parent.__name__}.{name}",
                "in-memory data, as it is no response method",
                _frames.describe(X),
                f"call it where partitions are, ddf.map_partitions(model.{name})",
            )
        return original(self, *args, **kwargs)

    return available_if(answers(name))(method)


def _documented(parent: type[Any]) -> str:
    """Put one paragraph more after the summary of the parent's docstring."""
    summary, _, rest = inspect.cleandoc(parent.__doc__ or "").partition("\n\n")
    return f"{summary}\n\n{_PARAGRAPH}\n{rest}"


@functools.cache
def make_class(parent: type[Any], module: str) -> type[Any]:
    """Subclass a scikit-learn class so that it takes lazy tables.

    Parameters
    ----------
    parent : type
        The scikit-learn class.
    module : str
        Module of dfml from which the class is imported, for pickles.

    Returns
    -------
    cls : type
        Same name and parameters; made once.
    """
    namespace: dict[str, Any] = {
        "__module__": module,
        "__qualname__": parent.__name__,
        "__doc__": _documented(parent),
        "_parent": parent,
        **_make_refusals(parent),
        "fit": _make_fit(parent),
    }
    if hasattr(parent, "partial_fit"):
        namespace["partial_fit"] = _make_partial_fit(parent)
    options = {}
    if hasattr(parent, "_sklearn_auto_wrap_output_keys"):
        # Without this a subclass of TfidfTransformer would gain set_output.
        keys = parent._sklearn_auto_wrap_output_keys
        options["auto_wrap_output_keys"] = tuple(keys) or None
    return type(parent.__name__, (FirstPartitionMixin, parent), namespace, **options)


def _has_response(candidate: Any) -> bool:
    if not (inspect.isclass(candidate) and issubclass(candidate, BaseEstimator)):
        return False
    if inspect.isabstract(candidate) or not hasattr(candidate, "fit"):
        return False
    return any(
        hasattr(candidate, response.name)
        for response in RESPONSES
        if response.name != "inverse_transform"
    )


def _is_mirrored(module: Any, name: str) -> bool:
    """Tell a module's own public estimators from what it imports for itself."""
    # vars() and not getattr(): experimental estimators refuse to be looked at.
    candidate = vars(module).get(name)
    if name.startswith("_") or not _has_response(candidate):
        return False
    own: str = candidate.__module__
    return own.startswith(module.__name__)


def _all_order(name: str) -> tuple[bool, str]:
    return not name.isupper(), name


def iid_namespace(
    parent: str, own: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the attributes of a module that mirrors one of scikit-learn's.

    Parameters
    ----------
    parent : str
        The scikit-learn module, such as ``"sklearn.linear_model"``.
    own : str
        ``__name__`` of the mirror.

    Returns
    -------
    getattr, dir, all : tuple
        For ``__getattr__, __dir__, __all__`` of the module (PEP 562). Listed are the
        estimators that have a response method; the others could not answer lazily.
    """
    mirrored = importlib.import_module(parent)
    # A set: an experimental import adds names to scikit-learn's list once more.
    exported = set(getattr(mirrored, "__all__", None) or dir(mirrored))
    names = sorted(
        (name for name in exported if _is_mirrored(mirrored, name)), key=_all_order
    )

    def module_getattr(name: str) -> Any:
        if not _is_mirrored(mirrored, name):
            raise AttributeError(
                f"module {own!r} has no attribute {name!r}; it mirrors those "
                f"estimators of {parent!r} that have a response method"
            )
        cls = make_class(getattr(mirrored, name), own)
        setattr(sys.modules[own], name, cls)
        return cls

    return module_getattr, lambda: list(names), names
