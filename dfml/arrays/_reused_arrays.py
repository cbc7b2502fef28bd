"""Arrays whose memory is used again, once nobody has them any more.

Blocks of a stream are as large as what the system hands out page by page and takes back
at once: clearing new pages took longer than copying rows into them.
"""

from __future__ import annotations

import uuid
import weakref
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

__all__ = ["ReusedArrays"]


class ReusedArrays:
    """Hands out arrays, and takes back the memory of those that are gone.

    Memory is used again when the last view of an array is gone, and not before: who
    keeps an array, or rows of it, has it for good. Any thread may ask for arrays and
    let go of them. Copies that are unpickled in another process are one there, with
    memory of its own, which is let go with the last of its arrays.
    """

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []
        self._is_closed = False
        self._name = uuid.uuid4().hex

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        """Give an array of any content.

        Parameters
        ----------
        shape, dtype
            As in ``numpy.empty``.

        Returns
        -------
        array : ndarray
            C-ordered.
        """
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(shape, dtype)
        if memory.shape != shape or memory.dtype != dtype:
            memory = np.empty(shape, dtype)
        # Weak, or an array that is kept would keep all memory that is free. But tasks
        # come and go, and between two of them only arrays know where they are from.
        is_copy = _copies.get(self._name) is self
        owner = (lambda: self) if is_copy else weakref.ref(self)
        return np.asarray(_Lent(memory, owner))

    def __reduce__(self) -> Any:
        return _copy, (self._name,)

    def close(self) -> None:
        """Let go of all memory that nobody has, now and later."""
        self._is_closed = True
        self._free.clear()

    def take_back(self, memory: np.ndarray) -> None:
        """Keep memory for the next array."""
        self._free.append(memory)
        if self._is_closed:
            self._free.clear()


class _Lent:
    """What all views of an array refer to in the end; it goes with the last of them."""

    def __init__(
        self, memory: np.ndarray, owner: Callable[[], ReusedArrays | None]
    ) -> None:
        self.__array_interface__: Any = memory.__array_interface__
        self._memory = memory
        self._owner = owner

    def __del__(self) -> None:
        arrays = self._owner()
        if arrays is not None:
            arrays.take_back(self._memory)


#: What this process has unpickled, by name.
_copies: WeakValueDictionary[str, ReusedArrays] = WeakValueDictionary()


def _copy(name: str) -> ReusedArrays:
    fresh = ReusedArrays()
    fresh._name = name
    return _copies.setdefault(name, fresh)
