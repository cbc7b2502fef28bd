"""A real cluster of worker processes, some of which are killed."""

from __future__ import annotations

import os
import signal
import threading
import time

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import IncrementalPCA
from sklearn.linear_model import SGDClassifier

from dfml import IID, Incremental, ParallelPostFit
from dfml.exceptions import LabelError
from dfml.iid.linear_model import LogisticRegression
from tests.conftest import FEATURES, make_table
from tests.processes import local_cluster

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.distributed,
    # Of the killed workers' connections and of dask's graph size advice.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]


@pytest.fixture(scope="module")
def client():
    with local_cluster(set_as_default=False) as client:
        yield client


@pytest.fixture(autouse=True)
def on_the_cluster(client, synchronous_scheduler):
    with client.as_current(), dask.config.set(scheduler="distributed"):
        yield


class SlowClassifier(SGDClassifier):
    """Takes its time, so that there is some to be killed in."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        time.sleep(0.05)
        return super().partial_fit(X, y, classes, sample_weight)


def on_one_thread(estimator, frame, **params):
    with dask.config.set(scheduler="synchronous"):
        return Incremental(estimator, **params).fit(frame, "late")


def test_everything_agrees_with_one_thread(frame, table):
    data = frame[[*FEATURES, "late"]]
    inner = SGDClassifier(loss="log_loss", random_state=0)
    params = {"epochs": 2, "shuffle": True, "random_state": 3}
    expected = on_one_thread(inner, data, **params)
    clf = Incremental(inner, **params).fit(data, "late")
    assert_array_equal(clf.coef_, expected.coef_)
    assert clf.n_partitions_seen_ == 12
    assert [row["partition"] for row in clf.history_] == [
        row["partition"] for row in expected.history_
    ]
    assert_array_equal(clf.predict(frame), expected.predict(table[FEATURES]))
    assert clf.score(frame) == expected.score(table[FEATURES], table["late"])
    assert IID(inner).fit(data, "late").n_samples_seen_ == 100
    first = LogisticRegression().fit(data, "late")
    assert first.partition_ == 0
    assert len(ParallelPostFit(first).predict_proba(frame).compute()) == 600


def test_shuffled_and_persisted_frames(frame):
    for derived in (
        frame.shuffle("id", shuffle_method="tasks"),
        frame.persist(),
        frame.repartition(npartitions=4).persist(),
    ):
        data = derived[[*FEATURES, "late"]]
        clf = Incremental(SGDClassifier(random_state=0)).fit(data, "late")
        parts = [part.compute() for part in data.to_delayed()]
        model = SGDClassifier(random_state=0)
        for part in parts:
            if len(part):
                model.partial_fit(part[FEATURES], part["late"], ["no", "yes"])
        assert_array_equal(clf.coef_, model.coef_)


def kill_a_worker(client, pid):
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_worker_changes_nothing(client, seed):
    table = make_table(3000)
    frame = dd.from_pandas(table, npartitions=30)[[*FEATURES, "late"]]
    inner = SlowClassifier(random_state=0)
    expected = on_one_thread(inner, frame)
    client.wait_for_workers(2)
    pids = sorted(client.run(os.getpid).values())
    generator = np.random.default_rng(seed)
    timer = threading.Timer(
        generator.uniform(0.2, 1.4), kill_a_worker, (client, generator.choice(pids))
    )
    timer.start()
    clf = Incremental(inner).fit(frame, "late", classes=["no", "yes"])
    timer.join()
    assert_array_equal(clf.coef_, expected.coef_)
    assert clf.estimator_.t_ == 3001
    assert clf.n_samples_seen_ == 3000
    client.wait_for_workers(2, timeout=60)


class Logged(SlowClassifier):
    """Writes a line to a file after each step."""

    def __init__(self, path=None, random_state=None):
        super().__init__(random_state=random_state)
        self.path = path

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        super().partial_fit(X, y, classes, sample_weight)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{self.t_}\n")
        return self


@pytest.mark.parametrize("look_ahead", [1, 2, 3])
def test_a_lost_model_is_repeated_from_the_last_checkpoint_only(
    client, tmp_path, monkeypatch, look_ahead
):
    monkeypatch.setattr("dfml.training._remote.CHECKPOINT_SECONDS", 0.25)
    frame = dd.from_pandas(make_table(4000), npartitions=40)[[*FEATURES, "late"]]
    expected = on_one_thread(SlowClassifier(random_state=0), frame)
    client.wait_for_workers(2, timeout=60)
    pids = client.run(os.getpid).values()
    log = tmp_path / "steps"
    log.touch()

    def kill_all_after_30_steps():
        while len(log.read_text().split()) < 30:
            time.sleep(0.01)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_all_after_30_steps)
    killer.start()
    clf = Incremental(Logged(str(log), random_state=0), look_ahead=look_ahead)
    clf.fit(frame, "late", classes=["no", "yes"])
    killer.join()
    assert_array_equal(clf.coef_, expected.coef_)
    steps = log.read_text().split()
    # Five steps make 0.25 s; as many may be submitted ahead, and run out before a root.
    assert len(steps) - len(set(steps)) <= 5 + 6 + look_ahead + 1
    client.wait_for_workers(2, timeout=60)
    assert not set(pids) & set(client.run(os.getpid).values())


class FailsOnceAfterItsUpdate(ClassifierMixin, BaseEstimator):
    """Counts rows, and fails once after it has counted them."""

    def __init__(self, marker=None):
        self.marker = marker

    def partial_fit(self, X, y, classes=None):
        self.rows_ = getattr(self, "rows_", 0) + len(X)
        if self.rows_ > 300 and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            raise OSError("lost the connection")
        return self


def test_a_step_that_fails_after_its_update_leaves_no_trace(frame, tmp_path):
    inner = FailsOnceAfterItsUpdate(str(tmp_path / "marker"))
    data = frame[[*FEATURES, "late"]]
    clf = Incremental(inner)
    with pytest.raises(OSError, match="lost the connection") as caught:
        clf.fit(data, "late", classes=["no", "yes"])
    assert any("partition 3" in note for note in caught.value.__notes__)
    assert not hasattr(clf, "estimator_")
    assert clf.fit(data, "late", classes=["no", "yes"]).rows_ == 600


def test_errors_on_workers_name_the_partition(table):
    table.loc[450, "late"] = "perhaps"
    frame = dd.from_pandas(table, npartitions=6)[[*FEATURES, "late"]]
    clf = Incremental(SGDClassifier())
    with pytest.raises(LabelError, match="perhaps") as caught:
        clf.fit(frame, "late", classes=["no", "yes"])
    assert any("partition 4" in note for note in caught.value.__notes__)
    assert not hasattr(clf, "estimator_")


def test_ctrl_c_keeps_the_last_whole_partition(tmp_path):
    frame = dd.from_pandas(make_table(4000), npartitions=40)[[*FEATURES, "late"]]
    log = tmp_path / "steps"
    log.touch()

    def interrupt_after_12_steps():
        while len(log.read_text().split()) < 12:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    clf = Incremental(Logged(str(log), random_state=0))
    killer = threading.Thread(target=interrupt_after_12_steps)
    killer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        clf.fit(frame, "late", classes=["no", "yes"])
    killer.join()
    assert 1 <= clf.n_partitions_seen_ < 40
    assert clf.estimator_.t_ == 1 + 100 * clf.n_partitions_seen_
    said = f"after {clf.n_partitions_seen_} of 40 partitions"
    assert any(said in note for note in caught.value.__notes__)


def test_threads_of_blas_do_not_tell_a_cluster_from_a_process():
    X = np.random.default_rng(0).normal(size=(4000, 200))
    columns = [f"x{i}" for i in range(200)]
    frame = dd.from_pandas(pd.DataFrame(X, columns=columns), npartitions=4, sort=False)
    clustered = Incremental(IncrementalPCA(5)).fit(frame)
    with dask.config.set(scheduler="threads"):
        here = Incremental(IncrementalPCA(5)).fit(frame)
    assert_array_equal(clustered.components_, here.components_)


def test_callbacks_see_the_rows_of_steps_on_workers(frame):
    sklearn_callback = pytest.importorskip("sklearn.callback")
    monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
    clf = Incremental(SGDClassifier(random_state=0)).set_callbacks(monitor)
    clf.fit(frame[[*FEATURES, "late"]], "late", classes=["no", "yes"])
    expected = Incremental(SGDClassifier(random_state=0))
    expected.fit(frame[[*FEATURES, "late"]], "late", classes=["no", "yes"])
    assert_array_equal(clf.coef_, expected.coef_)


def test_small_models_and_many_partitions_are_submitted_ahead():
    table = make_table(2000)
    frame = dd.from_pandas(table, npartitions=200)[[*FEATURES, "late"]]
    inner = SGDClassifier(random_state=0)
    expected = on_one_thread(inner, frame)
    clf = Incremental(inner).fit(frame, "late")
    assert_array_equal(clf.coef_, expected.coef_)
    assert [row["partition"] for row in clf.history_] == list(range(200))
