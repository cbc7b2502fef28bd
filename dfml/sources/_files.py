"""The files of a source as they are on disk: paths, sizes and folder keys.

Nothing here reads a file, but for the first bytes of one that has an odd name.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlsplit

from dfml.exceptions import DfmlWarning, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EXTENSIONS",
    "SourceFile",
    "check_keys",
    "fixed_folder",
    "is_inside",
    "list_files",
    "local_path",
]

EXTENSIONS = (".parquet", ".parq", ".pq")

_MAGIC = b"PAR1"
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class SourceFile:
    """One file as it was when the table was listed.

    Parameters
    ----------
    path : str
        Absolute path.
    size, mtime_ns : int
        To notice a change before the file is read.
    keys : tuple of (str, str or None)
        Names and values of all ``name=value`` folders above the file, also of those
        that the source itself is in, as dask and DuckDB do it.
    """

    path: str
    size: int
    mtime_ns: int
    keys: tuple[tuple[str, str | None], ...] = ()


def list_files(where: str, source: str | os.PathLike[str]) -> list[SourceFile]:
    """List the Parquet files of a source, sorted by path.

    Parameters
    ----------
    where : str
        The call, for messages.
    source : path
        A file, a glob, or a folder that is searched to its depths. In a folder,
        names that begin with ``_`` or ``.`` and other extensions are left out, as
        dask does it.

    Returns
    -------
    files : list of SourceFile
        At least one.

    Raises
    ------
    SourceError
        If there is none, or something with the name of a file cannot be read as one.

    Warns
    -----
    DfmlWarning
        If Parquet files of a folder are left out for their extension.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(source)))
    if "://" in os.fspath(source) or not os.fspath(source):
        found = []
    elif os.path.isfile(path):
        found = [path]
    elif os.path.isdir(path):
        seen = list(_walk(where, path))
        found = [each for each in seen if each.endswith(EXTENSIONS)]
        _warn_of_others(where, sorted({*seen} - {*found}))
    else:
        found = [p for p in glob.glob(path, recursive=True) if not os.path.isdir(p)]
    if not found:
        got, hint = _what_is_there(os.fspath(source), path)
        raise SourceError.expecting(
            where,
            "a Parquet file, a glob, or a folder with Parquet files, on a file system",
            f"{os.fspath(source)!r}{got}",
            hint,
        )
    return [_describe_file(where, p) for p in sorted(found)]


def _what_is_there(source: str, path: str) -> tuple[str, str]:
    """Say what a source without files is, and what to do."""
    if not source:
        return ", an empty text", "pass a path; that of this folder is '.'"
    if "://" in source:
        return ", an address", "pass a path, of a copy on a disk if need be"
    ends = " or ".join(EXTENSIONS)
    if os.path.isdir(path):
        others = sorted(os.listdir(path))[:3]
        got = f", a folder with {others}" if others else ", an empty folder"
        return got, f"name the files so that they end in {ends}, or pass a glob"
    if glob.has_magic(path):
        return ", which no file matches", "end it in names of files, as in /*.parquet"
    return f": there is no {path!r}", "check the path"


def _walk(where: str, folder: str) -> Iterator[str]:
    def refuse(err: OSError) -> NoReturn:
        raise _no_file(where, str(err.filename), err) from err

    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        _check_link(where, parent)
        folders[:] = [name for name in folders if not name.startswith(("_", "."))]
        for name in names:
            if not name.startswith(("_", ".")):
                yield os.path.join(parent, name)


def _warn_of_others(where: str, paths: list[str]) -> None:
    """Say which files are left out although they are Parquet too."""
    left_out = [path for path in paths if _is_parquet(path)]
    if left_out:
        warnings.warn(
            f"{where} leaves out {len(left_out)} Parquet files, such as"
            f" {left_out[0]!r}, which does not end in {' or '.join(EXTENSIONS)}.\n\n"
            "Hint: rename them, or pass a glob that matches all files.",
            DfmlWarning,
            stacklevel=2,
        )


def _is_parquet(path: str) -> bool:
    try:
        if not os.path.isfile(path):  # a pipe would wait for somebody who writes
            return False
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _check_link(where: str, folder: str) -> None:
    """Refuse a link to a folder that it is in: its files would come again and again."""
    above, below = os.path.realpath(folder), os.path.realpath(os.path.dirname(folder))
    if os.path.islink(folder) and is_inside(below, above):
        raise SourceError.expecting(
            where,
            "links to other folders only",
            f"{folder!r}, a link to a folder that it is in itself",
            "remove the link, or pass a glob",
        )


def fixed_folder(pattern: str) -> str:
    """Take the folders of a glob that hold no wildcard."""
    while glob.has_magic(pattern):
        pattern = os.path.dirname(pattern)
    return pattern


def is_inside(path: str, folder: str) -> bool:
    """Tell if a path is a folder or somewhere below it; both are absolute."""
    return os.path.commonpath([folder, path]) == folder


def local_path(place: str) -> str | None:
    """Turn an address into an absolute path, None if it is on another storage."""
    if place.startswith("file:"):
        return os.path.abspath(unquote(urlsplit(place).path))
    if "://" in place:
        return None
    return os.path.abspath(os.path.expanduser(place))


def _describe_file(where: str, path: str) -> SourceFile:
    try:
        found = os.stat(path)
    except OSError as err:
        raise _no_file(where, path, err) from err
    if not stat.S_ISREG(found.st_mode):  # to open a pipe is to wait for ever
        raise _no_file(where, path)
    folders = os.path.dirname(path).split(os.sep)
    keys = tuple(
        (unquote(name), None if value == _HIVE_NULL else unquote(value))
        for name, value in (each.split("=", 1) for each in folders if "=" in each)
    )
    return SourceFile(path, found.st_size, found.st_mtime_ns, keys)


def _no_file(where: str, path: str, err: OSError | None = None) -> SourceError:
    """Make the error for what cannot be looked at, or is no file; `err` says why."""
    code = None if err is None else err.errno
    if err is None:
        reason, hint = "which is no regular file", "move it out of the source"
    elif code in (errno.EACCES, errno.EPERM):
        reason, hint = f"{err.strerror}", "let this user read it"
    elif os.path.islink(path):
        reason = f"a link to {os.readlink(path)!r}: {err.strerror}"
        hint = "mend the link, or move it out of the source"
    else:
        reason, hint = f"{err.strerror}", "call again when nobody writes to the source"
    return SourceError.expecting(
        where, "files that can be read", f"{path!r}, {reason}", hint
    )


def check_keys(where: str, files: list[SourceFile]) -> None:
    """Refuse files below folders of different keys, or twice of the same one.

    Raises
    ------
    SourceError
        Naming the files.
    """
    names = [name for name, _ in files[0].keys]
    for file in files:
        own = [name for name, _ in file.keys]
        if len(set(own)) < len(own):
            raise SourceError.expecting(
                where,
                "each key once among the name=value folders above a file",
                f"{own} for {file.path!r}",
                "rename one of the folders",
            )
        if own != names:
            raise SourceError.expecting(
                where,
                f"every file below folders of the same keys, {names} as "
                f"{files[0].path!r}",
                f"{own} for {file.path!r}",
                "pass one of the folders",
            )
