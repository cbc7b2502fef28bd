from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from warnings import catch_warnings, simplefilter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from dfml import Incremental
from dfml._digest import content_digest
from dfml.exceptions import SourceError, TargetExistsError
from dfml.sinks._files import FileSystem
from dfml.sinks._parquet import ParquetTarget

SCHEMA = pa.schema([("x", pa.int64())])


class TwoRenames(FileSystem):
    """A system that cannot swap two names."""

    def exchange(self, *_):
        return False


class StoppedBetween(TwoRenames):
    """One that stops between the two renames."""

    def rename(self, source, target):
        if source.endswith("data"):
            raise OSError(errno.EIO, "stopped")
        super().rename(source, target)


def write_table(place, job, values, mode="error", resume=True):
    place.mode = mode
    with place.locked(job):
        place.recover()
        place.check_free()
        staged = place.stage(job, {}, SCHEMA, resume=resume)
        done = staged.records()
        for number, value in enumerate(values):
            if number not in done:
                rows = pa.table({"x": [value]}, schema=SCHEMA)
                done[number] = staged.finish_part(staged.write_rows(number, [rows]))
        place.commit(staged, staged.check_complete(done.values()), {"job": job})


def values_in(path):
    return pq.read_table(path)["x"].to_pylist()


def place_of(staged, record):
    return os.path.join(staged.data, record.files[0].path)


def target_at(folder, files=None):
    return ParquetTarget("write", folder / "out", files or FileSystem())


def test_target_holds_parquet_only_and_staging_is_removed(tmp_path):
    place = target_at(tmp_path)

    write_table(place, "a", [1, 2])

    assert sorted(os.listdir(place.path)) == [
        "part-00000-a.parquet",
        "part-00001-a.parquet",
    ]
    assert sorted(os.listdir(place.home)) == ["lock", "report.json"]
    assert place.committed("a")["job"] == "a"
    assert place.committed("b") is None
    footer = pq.read_metadata(tmp_path / "out" / "part-00001-a.parquet")
    assert footer.metadata[b"dfml.job"] == b"a"
    assert footer.metadata[b"dfml.part"] == b"1"


@pytest.mark.parametrize("files", [FileSystem(), TwoRenames()])
def test_overwrite_swaps_tables(tmp_path, files):
    place = target_at(tmp_path, files)
    write_table(place, "a", [1, 2])

    with pytest.raises(TargetExistsError, match="not there yet"):
        write_table(place, "b", [3])
    write_table(place, "b", [3], mode="overwrite")

    assert values_in(place.path) == [3]
    assert sorted(os.listdir(place.home)) == ["lock", "report.json"]
    assert place.committed("a") is None


@pytest.mark.parametrize(
    ("mode", "name"),
    [("error", "notes.txt"), ("error", "new.parquet"), ("overwrite", "notes.txt")],
)
def test_what_somebody_puts_there_meanwhile_is_not_lost(tmp_path, mode, name):
    place = target_at(tmp_path)
    place.mode = mode
    with place.locked("a"):
        place.check_free()
        staged = place.stage("a", {}, SCHEMA, resume=True)
        record = staged.finish_part(
            staged.write_rows(0, [pa.table({"x": [1]}, schema=SCHEMA)])
        )
        written = staged.check_complete([record])
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).write_bytes(b"theirs")

        with pytest.raises(TargetExistsError):
            place.commit(staged, written, {"job": "a"})

    assert (tmp_path / "out" / name).read_bytes() == b"theirs"
    os.remove(tmp_path / "out" / name)
    write_table(place, "a", [1])
    assert values_in(place.path) == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_exchange_is_one_step_here(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()

    assert FileSystem().exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    assert os.listdir(tmp_path / "a") == ["b"]
    with pytest.raises(FileNotFoundError):
        FileSystem().exchange(str(tmp_path / "a"), str(tmp_path / "none"))


@pytest.mark.parametrize("next_job", ["b", "c"])
def test_old_table_comes_back_if_two_renames_are_cut(tmp_path, next_job):
    place = target_at(tmp_path, StoppedBetween())
    write_table(target_at(tmp_path), "a", [1, 2])
    with pytest.raises(OSError, match="stopped"):
        write_table(place, "b", [3], mode="overwrite")
    place = target_at(tmp_path, TwoRenames())
    with place.locked("b"):
        place.recover()

    assert values_in(place.path) == [1, 2]
    write_table(place, next_job, [3], mode="overwrite")
    assert values_in(place.path) == [3]


def test_empty_folder_is_free(tmp_path):
    (tmp_path / "out").mkdir()

    write_table(target_at(tmp_path), "a", [1])

    assert values_in(tmp_path / "out") == [1]


def test_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")

    write_table(target_at(tmp_path), "a", [1])

    assert (tmp_path / "out").is_symlink()
    assert values_in(tmp_path / "real") == [1]


def test_folder_that_is_no_table_is_never_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()

    with pytest.raises(TargetExistsError, match=r"thesis\.tex"):
        write_table(target_at(tmp_path), "a", [1], mode="overwrite")

    assert (tmp_path / "out" / "thesis.tex").exists()


def test_target_made_by_somebody_else_meanwhile_stays(tmp_path):
    class Meanwhile(FileSystem):
        def rename(self, source, target):
            os.makedirs(os.path.join(target, "theirs"))
            super().rename(source, target)

    with pytest.raises(TargetExistsError, match="somebody else"):
        write_table(target_at(tmp_path, Meanwhile()), "a", [1])

    assert os.listdir(tmp_path / "out") == ["theirs"]


def test_target_that_was_changed_is_not_the_jobs(tmp_path):
    place = target_at(tmp_path)
    write_table(place, "a", [1, 2])
    os.remove(tmp_path / "out" / "part-00000-a.parquet")

    assert place.committed("a") is None


def test_lost_files_are_noticed_before_the_commit(tmp_path):
    place = target_at(tmp_path)
    staged = place.stage("a", {}, SCHEMA, resume=True)
    rows = pa.table({"x": [1]}, schema=SCHEMA)
    record = staged.finish_part(staged.write_rows(0, [rows]))
    os.remove(place_of(staged, record))

    with pytest.raises(SourceError, match="every worker shares"):
        staged.check_complete([record])


@pytest.mark.parametrize("damage", ["record", "file", "no record"])
def test_unfinished_parts_are_not_taken_for_finished(tmp_path, damage):
    staged = target_at(tmp_path).stage("a", {}, SCHEMA, resume=True)
    rows = pa.table({"x": [1]}, schema=SCHEMA)
    for number in range(2):
        staged.finish_part(staged.write_rows(number, [rows]))
    record = staged.path("records", "part-00001.json")
    data = os.path.join(staged.data, "part-00001-a.parquet")
    if damage == "no record":
        os.remove(record)
    else:
        os.truncate(data if damage == "file" else record, 10)

    assert list(staged.records()) == [0]


def test_second_call_is_refused_at_once(tmp_path):
    program = (
        "import sys; from dfml.sinks._parquet import ParquetTarget;"
        "from dfml.sinks._files import FileSystem;"
        "place = ParquetTarget('write', sys.argv[1], FileSystem());"
        "lock = place.locked('b'); lock.__enter__()"
    )
    place = target_at(tmp_path)
    with place.locked("a"):
        done = subprocess.run(
            [sys.executable, "-c", program, place.path],
            capture_output=True,
            text=True,
            check=False,
        )

    assert "TargetExistsError: write expects to be the only one" in done.stderr
    with place.locked("a"):  # free again
        pass


def test_columns_of_floats_and_nested_ones_are_written(tmp_path):
    table = pa.table({"f": [0.5], "l": [["a", "a"]], "s": ["t"]})
    for number, names in enumerate((["f", "s"], ["f", "l", "s"])):
        place = ParquetTarget("write", tmp_path / str(number), FileSystem())
        rows = table.select(names)
        staged = place.stage("a", {}, rows.schema, resume=True)
        record = staged.finish_part(staged.write_rows(0, [rows]))

        assert pq.read_table(place_of(staged, record)).equals(rows)


X = pd.DataFrame(np.random.default_rng(0).random((60, 3)), columns=list("abc"))
Y = np.where(X["a"] > 0.5, "p", "q")
MODELS = [
    SGDClassifier(),
    LogisticRegression(),
    RandomForestClassifier(3),
    HistGradientBoostingClassifier(max_iter=3),
    make_pipeline(StandardScaler(), GaussianNB()),
    KNeighborsClassifier(algorithm="kd_tree"),
    MLPClassifier(max_iter=2),
    Incremental(SGDClassifier()),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_digest_of_a_model_outlives_use_and_storage(model):
    with catch_warnings():
        simplefilter("ignore")  # few iterations
        model.fit(X, Y)
    digest = content_digest(model)
    model.predict(X)
    stored = skops.io.dumps(model)
    trusted = skops.io.get_untrusted_types(data=stored)

    assert content_digest(model) == digest
    assert content_digest(pickle.loads(pickle.dumps(model))) == digest
    assert content_digest(skops.io.loads(stored, trusted=trusted)) == digest


def test_digest_tells_models_apart():
    model = LogisticRegression().fit(X, Y)
    before = content_digest(model)
    model.coef_[0, 0] += 1e-9

    assert content_digest(model) != before
    assert content_digest(FunctionTransformer(np.log)) != content_digest(
        FunctionTransformer(np.exp)
    )
    assert content_digest(FunctionTransformer(lambda x: x)) != content_digest(
        FunctionTransformer(lambda x: x + 1)
    )


def test_digest_of_what_contains_itself():
    loop = {"self": None, "value": 1}
    loop["self"] = loop

    assert content_digest(loop) == content_digest(loop)
    assert content_digest(1) != content_digest("1")
    assert content_digest({1, 2}) == content_digest({2, 1})


@pytest.mark.parametrize("swaps", [FileSystem, TwoRenames])
def test_permissions_of_the_folder_stay(tmp_path, swaps):
    place = ParquetTarget("write", tmp_path / "out", swaps())
    write_table(place, "a" * 32, [1])
    (tmp_path / "out").chmod(0o2750)

    write_table(place, "b" * 32, [2], mode="overwrite")

    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o2750


def test_rows_of_a_private_table_are_private_while_they_are_staged(tmp_path):
    place = ParquetTarget("write", tmp_path / "out", FileSystem())
    (tmp_path / "out").mkdir(mode=0o700)

    with place.locked("a" * 32):
        staged = place.stage("a" * 32, {}, SCHEMA, resume=True)
        assert os.stat(staged.data).st_mode & 0o777 == 0o700


def test_a_folder_inside_a_table_is_no_target(tmp_path):
    write_table(ParquetTarget("write", tmp_path / "out", FileSystem()), "a" * 32, [1])

    inside = ParquetTarget("write", tmp_path / "out" / "x" / "y", FileSystem())
    with pytest.raises(TargetExistsError, match="inside the table"):
        inside.check_early()
    ParquetTarget("write", tmp_path / "out2", FileSystem()).check_early()
