"""Delta tables on a file system, through ``deltalake``.

Files lie flat in the table's folder: their partition values are in the log, so that no
value is ever a name. Whoever adds a file has to check it, as ``deltalake`` does not.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlparse

import pyarrow as pa

from dfml._optional import import_optional
from dfml._waiting import map_waiting
from dfml.exceptions import TargetError, TargetExistsError
from dfml.sinks._column_types import delta_type, retype
from dfml.sinks._writing import checked_footer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dfml.sinks._lake import LakeTable
    from dfml.sinks._writing import Layout, WrittenFile

__all__ = ["DeltaLog"]

# Features of writers that ask nothing of a plain append or overwrite, and those that
# ask something only where a table uses them, which `_demands` finds out.
_HARMLESS = {
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "columnMapping",
    "deletionVectors",
    "generatedColumns",
    "identityColumns",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "variantType",
    "vacuumProtocolCheck",
}
_MAX_WRITER = 7
_PROPERTIES = {
    "delta.enableChangeDataFeed": "a change data feed",
    "delta.enableRowTracking": "row tracking",
    "delta.enableInCommitTimestamps": "in-commit timestamps",
    "delta.enableIcebergCompatV1": "compatibility with Iceberg",
    "delta.enableIcebergCompatV2": "compatibility with Iceberg",
}
_FIELD_KEYS = {
    "delta.generationExpression": "generated columns",
    "delta.identity.start": "identity columns",
    "delta.invariants": "invariants",
}
_MAX_STATS_TEXT = 64
# Files of a job that died before it made its table, and what stands in front of it.
_OWN = re.compile(r"part-\d+(-\d+)?-[0-9a-f]{8}-[0-9a-f]{16}\.parquet|\.dfml")
# What `deltalake` leaves as it is when it writes a path to the log.
_UNQUOTED = "!$&'()+,-./:;=@_~"


class DeltaLog:
    """The log of one Delta table, there already or not.

    Parameters
    ----------
    where : str
        The call, for messages.
    path : str
        The folder of the table.

    Raises
    ------
    TargetError
        If `deltalake` would look elsewhere.
    """

    format = "delta"
    in_files = False

    def __init__(self, where: str, path: str) -> None:
        self.where = where
        self.path = os.path.realpath(os.path.expanduser(path))
        if unquote(self.path) != self.path:
            raise TargetError.expecting(
                where,
                "the path of a Delta table without what deltalake takes for a code",
                repr(self.path),
                "choose a path without a percent sign before two digits",
            )
        self._library = import_optional("deltalake", extra="delta", needed_by=where)

    @classmethod
    def of(cls, where: str, table: Any) -> DeltaLog:
        """Find the log of a ``deltalake.DeltaTable``.

        Raises
        ------
        TargetError
            If it is not on a file system.
        """
        url = urlparse(table.table_uri)
        if url.scheme not in ("", "file"):
            raise TargetError.expecting(
                where,
                "a Delta table on a file system that all workers share",
                repr(table.table_uri),
                "write to a folder, and copy the finished table",
            )
        return cls(where, unquote(url.path) if url.scheme else table.table_uri)

    def open(self) -> DeltaVersion | None:
        """Read the newest version; None if there is no table."""
        if os.path.isfile(self.path):
            return None
        if not self._library.DeltaTable.is_deltatable(self.path):
            return None
        return DeltaVersion(self.where, self._library.DeltaTable(self.path))

    def check_new(self) -> None:
        """Refuse a folder of other things: they would be nobody's, and be vacuumed.

        Raises
        ------
        TargetExistsError
            Naming some of them.
        """
        found = os.listdir(self.path) if os.path.isdir(self.path) else []
        others = sorted(name for name in found if not _OWN.fullmatch(name))
        is_file = os.path.isfile(self.path)
        if others or is_file:
            raise TargetExistsError.expecting(
                self.where,
                "a Delta table, or a folder that is empty or not there yet",
                f"{self.path!r}{', a file' if is_file else f' with {others[:3]}'}",
                "choose another target",
            )

    def root(self) -> str:
        """Name the folder of the table."""
        return self.path

    def data(self) -> str:
        """Name the folder of data files: the same."""
        return self.path

    def retype(self, schema: Any) -> Any:
        """Give columns the types that Delta holds them as.

        Raises
        ------
        TargetError
            If there is no such type, or names that Delta takes for the same.
        """
        folded = [name.casefold() for name in schema.names]
        alike = [name for name in schema.names if folded.count(name.casefold()) > 1]
        if alike:
            raise TargetError.expecting(
                self.where,
                "names of columns that differ by more than case in a Delta table",
                repr(alike),
                "leave columns out with keep=, or change their names",
            )
        return retype(self.where, "Delta", schema, delta_type)

    def numbered(self, table: LakeTable | None, schema: Any) -> Any:  # noqa: ARG002
        """Give columns as they are: files know them by name."""
        return schema

    def commit(
        self,
        table: LakeTable | None,
        mode: str,
        layout: Layout,
        written: Sequence[WrittenFile],
        noted: dict[str, Any],
    ) -> bool:
        """Commit on top of what was read; False if somebody else was faster."""
        added = list(map_waiting(partial(self._action, layout), written))
        assert table is None or isinstance(table, DeltaVersion)
        errors = self._library.exceptions
        try:
            if table is None:
                self._create(layout, added, noted)
            else:
                table.write(mode, layout, added, noted)
        except errors.CommitFailedError:
            return False
        except errors.DeltaError:
            if table is None and self.open() is not None:
                return False
            raise
        return True

    def _create(self, layout: Layout, added: list[Any], noted: dict[str, Any]) -> None:
        self._library.transaction.create_table_with_add_actions(
            self.path,
            self._library.Schema.from_arrow(layout.schema),
            added,
            mode="error",
            partition_by=list(layout.partition_by),
            commit_properties=_properties(self._library, noted, 1),
        )

    def _action(self, layout: Layout, file: WrittenFile) -> Any:
        footer = checked_footer(self.where, self.path, file)
        stat = os.stat(os.path.join(self.path, file.path))
        return self._library.transaction.AddAction(
            path=file.path,
            size=file.n_bytes,
            partition_values=dict(zip(layout.partition_by, file.values, strict=True)),
            modification_time=stat.st_mtime_ns // 10**6,
            data_change=True,
            stats=json.dumps(_statistics(layout.file_schema, footer)),
        )


class DeltaVersion:
    """One version of a Delta table.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : deltalake.DeltaTable
        Opened at that version.
    """

    def __init__(self, where: str, table: Any) -> None:
        self._where, self._table = where, table
        self._library = import_optional("deltalake", extra="delta", needed_by=where)

    @property
    def schema(self) -> Any:
        """The columns, with Arrow's types."""
        found = pa.schema(self._table.schema().to_arrow())
        types = [delta_type(each.type) or each.type for each in found]
        return pa.schema(
            [each.with_type(type_) for each, type_ in zip(found, types, strict=True)]
        )

    @property
    def partition_by(self) -> tuple[str, ...]:
        """The columns it is partitioned by."""
        return tuple(self._table.metadata().partition_columns)

    def check_writable(self, mode: str) -> None:
        """Refuse a table that asks of its writers what is not done here.

        Raises
        ------
        TargetError
            Naming the features.
        """
        demands = sorted(set(_demands(self._table, mode)))
        if demands:
            raise TargetError.expecting(
                self._where,
                "a Delta table that plain files can be added to",
                f"one with {', '.join(demands)}",
                "write to a table of its own, and let the owner of this one merge it",
            )

    def files(self) -> dict[str, Any]:
        """Give the partition of each data file, by its name without the folders."""
        active = self._active()
        names = map(os.path.basename, active["path"].to_pylist())
        return dict(zip(names, self._partitions(active), strict=True))

    def _active(self) -> Any:
        return pa.table(self._table.get_add_actions(flatten=True))

    def _partitions(self, active: Any) -> list[tuple[str | None, ...]]:
        values = [
            active[f"partition.{name}"].cast(pa.string()).to_pylist()
            for name in self.partition_by
        ]
        return list(zip(*values, strict=True)) if values else [()] * len(active)

    def mark_of(self, job: str) -> int | None:
        """Give the version of the job's transaction, or None if it was undone."""
        mark = self._last_mark(job)
        if mark is None or self.noted_of(job):
            return mark
        # Commits that a clean-up has removed count as they did before.
        is_undone = any(each.get("dfml.job") == job for each in self._table.history())
        return None if is_undone else mark

    def _last_mark(self, job: str) -> int | None:
        version: int | None = self._table.transaction_version(_application(job))
        return version

    def noted_of(self, job: str) -> dict[str, Any]:
        """Give what the last commit of a job has noted; nothing if it was removed."""
        commits = _line(self._table.history())
        return next((each for each in commits if each.get("dfml.job") == job), {})

    def has_attempt(self, attempt: str) -> bool:
        """Tell whether there was a commit of an attempt."""
        return any(attempt in name for name in self.files()) or any(
            each.get("dfml.attempt") == attempt for each in self._table.history()
        )

    def write(
        self, mode: str, layout: Layout, added: list[Any], noted: dict[str, Any]
    ) -> None:
        """Add files, and remove those they take the place of, in one commit."""
        removed = []
        if mode == "overwrite_partitions":
            removed = self._removed({tuple(f.partition_values.values()) for f in added})
        mark = self._last_mark(noted["dfml.job"]) or 0
        self._table.create_write_transaction(
            [*added, *removed],
            "overwrite" if mode == "overwrite" else "append",
            self._table.schema(),
            partition_by=list(layout.partition_by),
            commit_properties=_properties(self._library, noted, mark + 1),
        )

    def _removed(self, replaced: set[tuple[str | None, ...]]) -> list[Any]:
        """Name all files of some partitions as removed."""
        active = self._active()
        paths, sizes = (active[n].to_pylist() for n in ("path", "size_bytes"))
        rows = zip(paths, sizes, self._partitions(active), strict=True)
        chosen = [row for row in rows if row[2] in replaced]
        self._check_removable([path for path, _, _ in chosen])
        now = time.time_ns() // 10**6
        return [
            self._library.transaction.RemoveAction(
                unquote(path),
                True,
                now,
                size,
                dict(zip(self.partition_by, texts, strict=True)),
            )
            for path, size, texts in chosen
        ]

    def _check_removable(self, paths: list[str]) -> None:
        """Refuse files whose removal `deltalake` would note in a way nobody finds."""
        deletions = pa.table(self._table.deletion_vectors())["filepath"].to_pylist()
        partly = {os.path.basename(unquote(path)) for path in deletions}
        strange = [
            path
            for path in paths
            if quote(unquote(path), safe=_UNQUOTED) != path
            or os.path.basename(unquote(path)) in partly
        ]
        if strange:
            raise TargetError.expecting(
                self._where,
                "partitions of files without deleted rows, and with plain names",
                f"{strange[:3]}",
                "compact these partitions before, or overwrite the whole table",
            )


def _line(commits: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give the commits that led to the newest, without what a restore has undone."""
    version = moment = math.inf
    for commit in commits:
        if commit["version"] <= version and commit.get("timestamp", 0) <= moment:
            yield commit
            is_restore = commit.get("operation") == "RESTORE"
            to = commit.get("operationParameters", {}) if is_restore else {}
            version, moment = (_bound(to.get(key)) for key in ("version", "datetime"))


def _bound(text: str | None) -> float:
    return math.inf if text is None else float(text)


def _demands(table: Any, mode: str) -> Iterator[str]:
    """List what a table asks of its writers beyond adding files."""
    protocol = table.protocol()
    if protocol.min_writer_version > _MAX_WRITER:
        yield f"writer version {protocol.min_writer_version}"
    yield from set(protocol.writer_features or ()) - _HARMLESS
    used = table.metadata().configuration
    if any(key.startswith("delta.constraints.") for key in used):
        yield "check constraints"
    if used.get("delta.columnMapping.mode", "none") != "none":
        yield "column mapping"
    if used.get("delta.appendOnly") == "true" and "overwrite" in mode:
        yield f"rows that stay (delta.appendOnly), which mode={mode!r} does not allow"
    for key, name in _PROPERTIES.items():
        if used.get(key) == "true":
            yield name
    for field in json.loads(table.schema().to_json())["fields"]:
        yield from (_FIELD_KEYS[key] for key in field["metadata"] if key in _FIELD_KEYS)


def _application(job: str) -> str:
    return f"dfml:{job}"


def _properties(library: Any, noted: dict[str, Any], version: int) -> Any:
    transaction = library.transaction
    return transaction.CommitProperties(
        custom_metadata=noted,
        max_commit_retries=0,  # the table has to be looked at before another try
        app_transactions=[
            transaction.Transaction(_application(noted["dfml.job"]), version)
        ],
    )


def _statistics(schema: Any, footer: Any) -> dict[str, Any]:
    """Give counts, and least and greatest values where they are exact, for the log."""
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    # Columns that are nested come as several; they are left out.
    positions = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    nulls, least, greatest = {}, {}, {}
    for each in schema:
        if each.name not in positions or "." in each.name:
            continue
        found = [group.column(positions[each.name]).statistics for group in groups]
        if not found or any(s is None or not s.has_null_count for s in found):
            continue
        nulls[each.name] = sum(s.null_count for s in found)
        ranges = [s for s in found if s.has_min_max]
        if ranges and _has_exact_range(each.type):
            low, high = min(s.min for s in ranges), max(s.max for s in ranges)
            if len(str(high)) <= _MAX_STATS_TEXT and len(str(low)) <= _MAX_STATS_TEXT:
                least[each.name], greatest[each.name] = _plain(low), _plain(high)
    return {
        "numRecords": footer.num_rows,
        "minValues": least,
        "maxValues": greatest,
        "nullCount": nulls,
    }


def _has_exact_range(type_: Any) -> bool:
    return bool(
        pa.types.is_integer(type_)
        or pa.types.is_string(type_)
        or pa.types.is_date32(type_)
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
