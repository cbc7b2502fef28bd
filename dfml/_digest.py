"""A digest of what objects hold, the same after they were saved and loaded."""

from __future__ import annotations

import copyreg
import hashlib
import types
from typing import Any

import cloudpickle
import numpy as np

__all__ = ["content_digest"]

# Their state counts the queries that they have answered.
_COUNTING = ("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree")
# Text vectorizers note which object their stop words are.
_IDENTITIES = ("_stop_words_id",)
_ARRAYS = (np.ndarray, np.memmap)
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)


def content_digest(*values: Any) -> str:
    """Digest objects by what they hold: types, names and values, not identities.

    Parameters
    ----------
    *values : object
        Fitted estimators, and what else belongs to the model.

    Returns
    -------
    digest : str
        64 hexadecimal digits.

    Notes
    -----
    The bytes of a pickle will not do: they depend on which equal objects are one
    object, which changes when a model is saved and loaded. This walks over the state
    that pickle would keep; it holds scikit-learn's version, as that state does. An
    object whose state is in no order, or changes as it answers, gets another digest
    each time, which costs a job its resumption and nothing else.
    """
    return _Walk().digest(values).hex()


class _Walk:
    """One walk over a tree of objects, each of which is digested once."""

    def __init__(self) -> None:
        # The object is kept with its digest, so that no other gets its id.
        self._known: dict[int, tuple[Any, bytes]] = {}

    def digest(self, value: Any) -> bytes:
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in _PLAIN:
            return _hash(type(value).__name__.encode(), repr(value).encode())
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        # What an object finds where it contains itself.
        self._known[id(value)] = value, b"itself"
        found = self._compound(value)
        self._known[id(value)] = value, found
        return found

    def _compound(self, value: Any) -> bytes:
        if type(value) in _ARRAYS:
            return self._array(value)
        if isinstance(value, np.dtype):
            return _hash(b"dtype", repr(value).encode())
        if isinstance(value, _NAMED):
            return self._named(value)
        kind = type(value)
        if kind is dict:  # functions may go by the order
            return _hash(b"dict", *self._items(value))
        if kind in (list, tuple):
            return _hash(kind.__name__.encode(), self._all(value))
        if kind in (set, frozenset):
            return _hash(b"set", *sorted(map(self.digest, value)))
        return self._reduced(value)

    def _items(self, value: dict[Any, Any]) -> list[bytes]:
        items = value.items()
        return [self._all(item) for item in items if item[0] not in _IDENTITIES]

    def _all(self, values: Any) -> bytes:
        return _hash(*map(self.digest, values))

    def _array(self, array: np.ndarray) -> bytes:
        if array.dtype.names:  # what lies between the fields is in no order
            fields = [(name, array[name]) for name in array.dtype.names]
            return _hash(b"record", self._all(fields))
        form = f"{array.dtype.str} {array.shape}".encode()
        if array.dtype.hasobject:
            return _hash(form, self._all(array.ravel().tolist()))
        return _hash(form, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _named(self, value: Any) -> bytes:
        # Functions of NumPy have no qualified name before 2.2.
        own = getattr(value, "__qualname__", value.__name__)
        name = f"{getattr(value, '__module__', '')}.{own}"
        if "<" in name or name.startswith("__main__."):
            return _hash(b"code", cloudpickle.dumps(value))
        return _hash(b"name", name.encode())

    def _reduced(self, value: Any) -> bytes:
        if isinstance(value, np.random.RandomState):
            return _hash(b"random", self.digest(value.get_state(legacy=False)))
        if isinstance(value, np.random.Generator):
            return _hash(b"random", self.digest(value.bit_generator.state))
        if isinstance(value, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(value)
            return _hash(b"masked", self._all([value.data, mask, value.fill_value]))
        kind = type(value)
        reduce = copyreg.dispatch_table.get(kind)
        reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
        if isinstance(reduced, str):
            return _hash(b"name", reduced.encode())
        function, arguments, *rest = reduced
        state = rest[0] if rest else None
        if kind.__module__ in _COUNTING:
            state = [part for part in state or () if isinstance(part, np.ndarray)]
        if isinstance(state, dict):  # attributes, in no order
            state = sorted(self._items(state))
        items = [None if part is None else list(part) for part in rest[1:3]]
        return _hash(b"object", self._all([kind, function, arguments, state, *items]))


def _hash(*parts: Any) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.digest()
