"""Ends that wait for a disk do not keep threads from computing."""

from __future__ import annotations

import os
import pickle
import threading

import dask
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from dfml import predict_table
from dfml._finishing import AtOnce, Beside
from dfml.sinks._files import FileSystem


def test_ends_run_beside_and_errors_come_with_the_result():
    beside = Beside(1)
    here = beside(lambda: threading.current_thread().name)
    failing = beside(lambda: 1 / 0)
    assert here.result().startswith("dfml-finish")
    with pytest.raises(ZeroDivisionError):
        failing.result()
    beside.close()


def test_close_waits_for_all_ends():
    beside, may_end, ended = Beside(1), threading.Event(), []
    for number in range(2):
        beside(lambda n=number: may_end.wait(10) and ended.append(n))
    threading.Timer(0.1, may_end.set).start()
    beside.close()
    assert ended == [0, 1]


def test_who_brings_more_ends_than_there_is_room_for_waits():
    beside, may_end = Beside(1), threading.Event()
    brought = []

    def bring():
        for number in range(5):
            beside(lambda: may_end.wait(10))
            brought.append(number)

    thread = threading.Thread(target=bring)
    thread.start()
    thread.join(0.3)
    assert brought == [0, 1]  # one runs, one waits
    may_end.set()
    thread.join(10)
    assert brought == [0, 1, 2, 3, 4]
    beside.close()


def test_at_once_pickles_with_what_it_has_finished():
    finished = pickle.loads(pickle.dumps(AtOnce()))(lambda: 7)
    assert pickle.loads(pickle.dumps(finished)).result() == 7


@pytest.fixture
def lake(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    for number in range(4):
        rows = pd.DataFrame({"x": np.arange(5.0) + 10 * number})
        rows.to_parquet(folder / f"{number}.parquet")
    return folder


@pytest.fixture
def model():
    X = pd.DataFrame({"x": [0.0, 1.0]})
    return LinearRegression().fit(X, [0.0, 2.0])


def test_parts_are_predicted_while_another_waits_for_the_disk(
    lake, model, tmp_path, monkeypatch
):
    created = []
    three = threading.Event()
    sync, create = FileSystem.sync, FileSystem.create

    def create_counted(files, path):
        if "part-" in path:
            created.append(path)
            if len(created) == 3:
                three.set()
        return create(files, path)

    def sync_late(files, file):
        if "part-" in str(file.name):
            assert three.wait(10), "the only thread that computes waits for the disk"
        sync(files, file)

    monkeypatch.setattr(FileSystem, "create", create_counted)
    monkeypatch.setattr(FileSystem, "sync", sync_late)
    with dask.config.set(scheduler="threads", num_workers=1):
        report = predict_table(model, lake, tmp_path / "scored")
    assert report.rows == 20


def test_an_error_at_the_disk_names_the_part(lake, model, tmp_path, monkeypatch):
    replace = FileSystem.replace

    def fail(files, source, target):
        if os.path.basename(target).startswith("part-00002") and "data" in target:
            raise OSError("the disk is gone")
        replace(files, source, target)

    monkeypatch.setattr(FileSystem, "replace", fail)
    with (
        dask.config.set(scheduler="threads", num_workers=2),
        pytest.raises(OSError, match="the disk is gone") as error,
    ):
        predict_table(model, lake, tmp_path / "scored")
    (note,) = error.value.__notes__
    assert "2.parquet" in note
    assert "part 2 of 4" in note
    assert not (tmp_path / "scored").exists()
    monkeypatch.setattr(FileSystem, "replace", replace)
    report = predict_table(model, lake, tmp_path / "scored")
    assert report.rows == 20
    assert report.resumed_parts >= 2
