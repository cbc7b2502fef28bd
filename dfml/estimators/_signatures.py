"""What ``inspect.signature`` says of ``fit``: the truth about ``sample_weight``."""

from __future__ import annotations

import functools
import inspect
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FitMethod", "takes"]


def takes(method: Any, parameter: str) -> bool:
    """Tell whether a method names a parameter in its signature."""
    return method is not None and parameter in inspect.signature(method).parameters


class FitMethod:
    """A method whose signature names ``sample_weight`` if the inner method does.

    scikit-learn asks signatures, not documentation, whether weights are taken
    (``has_fit_parameter``). The method itself takes them in ``**fit_params`` always.

    Parameters
    ----------
    method : function
        ``fit`` of a wrapper, ending in ``**fit_params``.
    inner : str
        The method of the inner estimator that decides.
    """

    def __init__(self, method: Callable[..., Any], inner: str) -> None:
        self.method = method
        self.inner = inner
        self.__doc__ = method.__doc__

        @functools.wraps(method)
        def weighted(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        weighted.__signature__ = _with_weight(inspect.signature(method))  # type: ignore[attr-defined]
        self.weighted = weighted

    def __get__(self, obj: Any, owner: type[Any] | None = None) -> Any:
        """Bind the variant that is true for this instance."""
        if obj is None:
            return self.method
        inner = getattr(obj.estimator, self.inner, None)
        weighted = takes(inner, "sample_weight")
        return MethodType(self.weighted if weighted else self.method, obj)


def _with_weight(signature: inspect.Signature) -> inspect.Signature:
    weight = inspect.Parameter(
        "sample_weight", inspect.Parameter.KEYWORD_ONLY, default=None
    )
    *others, rest = signature.parameters.values()
    is_open = rest.kind == inspect.Parameter.VAR_KEYWORD
    if not is_open or weight.name in signature.parameters:
        return signature
    return signature.replace(parameters=[*others, weight, rest])
