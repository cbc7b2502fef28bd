"""The staging folder of a job: files of complete parts, each part with a record.

A record is written after its files. What has no record that fits was never finished.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from dfml._full_disk import full_disk_errors
from dfml._waiting import map_waiting
from dfml.exceptions import SourceError, TargetError
from dfml.sinks._verifying import verify_file
from dfml.sinks._writing import Layout, PartWriter, WrittenFile
from dfml.sources._base import BROKEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dfml.sinks._files import FileSystem

__all__ = [
    "PartRecord",
    "StagedJob",
    "attempt_of",
    "is_of_job",
    "read_json",
    "retract",
]

_logger = logging.getLogger("dfml")


@dataclass(frozen=True)
class PartRecord:
    """What is known of a part that was written.

    Parameters
    ----------
    number : int
        Of the part.
    n_rows : int
        Rows of all its files.
    files : tuple of WrittenFile
        One, or at least one for each partition it has rows of.
    figures : dict
        What was measured of its columns, for checks.
    """

    number: int
    n_rows: int
    files: tuple[WrittenFile, ...]
    figures: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class StagedJob:
    """The staging folder of one job; it pickles, as tasks write to it.

    Parameters
    ----------
    folder : str
        It holds ``plan.json``, and the folders ``data``, ``records`` and ``tmp``.
    job : str
        What the job is called; written to the footer of each file.
    attempt : str
        Tells apart the files of drivers that do the same job unknown to each other.
    layout : Layout
        How rows become files.
    files : FileSystem
        All calls go through it.
    """

    folder: str
    job: str
    attempt: str
    layout: Layout
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
        with self.room():
            self._write_json("plan.json", {"attempt": self.attempt, **plan})
        kept = {file.path for part in self.records().values() for file in part.files}
        for name in files.tree(self.data).keys() - kept:
            files.remove(os.path.join(self.data, name))

    def _owns_data(self) -> bool:
        if not os.path.isdir(self.data):
            return False
        names = sorted(self.files.tree(self.data))
        return not names or is_of_job(os.path.join(self.data, names[0]), self.job)

    def _write_json(
        self, name: str, content: Mapping[str, Any], *, lasting: bool = True
    ) -> None:
        temporary = self.path("tmp", uuid.uuid4().hex)
        text = json.dumps(content, indent=1).encode()
        self.files.write(self.path(name), text, temporary, lasting=lasting)

    def write_rows(self, number: int, tables: Iterable[Any]) -> PartWriter:
        """Write the rows of one part; they are not on the disk yet.

        Parameters
        ----------
        number : int
            Of the part.
        tables : iterable of pyarrow Table
            Its rows; one table is in memory at a time.

        Returns
        -------
        writer : PartWriter
            For :meth:`finish_part`.

        Raises
        ------
        TargetError
            If the target cannot hold a value.
        DiskFullError
            If there is no room left.
        """
        writer = PartWriter(self.layout, number, self.job, self.path("tmp"), self.files)
        with self.room():
            writer.write_all(tables)
        return writer

    def finish_part(
        self, writer: PartWriter, figures: Mapping[str, dict[str, Any]] | None = None
    ) -> PartRecord:
        """Bring a part to the disk, then its record.

        Any number of attempts, also at the same time, end in the same files.

        Parameters
        ----------
        writer : PartWriter
            It has all rows.
        figures : dict, optional
            Kept in the record.

        Returns
        -------
        record : PartRecord
            What was written.

        Raises
        ------
        DiskFullError
            If there is no room left.
        """
        with self.room():
            written = writer.finish(self.data)
            n_rows = sum(file.n_rows for file in written)
            record = PartRecord(writer.number, n_rows, tuple(written), figures or {})
            # One that a lost machine tears is a part to do again, and no harm.
            self._write_json(_record_name(writer.number), asdict(record), lasting=False)
        return record

    def verify(self, record: PartRecord) -> None:
        """Read back what was written of a part.

        Raises
        ------
        TargetError
            If it is not what was written. The part counts as not done then.
        """
        for file in record.files:
            try:
                verify_file(self._find(file.path), file.n_rows)
            except BROKEN as err:
                self.discard(record)
                raise TargetError.expecting(
                    self.layout.where,
                    "files that read back as they were written",
                    f"{file.path!r} in {self.data!r}: {type(err).__name__}: {err}",
                    "look after the disk and call again: the part is written anew",
                ) from err

    def finished(self, number: int, *, verify: bool = False) -> PartRecord | None:
        """Give the record of a part that is complete, read back if it is to be."""
        record = _read_record(self.files, self.path(_record_name(number)))
        if record is None or not all(map(self._is_there, record.files)):
            return None
        if not verify:
            return record
        try:
            self.verify(record)
        except TargetError as err:
            _logger.warning("part %s is written anew: %s", number, err.__cause__)
            return None
        return record

    def discard(self, record: PartRecord) -> None:
        """Take a part for not done, and remove its files."""
        self.files.remove(self.path(_record_name(record.number)))
        for file in record.files:
            self.files.remove(self._find(file.path))

    def _is_there(self, file: WrittenFile) -> bool:
        path = self._find(file.path)
        return self.files.exists(path) and os.path.getsize(path) == file.n_bytes

    def _find(self, name: str) -> str:
        """Find a file, here or where ``publish`` has moved it."""
        here = os.path.join(self.data, name)
        if self.files.exists(here):
            return here
        return os.path.join(_published(self.files, self.folder)["folder"], name)

    @contextlib.contextmanager
    def room(self, place: str | None = None) -> Iterator[None]:
        """Turn the error of a full disk into one that says what to do.

        Parameters
        ----------
        place : str, optional
            What is written to; the staging folder by default.

        Raises
        ------
        DiskFullError
            If an ``OSError`` says that there is no room.
        """
        place = place or self.folder
        with full_disk_errors(
            self.layout.where,
            f"room for the new table in {place!r}",
            os.path.dirname(place),
            " and call again: the target is what it was, and finished parts are kept",
        ):
            yield

    def records(self) -> dict[int, PartRecord]:
        """Find the parts that are complete: with a record and files that fit."""
        sizes = {name: size for name, (_, size) in self._located().items()}
        found = {}
        for name in self.files.sizes(self.path("records")):
            record = _read_record(self.files, self.path("records", name))
            if record is not None and all(
                sizes.get(file.path) == file.n_bytes for file in record.files
            ):
                found[record.number] = record
        return found

    def _located(self) -> dict[str, tuple[str, int]]:
        """Find all files, here or where ``publish`` has moved them, and their sizes."""
        sizes = {}
        published = _published(self.files, self.folder)
        if published["files"] and self.files.exists(published["folder"]):
            there = self.files.sizes(published["folder"])
            names = there.keys() & set(published["files"])
            sizes[published["folder"]] = {name: there[name] for name in names}
        # What is still here is newer, and will be moved once more.
        sizes[self.data] = self.files.tree(self.data)
        return {
            name: (os.path.join(folder, name), size)
            for folder, found in sizes.items()
            for name, size in found.items()
        }

    def check_complete(self, records: Iterable[PartRecord]) -> list[WrittenFile]:
        """Compare the files with the records, and bring their names to the disk.

        Returns
        -------
        written : list of WrittenFile
            All files of the table by name, at least one: a table that has no rows has
            one file of none.

        Raises
        ------
        SourceError
            If a file is not there, as where workers write to disks of their own, or
            does not hold what was written.
        """
        written = [file for record in records for file in record.files]
        found = self._located()
        expected = {file.path: file.n_bytes for file in written}
        wrong = {name: size for name, (_, size) in found.items()}.items() ^ (
            expected.items()
        )
        if wrong:
            raise SourceError.expecting(
                self.layout.where,
                f"the files of all parts in {self.data!r}",
                f"others or none for {sorted({name for name, _ in wrong})[:5]}",
                "use a target on a disk that every worker shares",
            )
        paths = [found[file.path][0] for file in written]
        list(map_waiting(self._check_footer, zip(written, paths, strict=True)))
        if not written:
            written = [self._write_empty()]
        for folder in {os.path.dirname(file.path) for file in written} | {""}:
            if self.files.exists(self.path("data", folder)):
                self.files.sync_folder(self.path("data", folder))
        return sorted(written, key=lambda file: file.path)

    def _check_footer(self, found: tuple[WrittenFile, str]) -> None:
        file, path = found
        footer = pq.read_metadata(path)
        marks = footer.metadata or {}
        names = footer.schema.to_arrow_schema().names
        if (
            footer.num_rows != file.n_rows
            or names != self.layout.file_schema.names
            or marks.get(b"dfml.job") != self.job.encode()
        ):
            raise SourceError.expecting(
                self.layout.where,
                f"{file.n_rows} rows of this job in {path!r}",
                f"{footer.num_rows} rows with the columns {names}",
                "pass resume=False",
            )

    def _write_empty(self) -> WrittenFile:
        """Write a file without rows that has all columns of a partitioned table."""
        layout = Layout(self.layout.where, self.layout.schema)
        writer = PartWriter(layout, 0, self.job, self.path("tmp"), self.files)
        return writer.finish(self.data)[0]

    def write_report(self, stored: dict[str, Any]) -> None:
        """Write the report that becomes the target's when the job is committed."""
        self._write_json("report.json", stored)
        self.files.sync_folder(self.folder)

    def publish(self, folder: str, names: Sequence[str]) -> None:
        """Move files to a folder where nobody looks for them before the commit.

        Parameters
        ----------
        folder : str
            It is made.
        names : sequence of str
            Of files in ``data``. Those that were moved before are left.
        """
        self._write_json("published.json", {"folder": folder, "files": list(names)})
        self.files.sync_folder(self.folder)
        self.files.make_folder(folder)
        for name in names:
            staged = self.path("data", name)
            if self.files.exists(staged):
                self.files.replace(staged, os.path.join(folder, name))
        self.files.sync_folder(folder)


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


def attempt_of(files: FileSystem, folder: str) -> str | None:
    """Tell which attempt a staging folder is of; None if none was begun."""
    plan = read_json(files, os.path.join(folder, "plan.json"))
    return None if plan is None else plan.get("attempt")


def retract(files: FileSystem, folder: str) -> None:
    """Remove what ``publish`` has moved from a staging folder, where no commit did."""
    published = _published(files, folder)
    for name in published["files"]:
        files.remove(os.path.join(published["folder"], name))


def _published(files: FileSystem, folder: str) -> dict[str, Any]:
    plain = read_json(files, os.path.join(folder, "published.json"))
    return plain or {"folder": folder, "files": []}


def _read_record(files: FileSystem, path: str) -> PartRecord | None:
    plain = read_json(files, path)
    if plain is None:
        return None
    written = tuple(WrittenFile.from_dict(file) for file in plain["files"])
    return PartRecord(plain["number"], plain["n_rows"], written, plain["figures"])


def _record_name(number: int) -> str:
    return f"records/part-{number:05d}.json"
