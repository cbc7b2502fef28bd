"""A digest of what objects hold, the same after they were saved and loaded."""

from __future__ import annotations

import dis
import hashlib
import pickle
import types
from operator import itemgetter
from typing import Any

import cloudpickle
import numpy as np

from dfml.exceptions import EstimatorTypeError

__all__ = ["content_digest"]

# Their state counts the queries that they have answered.
_COUNTING = ("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree")
# Text vectorizers note which object their stop words are.
_IDENTITIES = ("_stop_words_id",)
_ARRAYS = (np.ndarray, np.memmap)
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)
# All that a function does, without the lines where it stands.
_CODE = (
    "co_code",
    "co_consts",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_flags",
    "co_exceptiontable",
)
_LOOK_UPS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
# What Python keeps in a class beside its members: caches, and where it was written.
_NO_MEMBERS = frozenset(
    {
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
    }
)


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
        if "<" not in name and not name.startswith("__main__."):
            return _hash(b"name", name.encode())
        # No other process has it by that name: what it does counts, not where it is.
        if isinstance(value, type):
            return _hash(b"class", own.encode(), self._members(value))
        if isinstance(value, types.FunctionType):
            return _hash(b"function", own.encode(), self._function(value))
        return _hash(b"code", cloudpickle.dumps(value))

    def _members(self, kind: type) -> bytes:
        members = [each for each in vars(kind).items() if each[0] not in _NO_MEMBERS]
        return self._all([kind.__bases__, *sorted(members, key=itemgetter(0))])

    def _function(self, function: types.FunctionType) -> bytes:
        code, space = function.__code__, function.__globals__
        used = {name: space[name] for name in _global_names(code) if name in space}
        rest = [function.__closure__, function.__defaults__, function.__kwdefaults__]
        return self._all([code, sorted(used.items(), key=itemgetter(0)), *rest])

    def _unreduced(self, value: Any) -> list[Any] | None:
        """Give the parts of what a pickle says more of, or less; None for all else."""
        if isinstance(value, types.CodeType):
            return [getattr(value, name) for name in _CODE]
        if isinstance(value, np.random.RandomState):
            return [value.get_state(legacy=False)]
        if isinstance(value, np.random.Generator):
            return [value.bit_generator.state]
        if isinstance(value, np.ma.MaskedArray):
            return [value.data, np.ma.getmaskarray(value), value.fill_value]
        return None

    def _reduced(self, value: Any) -> bytes:
        kind = type(value)
        parts = self._unreduced(value)
        if parts is not None:
            return _hash(kind.__name__.encode(), self._all(parts))
        # Of modules, properties and others inside a class of a script too.
        reduce = cloudpickle.Pickler.dispatch_table.get(kind)
        try:
            reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
        except (TypeError, pickle.PicklingError) as err:
            raise EstimatorTypeError.expecting(
                "The digest of a model",
                "parts that can be pickled, as files and workers need",
                f"a {kind.__module__}.{kind.__qualname__}, which cannot: {err}",
                "leave it out of what fit keeps, and move the class or function that "
                "uses it from the script to a module",
            ) from err
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


def _global_names(code: types.CodeType) -> set[str]:
    """Name what a function, and those inside it, look up in their module."""
    steps = dis.get_instructions(code)
    found = {step.argval for step in steps if step.opname in _LOOK_UPS}
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return found.union(*map(_global_names, inner))


def _hash(*parts: Any) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.digest()
