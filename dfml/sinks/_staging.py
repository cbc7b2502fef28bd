"""The staging folder of a job: files of complete parts, each with a record.

A record is written after its file. What has no record that fits was never finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfml.exceptions import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dfml.sinks._files import FileSystem

__all__ = ["PartRecord", "StagedJob", "is_of_job", "part_name", "read_json"]

_COMPRESSION = "zstd"


@dataclass(frozen=True)
class PartRecord:
    """What is known of a part that was written.

    Parameters
    ----------
    number : int
        Of the part.
    n_rows, n_bytes : int
        Rows, and bytes of its file.
    """

    number: int
    n_rows: int
    n_bytes: int

    @property
    def file(self) -> str:
        """Name of the part's file."""
        return part_name(self.number)


def part_name(number: int) -> str:
    """Name the file of a part."""
    return f"part-{number:05d}.parquet"


@dataclass(frozen=True)
class StagedJob:
    """The staging folder of one job; it pickles, as tasks write to it.

    Parameters
    ----------
    folder : str
        It holds ``plan.json``, and the folders ``data``, ``records`` and ``tmp``.
    job : str
        What the job is called; written to the footer of each file.
    files : FileSystem
        All calls go through it.
    """

    folder: str
    job: str
    files: FileSystem

    @property
    def data(self) -> str:
        """Where the files of complete parts are."""
        return os.path.join(self.folder, "data")

    def path(self, *names: str) -> str:
        """Name something in the staging folder."""
        return os.path.join(self.folder, *names)

    def prepare(self, plan: dict[str, Any]) -> None:
        """Make the folders, without what an interrupted attempt has left."""
        files = self.files
        files.remove(self.path("tmp"))
        # After an exchange that was cut short, this is what the target was before.
        if files.exists(self.data) and not self._owns_data():
            files.remove(self.folder)
        for name in ("data", "records", "tmp"):
            files.make_folder(self.path(name))
        self._write_json("plan.json", plan)

    def _owns_data(self) -> bool:
        if not os.path.isdir(self.data):
            return False
        names = sorted(self.files.sizes(self.data))
        return not names or is_of_job(os.path.join(self.data, names[0]), self.job)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        temporary = self.path("tmp", uuid.uuid4().hex)
        text = json.dumps(content, indent=1).encode()
        self.files.write(self.path(*name.split("/")), text, temporary)

    def write_part(self, number: int, tables: Iterable[Any], schema: Any) -> PartRecord:
        """Write one part, then its record; any number of attempts end in one file.

        Parameters
        ----------
        number : int
            Of the part.
        tables : iterable of pyarrow Table
            Its rows; one table is in memory at a time.
        schema : pyarrow Schema
            Of each table.

        Returns
        -------
        record : PartRecord
            What was written.
        """
        name = part_name(number)
        temporary = self.path("tmp", f"{name}-{uuid.uuid4().hex}")
        try:
            with self.files.create(temporary) as file:
                n_rows = self._write_tables(file, number, tables, schema)
                self.files.sync(file)
                n_bytes = file.tell()
            self.files.replace(temporary, os.path.join(self.data, name))
        except BaseException:
            with contextlib.suppress(OSError):
                self.files.remove(temporary)
            raise
        record = PartRecord(number, n_rows, n_bytes)
        self._write_json(f"records/{name}.json", asdict(record))
        return record

    def _write_tables(
        self, file: Any, number: int, tables: Iterable[Any], schema: Any
    ) -> int:
        marks = {"dfml.job": self.job, "dfml.part": str(number)}
        n_rows = 0
        # Arrow would close the file, which still has to be synced.
        with (
            pa.PythonFile(_Unclosed(file), "w") as sink,
            pq.ParquetWriter(
                sink,
                schema.with_metadata(marks),
                compression=_COMPRESSION,
                use_dictionary=_dictionary_columns(schema),
                write_page_checksum=True,
            ) as writer,
        ):
            for table in tables:
                writer.write_table(table)
                n_rows += table.num_rows
        return n_rows

    def records(self) -> dict[int, PartRecord]:
        """Find the parts that are complete: with a record and a file that fit."""
        sizes = self.files.sizes(self.data)
        found = {}
        for name in self.files.sizes(self.path("records")):
            content = read_json(self.files, self.path("records", name))
            record = None if content is None else PartRecord(**content)
            if record is not None and sizes.get(record.file) == record.n_bytes:
                found[record.number] = record
        return found

    def check_complete(self, records: Iterable[PartRecord]) -> dict[str, int]:
        """Compare the files with the records, and bring their names to the disk.

        Returns
        -------
        sizes : dict
            Bytes by file name.

        Raises
        ------
        SourceError
            If a file is not there, as where workers write to disks of their own.
        """
        expected = {record.file: record.n_bytes for record in records}
        found = self.files.sizes(self.data)
        if found != expected:
            wrong = sorted(name for name, _ in found.items() ^ expected.items())
            raise SourceError.expecting(
                "predict_table",
                f"the files of all parts in {self.data!r}",
                f"others or none for {wrong[:5]}",
                "use a target on a disk that every worker shares",
            )
        self.files.sync_folder(self.data)
        return expected

    def write_report(self, stored: dict[str, Any]) -> None:
        """Write the report that becomes the target's when the job is committed."""
        self._write_json("report.json", stored)
        self.files.sync_folder(self.folder)


def _dictionary_columns(schema: Any) -> list[str] | bool:
    """Leave floats out: a dictionary of them takes 3 times as long and is dropped."""
    if any(pa.types.is_nested(each.type) for each in schema):
        return True  # the columns inside would have to be named
    return [each.name for each in schema if not pa.types.is_floating(each.type)]


class _Unclosed:
    """A file that stays open when its user closes it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        self._file.flush()
        self.closed = True


def is_of_job(path: str, job: str) -> bool:
    """Tell whether a Parquet file was written by a job."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, ValueError):
        return False
    return bool(metadata.get(b"dfml.job") == job.encode())


def read_json(files: FileSystem, path: str) -> dict[str, Any] | None:
    """Read an object of JSON; None if it is not there or torn."""
    if not files.exists(path):
        return None
    try:
        content = json.loads(files.read(path))
    except ValueError:  # torn
        return None
    return content if isinstance(content, dict) else None
