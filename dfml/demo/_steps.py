"""The clock, the memory gauge and the folder of the demo."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dfml.exceptions import TargetExistsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["OUTPUTS", "Step", "Steps", "peak_memory", "prepare_folder"]

#: What is in the folder afterwards.
OUTPUTS = {
    "lake": "the parcels, a folder a month",
    "warehouse.duckdb": "weather, depots, and the join as a view",
    "late.skops": "the model",
    "features": "the join as Parquet",
    "scored": "every parcel with its probability to be late",
    "picture.png": "ROC and calibration on the month held back",
}
# Tells a folder that a demo has made, and may replace, from any other.
MARK = ".dfml-demo"
# What DuckDB and predict_table may leave beside their files.
TRACES = ("warehouse.duckdb.wal", ".scored.dfml")


@dataclass
class Step:
    """One thing that the demo does.

    Parameters
    ----------
    name : str
        One word.
    rows : int, default=0
        Rows it went over.
    text : str
        What was done with them.
    seconds : float
        How long it took.
    facts : dict
        What came out, as plain data.
    """

    name: str
    rows: int = 0
    text: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def rows_per_second(self) -> float:
        """The rate of the step."""
        return self.rows / self.seconds if self.seconds else 0.0


class Steps:
    """Times steps and reports each when it is done.

    Parameters
    ----------
    report : callable or None
        Called with each step.
    """

    def __init__(self, report: Callable[[Step], None] | None) -> None:
        self._report = report
        self._begin = time.perf_counter()
        self._done: list[Step] = []

    @contextmanager
    def take(self, name: str, rows: int = 0) -> Iterator[Step]:
        """Time what is done inside, and report it unless it fails."""
        step, begin = Step(name, rows), time.perf_counter()
        yield step
        step.seconds = time.perf_counter() - begin
        self._done.append(step)
        if self._report is not None:
            self._report(step)

    def summary(self) -> dict[str, Any]:
        """Give all that was measured, as plain data."""
        facts: dict[str, Any] = {
            "seconds": time.perf_counter() - self._begin,
            "peak_memory_bytes": peak_memory(),
            "steps": {
                step.name: {
                    "rows": step.rows,
                    "seconds": step.seconds,
                    "rows_per_second": step.rows_per_second,
                }
                for step in self._done
            },
        }
        for step in self._done:
            facts.update(step.facts)
        return facts


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def prepare_folder(folder: Path) -> Path:
    """Make the folder, or empty the one of an earlier demo.

    Only what a demo writes is removed; other files in the folder stay.

    Raises
    ------
    TargetExistsError
        If there is something that no demo has made.
    """
    mark = folder / MARK
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not mark.is_file() and not is_empty:
        raise TargetExistsError.expecting(
            "dfml demo",
            "a new folder, or one that an earlier demo has made",
            f"{str(folder)!r}, which is something else",
            "choose another folder with --output",
        )
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text("Made by `dfml demo`, which replaces this folder's content.\n")
    for name in (*OUTPUTS, *TRACES):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return folder.resolve()
