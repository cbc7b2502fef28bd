"""Jobs of ``predict_table`` on real worker processes, some of which are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import dask
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression

import dfml
from dfml.exceptions import DiskFullError
from tests.conftest import FEATURES, make_table
from tests.processes import local_cluster

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.distributed,
    # Of the killed workers' connections.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

N_FILES = 60


@pytest.fixture
def table():
    return make_table(1200)


@pytest.fixture
def lake(tmp_path, table):
    folder = tmp_path / "lake"
    folder.mkdir()
    for number in range(N_FILES):
        rows = table.iloc[20 * number : 20 * (number + 1)]
        rows.to_parquet(folder / f"{number:02d}.parquet", index=False)
    return folder


@pytest.fixture
def model(table):
    return LogisticRegression().fit(table[FEATURES], table["late"])


@pytest.fixture
def client():
    with local_cluster() as client:
        yield client


def at_part(number, action):
    """Make a ``progress`` that acts once a part is done."""

    def progress(done, total):
        if done == number:
            action()

    return progress


def check_table(target, table, model):
    scored = pd.concat(pd.read_parquet(path) for path in sorted(target.iterdir()))
    assert scored["id"].tolist() == table["id"].tolist()
    assert scored["prediction"].tolist() == model.predict(table[FEATURES]).tolist()


def test_a_killed_worker_changes_nothing(client, tmp_path, lake, table, model):
    pid = min(client.run(os.getpid).values())

    report = dfml.predict_table(
        model,
        lake,
        tmp_path / "out",
        keep=["id"],
        progress=at_part(5, lambda: os.kill(pid, signal.SIGKILL)),
    )

    assert (report.rows, report.parts, report.predicted_rows) == (1200, 60, 1200)
    check_table(tmp_path / "out", table, model)


class Deadly(RegressorMixin, BaseEstimator):
    """Kills the process that predicts one of the rows."""

    def fit(self, X, y):
        self.feature_names_in_ = X.columns.to_numpy()
        self.row_ = X.iloc[777, 0]
        return self

    def predict(self, X):
        if (X.iloc[:, 0] == self.row_).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros(len(X))


def test_a_part_that_kills_its_workers_ends_the_job(client, tmp_path, lake, table):
    model = Deadly().fit(table[["a"]], table["amount"])

    with pytest.raises(distributed.scheduler.KilledWorker) as caught:
        dfml.predict_table(model, lake, tmp_path / "out")

    # Which of the parts that were waiting on the workers is to blame is not known.
    assert any(".parquet', part " in text for text in caught.value.__notes__)
    assert not (tmp_path / "out").exists()


@contextlib.contextmanager
def cluster_of_processes(folder):
    """Start a scheduler and two workers, each in a process; give the first's id."""
    address = folder / "scheduler.json"
    common = ["--scheduler-file", address, "--host", "127.0.0.1"]
    options = [*common, "--no-dashboard"]
    module = [sys.executable, "-m", "distributed.cli"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    commands = [[f"{module[2]}.dask_scheduler", *options, "--port", "0"]]
    commands += [[f"{module[2]}.dask_worker", *options, "--nthreads", "1"]] * 2
    started = []
    try:
        for command in commands:
            text = [*module[:2], *map(str, command)]
            started.append(subprocess.Popen(text, **quiet))
            while not address.exists():
                time.sleep(0.05)
        yield address, started[0].pid
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def test_a_lost_scheduler_is_an_error_soon(tmp_path, lake, table, model):
    with (
        cluster_of_processes(tmp_path) as (address, pid),
        dask.config.set({"scheduler": None}),
        distributed.Client(scheduler_file=str(address)) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        killed = []

        def kill():
            os.kill(pid, signal.SIGKILL)
            killed.append(time.monotonic())

        lost = (distributed.client.FutureCancelledError, OSError)
        with pytest.raises(lost, match=r"onnection") as caught:
            dfml.predict_table(
                model, lake, tmp_path / "out", keep=["id"], progress=at_part(5, kill)
            )
        assert time.monotonic() - killed[0] < 30
        assert any("finished are kept" in text for text in caught.value.__notes__)
        assert not (tmp_path / "out").exists()
    report = dfml.predict_table(model, lake, tmp_path / "out", keep=["id"])

    assert report.resumed_parts >= 5
    check_table(tmp_path / "out", table, model)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may make a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("place", ["threads", "cluster"])
def test_a_full_disk(small_disk, lake, table, model, place, request):
    if place == "cluster":
        request.getfixturevalue("client")
    elsewhere = {"scheduler": "threads"} if place == "threads" else {}
    balloon = small_disk / "balloon"
    balloon.write_bytes(bytes(200_000))

    def score():
        with dask.config.set(elsewhere):
            return dfml.predict_table(model, lake, small_disk / "out", keep=["id"])

    with pytest.raises(DiskFullError, match="bytes free"):
        score()
    assert not (small_disk / "out").exists()
    balloon.unlink()
    small = subprocess.run(
        ["mount", "-o", "remount,size=5m", str(small_disk)], check=False
    )
    assert small.returncode == 0
    report = score()

    assert report.resumed_parts > 0
    check_table(small_disk / "out", table, model)


class Heavy(RegressorMixin, BaseEstimator):
    """A model of 40 MB."""

    def fit(self, X, y):
        self.feature_names_in_ = X.columns.to_numpy()
        self.weights_ = np.ones(5_000_000)
        return self

    def predict(self, X):
        return np.asarray(X) @ self.weights_[: X.shape[1]]


def test_a_large_model_does_not_pass_through_the_scheduler(
    client, tmp_path, lake, table, recwarn
):
    model = Heavy().fit(table[FEATURES], table["amount"])

    report = dfml.predict_table(model, lake, tmp_path / "out", keep=[])

    assert report.rows == 1200
    assert not [w for w in recwarn if "large graph" in str(w.message)]
    scored = pd.concat(pd.read_parquet(p) for p in sorted((tmp_path / "out").iterdir()))
    expected = table[FEATURES].sum(axis=1)
    np.testing.assert_allclose(scored["prediction"], expected)
    assert sorted(os.listdir(tmp_path / ".out.dfml")) == ["lock", "report.json"]
