"""What ``predict_table`` tells about what it has done; kept as JSON beside a target."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from typing import Any, Self

__all__ = ["PredictionReport", "snapshot", "versions"]


@dataclass(frozen=True)
class PredictionReport:
    """What ``predict_table`` has done.

    Parameters
    ----------
    target : str
        The table: its folder, or its name in a catalog or database.
    job : str
        Digest of the source's files, the model and the options.
    model : str
        Digest of the model's content.
    columns : tuple of str
        The columns of the table.
    rows, parts, files, bytes : int
        Of all that the job has written; a part is a file, or more if the table is
        partitioned.
    resumed_parts : int
        Parts that an earlier, interrupted call had finished.
    predicted_rows : int
        Rows that were predicted in this call: 0 if the job was done already.
    seconds : float
        Duration of the call that has committed the table.
    versions : dict
        Of Python and the packages that took part.
    source : dict
        The source as it was read: its name, its version or number of files, and a
        digest of what decides which rows it has.
    skipped_files : dict of str to str
        Paths of files that were broken, and why.
    figures : dict
        What was measured for ``checks``, by column.
    done_before : bool
        Whether an earlier call had committed the job, and this one had nothing to do.
    """

    target: str
    job: str
    model: str
    columns: tuple[str, ...]
    rows: int
    parts: int
    files: int
    bytes: int
    resumed_parts: int
    predicted_rows: int
    seconds: float
    versions: dict[str, str]
    source: dict[str, Any] = field(default_factory=dict)
    skipped_files: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    done_before: bool = False

    @property
    def rows_per_second(self) -> float:
        """Rows predicted in this call, by its seconds."""
        return self.predicted_rows / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain data that fits in JSON.

        Returns
        -------
        report : dict
            All fields, and ``rows_per_second``.
        """
        plain = {**asdict(self), "columns": list(self.columns)}
        return {**plain, "rows_per_second": self.rows_per_second}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Make a report of what :meth:`to_dict` has given.

        Parameters
        ----------
        plain : dict
            Plain data; what is no field is left out.

        Returns
        -------
        report : PredictionReport
            Equal to the one that was given as plain data.
        """
        names = [each.name for each in fields(cls) if each.name in plain]
        chosen = {name: plain[name] for name in names}
        return cls(**{**chosen, "columns": tuple(plain["columns"])})


def snapshot(name: str, version: dict[str, Any]) -> dict[str, Any]:
    """Sum up the version of a source: lists become their lengths, with a digest of all.

    Parameters
    ----------
    name : str
        Of the source, for people.
    version : dict
        Plain data that changes when the rows may have changed.

    Returns
    -------
    snapshot : dict
        Small plain data.
    """
    digest = hashlib.sha256(json.dumps(version, default=str).encode()).hexdigest()
    short = {
        key: len(each) if isinstance(each, list | tuple | dict) else each
        for key, each in version.items()
    }
    return {"name": name, **short, "digest": digest}


def versions() -> dict[str, str]:
    """List Python and the packages whose versions can change a result."""
    names = ("dfml", "scikit-learn", "dask", "pyarrow", "pandas", "numpy")
    return {"python": platform.python_version()} | {n: _version(n) for n in names}


@cache
def _version(package: str) -> str:
    return version(package)  # which reads files
