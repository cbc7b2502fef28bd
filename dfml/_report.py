"""What ``predict_table`` tells about what it has done; kept as JSON beside a target."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any, Self

__all__ = ["PredictionReport", "versions"]


@dataclass(frozen=True)
class PredictionReport:
    """What ``predict_table`` has done.

    Parameters
    ----------
    target : str
        The folder of the table.
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
        chosen = {each.name: plain[each.name] for each in fields(cls)}
        return cls(**{**chosen, "columns": tuple(plain["columns"])})


def versions() -> dict[str, str]:
    """List Python and the packages whose versions can change a result."""
    names = ("dfml", "scikit-learn", "dask", "pyarrow", "pandas", "numpy")
    return {"python": platform.python_version()} | {n: version(n) for n in names}
