"""What the log of a Delta table says: columns, data files, partition values, deletes.

``deltalake`` replays the log. What a reader of data files has to do by itself, and what
it must refuse because it would read wrong rows, is here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from numbers import Integral
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from dfml._optional import import_optional
from dfml.exceptions import InputTypeError, SourceError
from dfml.sources._files import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DeltaColumn",
    "LoggedFile",
    "iter_files",
    "load_delta",
    "local_root",
    "read_columns",
]

#: Reader features under which rows are read right. Those of the second line are about
#: types of columns, or about vacuum; what is read does not change.
KNOWN_FEATURES = frozenset(
    {"columnMapping", "deletionVectors", "v2Checkpoint"}
    | {"timestampNtz", "vacuumProtocolCheck", "variantType", "variantType-preview"}
)
_WITH_FEATURES = 3
_OWN_TIMES = "delta.enableInCommitTimestamps"
_MAPPING = "delta.columnMapping.mode"
_PHYSICAL_NAME = b"delta.columnMapping.physicalName"


@dataclass(frozen=True)
class DeltaColumn:
    """One column of the table.

    Parameters
    ----------
    field : pyarrow Field
        Name, type and nullability in the table.
    stored : str
        Its name in the data files.
    is_partition : bool
        Whether its values are in the log and not in the files.
    problem : tuple of (str, str), optional
        Why it cannot be read: what is expected, and what is there.
    """

    field: Any
    stored: str
    is_partition: bool
    problem: tuple[str, str] | None = None


@dataclass(frozen=True)
class LoggedFile:
    """One data file of the table.

    Parameters
    ----------
    logged : str
        Its path as the log has it.
    path : str
        Absolute path.
    values : dict of str to pyarrow Scalar
        Of the partition columns.
    keep : ndarray of bool, optional
        False for deleted rows. Rows past its end are kept.
    """

    logged: str
    path: str
    values: dict[str, Any] = field(default_factory=dict)
    keep: Any = None


def load_delta(
    where: str,
    source: Any,
    version: int | None = None,
    timestamp: str | datetime | None = None,
) -> Any:
    """Open a Delta table at a version and check that it can be read right.

    Parameters
    ----------
    where : str
        The call, for messages.
    source : path or deltalake.DeltaTable
        An object brings its version.
    version : int, optional
        Another version.
    timestamp : str or datetime, optional
        The last version before this moment.

    Returns
    -------
    table : deltalake.DeltaTable
        On a local file system.

    Raises
    ------
    InputTypeError
        If an argument is of another kind.
    SourceError
        If there is no such table or version, or the log asks for a feature of readers
        that dfml does not have.
    """
    deltalake = import_optional("deltalake", extra="delta", needed_by=where)
    if version is not None and timestamp is not None:
        raise SourceError.expecting(
            where, "one of version and timestamp", "both", "drop one"
        )
    is_open = isinstance(source, deltalake.DeltaTable)
    if not is_open and not isinstance(source, str | os.PathLike):
        raise InputTypeError.expecting(
            where,
            "a path or a deltalake.DeltaTable",
            type(source).__name__,
            "pass the folder of the table",
        )
    root = local_root(where, source.table_uri if is_open else os.fspath(source))
    version = None if version is None else _version(where, version)
    moment = None if timestamp is None else _moment(where, timestamp)
    try:
        if not is_open or version is not None or moment is not None:
            source = deltalake.DeltaTable(root, version=version)
        if moment is not None:
            _go_back(where, source, root, moment)
    except SourceError:
        raise
    except Exception as err:
        raise _unreadable_log(where, root, err) from err
    _check_features(where, source)
    return source


def _version(where: str, version: Any) -> int:
    is_number = isinstance(version, Integral) and not isinstance(version, bool)
    if not is_number or version < 0:
        raise InputTypeError.expecting(
            where, "version= as a number from 0", repr(version), "pass an integer"
        )
    return int(version)


def _moment(where: str, timestamp: Any) -> datetime:
    """Read a moment; the time of a date is midnight, and the zone is UTC if none is."""
    given = timestamp.isoformat() if isinstance(timestamp, date) else timestamp
    try:
        moment = datetime.fromisoformat(given)
    except (TypeError, ValueError) as err:
        raise InputTypeError.expecting(
            where,
            "timestamp= as a datetime, a date or a text in the form of ISO 8601",
            repr(timestamp),
            'write it as in "2026-01-31T06:00"',
        ) from err
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def local_root(where: str, place: str) -> str:
    """Turn the address of a table or a file into a path of the file system.

    Raises
    ------
    SourceError
        If it is on another kind of storage.
    """
    path = local_path(place)
    if path is None:
        raise SourceError.expecting(
            where, "a table on a file system", repr(place), "copy it to a disk first"
        )
    return path


def _unreadable_log(where: str, root: str, err: BaseException) -> SourceError:
    return SourceError.expecting(
        where,
        "a Delta table whose log can be read",
        f"{root!r}: {type(err).__name__}: {err}",
        "look at the path and the version",
    )


def _go_back(where: str, table: Any, root: str, moment: datetime) -> None:
    """Load the last version before a moment."""
    if table.metadata().configuration.get(_OWN_TIMES, "false") == "true":
        # deltalake goes by the times of the files all the same.
        raise SourceError.expecting(
            where,
            "timestamp= for tables whose versions have the times of their files",
            f"{root!r}, whose log has times of its own",
            "pass version=",
        )
    table.load_as_version(moment)
    # deltalake gives the first version for all moments before it.
    commit = os.path.join(root, "_delta_log", f"{table.version():020}.json")
    if os.path.exists(commit) and os.stat(commit).st_mtime > moment.timestamp():
        raise SourceError.expecting(
            where,
            "a moment at which the table was there",
            f"{moment.isoformat()}, before version {table.version()}, the first",
            "pass a later timestamp, or version=",
        )


def _check_features(where: str, table: Any) -> None:
    """Refuse what would be read wrong, by the names that the protocol gives it."""
    protocol = table.protocol()
    reader = protocol.min_reader_version
    features = set(protocol.reader_features or ())
    unknown = sorted(features - KNOWN_FEATURES)
    if reader > _WITH_FEATURES:
        unknown.append(f"reader version {reader}")
    mode = _mapping_mode(table)
    if mode not in ("none", "name"):
        unknown.append(f"columnMapping by {mode}")
    if unknown:
        raise SourceError.expecting(
            where,
            "a Delta table of known reader features",
            f"{', '.join(unknown)} in {table.table_uri!r}",
            "read it with an engine that has them, and write it to Parquet",
        )


def _mapping_mode(table: Any) -> str:
    mode: str = table.metadata().configuration.get(_MAPPING, "none")
    return mode


def read_columns(table: Any) -> list[DeltaColumn]:
    """Give the columns of the table, in its order."""
    is_mapped = _mapping_mode(table) == "name"
    partitioned = set(table.metadata().partition_columns)
    declared = {
        each["name"]: each for each in json.loads(table.schema().to_json())["fields"]
    }
    return [
        _describe_column(each, declared[each.name]["type"], is_mapped, partitioned)
        for each in pa.schema(table.schema())
    ]


def _describe_column(
    each: Any, declared: Any, is_mapped: bool, partitioned: set[str]
) -> DeltaColumn:
    stored = (each.metadata or {}).get(_PHYSICAL_NAME, each.name.encode()).decode()
    problem = None
    if "variant" in _kinds(declared):
        problem = "types other than variant", f"it in column {each.name!r}"
    elif is_mapped and pa.types.is_nested(each.type):
        problem = (
            "flat columns in a table that maps column names",
            f"{each.type} in column {each.name!r}",
        )
    elif each.name in partitioned and declared == "binary":
        # The log has escapes in place of the bytes.
        problem = "partition columns of other types", f"binary in {each.name!r}"
    return DeltaColumn(
        field=pa.field(each.name, each.type, each.nullable),
        stored=stored if is_mapped else each.name,
        is_partition=each.name in partitioned,
        problem=problem,
    )


def _kinds(declared: Any) -> set[str]:
    """Collect the names of a type of the log and of the types inside it."""
    if isinstance(declared, str):
        return {declared}
    inside = [each["type"] for each in declared.get("fields", ())]
    inside += [
        declared[k] for k in ("elementType", "keyType", "valueType") if k in declared
    ]
    return set().union(*map(_kinds, inside))


def iter_files(where: str, table: Any, root: str) -> Iterator[LoggedFile]:
    """Yield the data files in an order that belongs to the version of the table.

    Files come by the time of writing, which is in the log, and then by path: what is
    appended is last, and a checkpoint changes nothing.
    """
    try:
        actions = pa.table(table.get_add_actions(flatten=False))
        deleted = _deletions(where, table)
    except SourceError:
        raise
    except Exception as err:
        raise _unreadable_log(where, root, err) from err
    values = _partition_values(actions)
    order = actions.select(["modification_time", "path"]).to_pylist()
    for i in sorted(range(len(order)), key=lambda i: tuple(order[i].values())):
        logged = order[i]["path"]
        path = _data_path(where, root, logged)
        keep = deleted.pop(path, None)
        yield LoggedFile(logged, path, {n: v[i] for n, v in values.items()}, keep)
    if deleted:
        raise SourceError.expecting(
            where,
            "deletion vectors for files of the table",
            f"one for {next(iter(deleted))!r} in {root!r}",
            "write the table again without them, with its OPTIMIZE or REORG",
        )


def _partition_values(actions: Any) -> dict[str, Any]:
    if "partition" not in actions.column_names:
        return {}
    values = actions.column("partition").combine_chunks()
    return {each.name: values.field(each.name) for each in values.type}


def _data_path(where: str, root: str, logged: str) -> str:
    """Resolve a path of the log, which is an address relative to the table's."""
    if "://" in logged or logged.startswith("file:"):
        return local_root(where, logged)
    return os.path.normpath(os.path.join(root, unquote(logged)))


def _deletions(where: str, table: Any) -> dict[str, Any]:
    """Read all deletion vectors: for each file, which rows are kept."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    vectors = pa.table(table.deletion_vectors())
    masks = vectors.column("selection_vector")
    return {
        os.path.normpath(local_root(where, file)): mask.values.to_numpy(
            zero_copy_only=False
        )
        for file, mask in zip(
            vectors.column("filepath").to_pylist(), masks, strict=True
        )
    }
