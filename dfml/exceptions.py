"""Every error and warning of dfml, one tree with ``DfmlError`` at its root.

Each error is also the builtin that a reader would expect (``ValueError``,
``TypeError``, ...). Exceptions of scikit-learn, dask and DuckDB are not renamed:
they pass through with a note that says in which partition they happened.
"""

from __future__ import annotations

from typing import Self

__all__ = [
    "BadFileError",
    "CheckFailedError",
    "CheckpointError",
    "ColumnCollisionError",
    "ColumnMismatchError",
    "DfmlError",
    "DfmlWarning",
    "DiskFullError",
    "EmptyTableError",
    "EstimatorTypeError",
    "InputTypeError",
    "LabelError",
    "MissingDependencyError",
    "ModelFileError",
    "PartitionMismatchError",
    "QueryError",
    "SourceError",
    "TargetError",
    "TargetExistsError",
    "UnknownOutputError",
    "UntrustedTypeError",
]


class DfmlError(Exception):
    """Root of all errors that dfml raises itself."""

    @classmethod
    def expecting(cls, where: str, expected: str, got: str, hint: str) -> Self:
        """Build the error from the four parts that every message has.

        Parameters
        ----------
        where : str
            The call as the user wrote it, such as ``Incremental.fit``.
        expected, got : str
            What was needed and what came, in the caller's words.
        hint : str
            One thing to do, without the final full stop.

        Returns
        -------
        error : DfmlError
            An instance of the class this is called on.
        """
        return cls(f"{where} expects {expected}. Got {got}.\n\nHint: {hint}.")


class PartitionMismatchError(DfmlError, ValueError):
    """X, y and the weights do not have the same partitions or rows."""


class CheckpointError(DfmlError, ValueError):
    """A checkpoint is broken, of other versions, or cannot be made of this data."""


class ColumnMismatchError(DfmlError, ValueError):
    """A frame lacks columns of the contract, or has them with another kind."""


class ColumnCollisionError(DfmlError, ValueError):
    """An output column has the name of a column that is already there."""


class EmptyTableError(DfmlError, ValueError):
    """There is no row to work on."""


class LabelError(DfmlError, ValueError):
    """A label is missing, unknown, or there are too many or too few of them."""


class EstimatorTypeError(DfmlError, TypeError):
    """The estimator cannot do what it is asked for."""


class InputTypeError(DfmlError, TypeError):
    """The input is of a kind, or a mixture of kinds, that is not taken."""


class UnknownOutputError(DfmlError, ValueError):
    """The columns of a lazy result cannot be known without computing it."""


class QueryError(DfmlError, ValueError):
    """The SQL is not one query, or the database refused it."""


class SourceError(DfmlError, ValueError):
    """A file or table cannot be read, or its parts do not fit together."""


class BadFileError(SourceError):
    """A file of the source is broken: its footer or its data cannot be read."""

    reason: str = ""
    """What the reader has said."""


class CheckFailedError(DfmlError, ValueError):
    """What was to be written is not what ``checks=`` expects; nothing is visible."""


class TargetError(DfmlError, ValueError):
    """The place to write to cannot take what would be written, or the mode."""


class TargetExistsError(DfmlError, FileExistsError):
    """The place to write to is taken."""


class DiskFullError(DfmlError, OSError):
    """There is no room for what has to be written."""


class ModelFileError(DfmlError, ValueError):
    """A model file is broken or is not a model file."""


class UntrustedTypeError(ModelFileError):
    """A model file asks for types that nobody has said to trust."""


class MissingDependencyError(DfmlError, ImportError):
    """An optional package is needed and not installed."""


class DfmlWarning(UserWarning):
    """Something the user should know that does not stop the work."""
