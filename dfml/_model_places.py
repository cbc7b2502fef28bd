"""Where a model file may be written, and how: whole, and over no other kind of file."""

from __future__ import annotations

import os
import uuid
import zipfile
from typing import TYPE_CHECKING

from dfml.exceptions import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_replaceable", "replace_file"]


def check_replaceable(where: str, path: Path) -> None:
    """Refuse a place for a model where another kind of file is.

    Parameters
    ----------
    where : str
        What is called, for the error.
    path : Path
        Where a model is to be written. Nothing, an empty file, and a model file of
        dfml or skops may be there.

    Raises
    ------
    ModelFileError
        Naming the file.
    """
    if path.is_dir():
        found = "a folder"
    elif path.exists() and path.stat().st_size > 0 and not _is_model(path):
        found = "a file that is no model"
    else:
        return
    raise ModelFileError.expecting(
        where,
        "a new file, or a model file to replace",
        f"{path}, {found}",
        "choose another name, or remove what is there if it can go",
    )


def _is_model(path: Path) -> bool:
    """Tell if a file looks like one of skops, whatever its content."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "schema.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def replace_file(target: Path, content: bytes) -> None:
    """Write a file as a whole: after a crash the old one is there, or the new one.

    Parameters
    ----------
    target : Path
        Where; symbolic links are followed.
    content : bytes
        All of it.
    """
    target = target.resolve()
    partial = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":  # the new name is on disk only when the folder is
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
