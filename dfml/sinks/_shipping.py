"""Large objects on their way to other processes: through a file, once for each.

A model that a scheduler passes on is in its memory, in its messages and in those of
each worker before any of them has the model itself. Workers that write to one folder
can read from it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import uuid
from typing import TYPE_CHECKING, Any

import cloudpickle

from dfml.exceptions import SourceError

if TYPE_CHECKING:
    from dfml.sinks._files import FileSystem

__all__ = ["Shipped"]

_CHUNK = 2**24


class Shipped:
    """A function that is pickled as the name and digest of a file that holds it.

    Parameters
    ----------
    value : callable
        What other processes need; it arrives there as what it is here.
    folder : str
        A folder that they see; the file goes with it.
    files : FileSystem
        All calls go through it.
    """

    def __init__(self, value: Any, folder: str, files: FileSystem) -> None:
        self.value = value
        self._folder, self._files = folder, files
        self._sent: tuple[str, str, list[int]] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.value(*arguments)

    def __reduce__(self) -> Any:
        if self._sent is None:
            self._sent = self._write()
        return _load, self._sent

    def _write(self) -> tuple[str, str, list[int]]:
        buffers: list[pickle.PickleBuffer] = []
        head = cloudpickle.dumps(self.value, protocol=5, buffer_callback=buffers.append)
        path = os.path.join(self._folder, f"answers-{uuid.uuid4().hex}")
        pieces = [head, *(buffer.raw() for buffer in buffers)]
        digest = hashlib.sha256()
        with self._files.create(path) as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        return path, digest.hexdigest(), [len(piece) for piece in pieces]


def _load(path: str, digest: str, sizes: list[int]) -> Any:
    """Load what was shipped; nothing is unpickled that was not sent."""
    found = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            head, *buffers = [_read(file, size, found) for size in sizes]
    except FileNotFoundError as err:
        raise SourceError.expecting(
            "predict_table",
            f"workers that see {os.path.dirname(path)!r}, where the model is",
            "one that does not",
            "use a target on a disk that every worker shares",
        ) from err
    if found.hexdigest() != digest:
        raise OSError(f"{path!r} is not what was written for this job")
    return pickle.loads(head, buffers=buffers)


def _read(file: Any, size: int, digest: Any) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    at = 0
    while at < size:
        n_read = file.readinto(view[at : at + _CHUNK])
        if not n_read:
            raise OSError(f"{file.name!r} ends before its content")
        digest.update(view[at : at + n_read])
        at += n_read
    return content
