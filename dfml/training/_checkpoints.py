"""A training kept on disk, so that a fit goes on after a crash of the process.

Each job has a folder of its own, named by a digest of its data, parameters and seed, so
that clones in a search do not meet. Checkpoints are pickles: the folder must be as
trusted as the program itself.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from dask.tokenize import TokenizationError

from dfml._data_tokens import data_token
from dfml._digest import content_digest
from dfml._frames import as_frame, describe, is_relation
from dfml.exceptions import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfml.training._steps import Step, Training
    from dfml.training._watching import EarlyStopping, History

__all__ = ["Checkpoints", "Job", "name_data"]

#: Seconds of training between two checkpoints, as a lost step costs at most those.
EVERY_SECONDS = 2.0

_RECOGNISED = "data that a later process can recognise, for checkpoint="


def name_data(where: str, collection: Any) -> str:
    """Name lazy data, the same in every process.

    Parameters
    ----------
    where : str
        The call, for messages.
    collection : dask DataFrame, Series or Array, or DuckDB relation
        The data.

    Returns
    -------
    token : str
        Another one for other data.

    Raises
    ------
    CheckpointError
        If it is a relation, or dask cannot tell whether two such tables are the same.
    """
    if is_relation(collection):
        raise CheckpointError.expecting(
            where,
            _RECOGNISED,
            describe(collection),
            "keep its rows, read_sql(query, connection, spill_to=folder), and take "
            "that frame",
        )
    try:
        return data_token(as_frame(where, collection).expr)
    except TokenizationError as err:
        raise CheckpointError.expecting(
            where,
            _RECOGNISED,
            "a table with a part that has no fixed token",
            "write the table to Parquet first, and read it from there",
        ) from err


class Job:
    """What is trained: the same data, parameters and seed are the same job.

    Parameters
    ----------
    where : str
        The call, for messages.
    directory : path
        Holds a folder for each job.
    joint : dask collection
        The data; its token must be deterministic.
    parameters : dict
        All that the result depends on beside the data.

    Raises
    ------
    CheckpointError
        If dask cannot tell whether two such tables are the same.
    """

    def __init__(
        self, where: str, directory: Any, joint: Any, parameters: dict[str, Any]
    ) -> None:
        self.where = where
        if Path(directory).exists() and not Path(directory).is_dir():
            raise CheckpointError.expecting(
                where,
                "checkpoint= to name a folder, there or not there yet",
                f"a file, {str(directory)!r}",
                "name another place",
            )
        token = name_data(where, joint)
        self.folder = Path(directory) / content_digest(token, parameters)[:32]

    def seed(self, draw: Callable[[], int | None]) -> int | None:
        """Draw a seed once, and keep it for the runs to come."""
        path = self.folder / "seed.json"
        content = _read(path)
        if content is not None:
            kept: int | None = json.loads(content)
            return kept
        seed = draw()
        _write(path, json.dumps(seed).encode())
        return seed

    def load(self) -> dict[str, Any] | None:
        """Read the last checkpoint, if there is one.

        Raises
        ------
        CheckpointError
            If other versions of the packages wrote it, or it is broken.
        """
        path = self.folder / "checkpoint.pickle"
        content = _read(path)
        if content is None:
            return None
        try:
            kept: dict[str, Any] = pickle.loads(content)
        except Exception as err:
            raise CheckpointError.expecting(
                self.where, "a whole checkpoint", f"{path}: {err}", "remove the folder"
            ) from err
        if kept["versions"] != _versions():
            raise CheckpointError.expecting(
                self.where,
                f"a checkpoint of {_versions()}",
                f"one of {kept['versions']} in {self.folder}",
                "go back to those versions, or remove the folder to begin anew",
            )
        return kept

    def save(self, **state: Any) -> None:
        """Replace the checkpoint by a new one, whole or not at all.

        Raises
        ------
        CheckpointError
            If the training holds what cannot be pickled, such as a lambda.
        """
        try:
            pickled = pickle.dumps({**state, "versions": _versions()}, protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError) as err:
            raise CheckpointError.expecting(
                self.where,
                "an estimator and a scorer that can be pickled, for checkpoint=",
                str(err),
                "define their classes and functions at the top of a module",
            ) from err
        _write(self.folder / "checkpoint.pickle", pickled)

    def remove(self) -> None:
        """Drop the checkpoint of a job that is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _versions() -> dict[str, str]:
    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__}


def _read(path: Path) -> bytes | None:
    """Read a file; None if there is none, or no longer."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes) -> None:
    """Replace a file, also while another run of the job ends and removes the folder."""
    for attempt in range(10):
        try:
            _replace(path, content)
        except FileNotFoundError:
            if attempt == 9:
                raise
        else:
            break


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Checkpoints:
    """Saves the training every few seconds, and at the end of each epoch.

    Parameters
    ----------
    job : Job
        Where to.
    done : int
        Turns done before.
    history, stopping : watchers
        Saved along.
    """

    def __init__(
        self, job: Job, done: int, history: History, stopping: EarlyStopping
    ) -> None:
        self._job = job
        self._done = done
        self._history = history
        self._stopping = stopping
        self._saved = time.monotonic()

    def after_step(self, _: Step, state: Callable[[], Training]) -> bool:
        """Save if the last time is long ago."""
        self._done += 1
        if time.monotonic() - self._saved > EVERY_SECONDS:
            self._save(state())
        return False

    def after_epoch(self, _: int, state: Callable[[], Training]) -> bool:
        """Save."""
        self._save(state())
        return False

    def _save(self, training: Training) -> None:
        self._job.save(
            training=training,
            done=self._done,
            history=self._history.rows,
            scores=self._stopping.scores,
        )
        self._saved = time.monotonic()
