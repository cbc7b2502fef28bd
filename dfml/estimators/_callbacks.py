"""Stand-ins for ``sklearn.callback``, which scikit-learn 1.8 does not have."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["CallbackSupportMixin", "with_callbacks"]

Method = TypeVar("Method")


class CallbackSupportMixin:
    """Has no callbacks."""


def with_callbacks(method: Method) -> Method:
    """Return the method as it is."""
    return method
