"""Broken files of a source, and broken files of the target, in ``predict_table``."""

from __future__ import annotations

import errno
import logging
import os
import random
import subprocess
import sys

import dask
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

import dfml
from dfml.exceptions import (
    BadFileError,
    InputTypeError,
    SourceError,
    TargetError,
    TargetExistsError,
)
from dfml.sinks._files import FileSystem
from dfml.sinks._parquet import ParquetTarget
from dfml.sinks._parts import Quality
from dfml.sources import _parquet, _row_groups
from dfml.table import plan_job, run_job
from tests.conftest import FEATURES


@pytest.fixture
def model(table):
    return LogisticRegression().fit(table[FEATURES], table["late"])


def flip(path, at):
    """Flip a bit of a file, where there is a page of data if `at` is a share."""
    content = bytearray(path.read_bytes())
    content[at if isinstance(at, int) else int(at * len(content))] ^= 16
    path.write_bytes(content)


def write_with_checksums(path):
    rows = pq.read_table(path)
    pq.write_table(rows, path, write_page_checksum=True, compression="none")


DAMAGES = {
    "truncated": lambda path: os.truncate(path, 700),
    "empty": lambda path: os.truncate(path, 0),
    "not Parquet": lambda path: path.write_text("a,b\n1,2\n" * 99),
    "flipped": lambda path: (write_with_checksums(path), flip(path, 0.2)),
}


@pytest.fixture(params=DAMAGES, ids=str)
def damage(request, lake):
    """One broken file of eight."""
    DAMAGES[request.param](lake / "3.parquet")
    return lake / "3.parquet"


def texts(err):
    return "\n".join([str(err), *err.__notes__])


def read(path):
    return pd.concat(pd.read_parquet(path / name) for name in sorted(os.listdir(path)))


def test_a_broken_file_is_named_with_its_part(tmp_path, lake, model, damage):
    with pytest.raises(BadFileError, match=r"3\.parquet") as caught:
        dfml.predict_table(model, lake, tmp_path / "out")

    assert "part 3" in texts(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_a_broken_file_is_skipped(tmp_path, lake, table, model, damage, scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        report = dfml.predict_table(
            model, lake, tmp_path / "out", on_bad_file="skip", keep=["id"]
        )

    assert list(report.skipped_files) == [str(damage)]
    assert report.skipped_files[str(damage)]
    assert (report.rows, report.parts) == (525, 7)
    ids = table["id"].drop(index=range(225, 300))
    assert read(tmp_path / "out")["id"].tolist() == ids.tolist()
    stored = dfml.predict_table(
        model, lake, tmp_path / "out", on_bad_file="skip", keep=["id"]
    )
    assert stored.done_before
    assert stored.skipped_files == report.skipped_files


def test_skipping_is_logged(tmp_path, lake, model, damage, caplog):
    with caplog.at_level(logging.WARNING, "dfml"):
        dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")

    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"skipped {damage}: ")


def test_a_file_is_skipped_as_a_whole(tmp_path, lake, model, monkeypatch):
    monkeypatch.setattr(_row_groups, "PART_BYTES", 1)
    rows = pq.read_table(lake / "3.parquet")
    pq.write_table(
        rows,
        lake / "3.parquet",
        row_group_size=25,
        write_page_checksum=True,
        compression="none",
    )
    chunk = pq.read_metadata(lake / "3.parquet").row_group(2).column(0)
    flip(lake / "3.parquet", chunk.dictionary_page_offset + 60)

    report = dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")

    assert (report.rows, len(report.skipped_files)) == (525, 1)
    assert len(read(tmp_path / "out")) == 525


def test_a_table_without_skipped_files_is_not_one_with_them(tmp_path, lake, model):
    DAMAGES["flipped"](lake / "3.parquet")
    dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")

    with pytest.raises(BadFileError, match=r"without \['.*3\.parquet'\]"):
        dfml.predict_table(model, lake, tmp_path / "out")


def test_files_that_are_mended_are_another_job(tmp_path, lake, model):
    whole = (lake / "3.parquet").read_bytes()
    DAMAGES["flipped"](lake / "3.parquet")
    dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")
    (lake / "3.parquet").write_bytes(whole)

    with pytest.raises(TargetExistsError):
        dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")
    report = dfml.predict_table(model, lake, tmp_path / "out", mode="overwrite")
    assert report.rows == 600


@pytest.mark.parametrize("kind", DAMAGES)
def test_all_files_are_broken(tmp_path, lake, model, kind):
    for path in lake.iterdir():
        DAMAGES[kind](path)

    with pytest.raises(BadFileError, match=r"0\.parquet") as caught:
        dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")
    said = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "2.parquet" in said
    assert not (tmp_path / "out").exists()


def test_no_file_is_left(tmp_path, lake, model):
    for path in lake.iterdir():
        os.truncate(path, 10)

    with pytest.raises(BadFileError, match="8 files that are all broken") as caught:
        dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")
    assert "0.parquet" in str(caught.value)
    assert "2.parquet" in str(caught.value)
    assert caught.value.reason


def test_the_first_file_is_broken(tmp_path, lake, table, model):
    os.truncate(lake / "0.parquet", 10)

    report = dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")

    assert report.columns == (*table.columns, "prediction")
    assert report.rows == 525


CHANGES = {
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_is_never_skipped(tmp_path, lake, model, change):
    def make_change(done, total):
        if done == 1:
            change(lake / "5.parquet")

    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(SourceError, match="when nobody writes to the source") as caught,
    ):
        dfml.predict_table(
            model, lake, tmp_path / "out", on_bad_file="skip", progress=make_change
        )
    assert not isinstance(caught.value, BadFileError)
    assert not (tmp_path / "out").exists()


NO_FILES = """
import resource, sys
from dfml.exceptions import BadFileError, SourceError
from dfml.sources._open import open_table
open_table("t", sys.argv[1])  # all that is loaded on use is loaded now
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    open_table("t", sys.argv[1], skips=True)
except SourceError as error:
    print(isinstance(error, BadFileError), error)
"""


def test_no_file_is_broken_because_too_many_are_open(lake):
    run = subprocess.run(
        [sys.executable, "-c", NO_FILES, lake / "0.parquet"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.stdout.startswith("False t expects files that can be read"), run
    assert "more memory or open files" in run.stdout


WHOLE = {
    "permission": (
        PermissionError(errno.EACCES, "Permission denied"),
        "let this user read it",
    ),
    "time": (TimeoutError(), "when the file system answers"),
    "stale": (OSError(errno.ESTALE, "Stale file handle"), "when the file system"),
}


@pytest.mark.parametrize(("error", "hint"), WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("step", ["check_seal", "to_schema"])
def test_a_file_that_may_be_whole_is_never_skipped(
    tmp_path, lake, model, monkeypatch, error, hint, step
):
    module = _row_groups if step == "check_seal" else _parquet
    original = getattr(module, step)

    def fail(*args):
        place = args[0] if step == "check_seal" else args[1].path
        if place.endswith("3.parquet"):
            raise error
        return original(*args)

    monkeypatch.setattr(module, step, fail)

    with pytest.raises(SourceError, match=rf"(?s)3\.parquet.*{hint}") as caught:
        dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")
    assert not isinstance(caught.value, BadFileError)


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, None])
def test_a_file_that_its_disk_has_lost_is_skipped(
    tmp_path, lake, model, monkeypatch, code
):
    original = _row_groups.check_seal

    def fail(path):
        if path.endswith("3.parquet"):
            raise OSError("broken") if code is None else OSError(code, "broken")
        original(path)

    monkeypatch.setattr(_row_groups, "check_seal", fail)

    report = dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")
    assert list(report.skipped_files) == [str(lake / "3.parquet")]


def test_values_that_do_not_fit_are_never_skipped(tmp_path, lake, model):
    rows = pq.read_table(lake / "3.parquet")
    wide = pa.chunked_array([pa.array([2**62] * len(rows), pa.int64())])
    at = rows.schema.get_field_index("id")
    pq.write_table(rows.set_column(at, "id", wide), lake / "3.parquet")
    narrow = pq.read_table(lake / "0.parquet")
    floats = narrow["id"].cast(pa.float32())
    pq.write_table(narrow.set_column(at, "id", floats), lake / "0.parquet")

    with pytest.raises(SourceError) as caught:
        dfml.predict_table(model, lake, tmp_path / "out", on_bad_file="skip")
    assert not isinstance(caught.value, BadFileError)


def test_tables_with_a_log_have_no_file_to_skip(tmp_path, lake, model):
    pytest.importorskip("deltalake").write_deltalake(
        str(tmp_path / "delta"), pq.read_table(lake)
    )

    with pytest.raises(InputTypeError, match="on_bad_file"):
        dfml.predict_table(
            model, tmp_path / "delta", tmp_path / "out", on_bad_file="skip"
        )


def test_no_flipped_bit_of_a_file_of_dfml_is_read(tmp_path, table, model):
    """500 copies of a file, each with one other bit, and one that is whole."""
    lake = tmp_path / "lake"
    source = tmp_path / "rows.parquet"
    table[[*FEATURES, "id"]].to_parquet(source, index=False)
    dfml.predict_table(model, source, tmp_path / "written")
    whole = next((tmp_path / "written").glob("part-00000*")).read_bytes()
    lake.mkdir()
    (lake / "whole.parquet").write_bytes(whole)
    generator = random.Random(0)
    for number, at in enumerate(generator.sample(range(4, len(whole)), 500)):
        content = bytearray(whole)
        content[at] ^= 1 << generator.randrange(8)
        (lake / f"{number:03d}.parquet").write_bytes(content)

    report = dfml.predict_table(
        model,
        lake,
        tmp_path / "out",
        verify=True,
        on_bad_file="skip",
        keep=["id", *FEATURES],
        name="again",
    )

    # Bits of page headers that nobody needs may be flipped: the values are right.
    scored = read(tmp_path / "out")
    assert len(report.skipped_files) > 450
    assert len(scored) == 600 * (501 - len(report.skipped_files))
    expected = table[["id", *FEATURES]]
    for copy in range(len(scored) // 600):
        part = scored.iloc[600 * copy : 600 * (copy + 1)][expected.columns]
        pd.testing.assert_frame_equal(part.reset_index(drop=True), expected)


class Rotting(FileSystem):
    """A disk that flips a bit of one part after it was synced."""

    def replace(self, source, target):
        super().replace(source, target)
        if os.path.basename(target).startswith("part-00002-"):
            size = os.path.getsize(target)
            with open(target, "r+b") as file:
                file.seek(size // 3)
                bit = file.read(1)[0] ^ 4
                file.seek(size // 3)
                file.write(bytes([bit]))


def test_what_is_written_is_read_back(tmp_path, lake, model):
    job = plan_job(model, lake, ["predict"])
    rotting = ParquetTarget("t", tmp_path / "out", Rotting())
    with pytest.raises(TargetError, match=r"part-00002-.*\.parquet") as caught:
        run_job(job, rotting, quality=Quality(verify=True))
    assert "part 2 of 8" in texts(caught.value)
    assert not (tmp_path / "out").exists()

    report = dfml.predict_table(model, lake, tmp_path / "out", verify=True)

    assert (report.rows, report.resumed_parts) == (600, 2)


def test_parts_of_an_earlier_call_are_read_back(tmp_path, lake, model, caplog):
    job = plan_job(model, lake, ["predict"])

    def stop(done, total):
        if done == 6:
            raise KeyboardInterrupt

    place = ParquetTarget("t", tmp_path / "out", FileSystem())
    with pytest.raises(KeyboardInterrupt):
        run_job(job, place, progress=stop)
    (staged,) = (tmp_path / ".out.dfml").glob("*/data/part-00001-*.parquet")
    flip(staged, 0.4)

    with caplog.at_level(logging.WARNING, "dfml"):
        report = dfml.predict_table(model, lake, tmp_path / "out", verify=True)

    assert "part 1 is written anew" in caplog.text
    assert report.resumed_parts == 5
    assert report.predicted_rows == 3 * 75
    assert read(tmp_path / "out")["prediction"].tolist() == (
        model.predict(pd.read_parquet(lake)[FEATURES]).tolist()
    )
