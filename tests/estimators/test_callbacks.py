"""scikit-learn's callbacks, which version 1.8 does not have."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import SGDClassifier

from dfml import Incremental
from tests.conftest import FEATURES

callback = pytest.importorskip("sklearn.callback")


class Recording:
    """A callback that writes down its hooks, and may ask to stop."""

    def __init__(self, stop_at=None):
        self.seen = []
        self.stop_at = stop_at

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context, **_):
        pass

    def on_fit_task_end(self, estimator, context, fitted_estimator=None, **_):
        self.seen.append(context.task_name)
        return self.seen.count("partition") == self.stop_at


class TestCallbacks:
    def test_one_task_a_partition_and_epoch(self, frame):
        recording = Recording()
        clf = Incremental(make_sgd(), epochs=2).set_callbacks(recording)
        clf.fit(frame[[*FEATURES, "late"]], "late")
        steps = [*["partition"] * 6, "epoch"] * 2
        assert recording.seen == ["setup", *steps, "fit", "teardown"]

    def test_a_callback_may_stop(self, frame):
        recording = Recording(stop_at=4)
        clf = Incremental(make_sgd(), epochs=2).set_callbacks(recording)
        clf.fit(frame[[*FEATURES, "late"]], "late")
        assert clf.n_partitions_seen_ == 4
        assert recording.seen[-2:] == ["fit", "teardown"]

    def test_teardown_after_an_error(self, table):
        table.loc[350, "b"] = np.nan
        recording = Recording()
        clf = Incremental(make_sgd()).set_callbacks(recording)
        frame = dd.from_pandas(table, npartitions=6)[[*FEATURES, "late"]]
        with pytest.raises(ValueError, match="NaN"):
            clf.fit(frame, "late")
        assert recording.seen[-1] == "teardown"

    @pytest.mark.parametrize("lazy", [True, False])
    def test_scoring_monitor_scores_each_partition(self, frame, table, lazy):
        monitor = callback.ScoringMonitor(scoring="accuracy")
        clf = Incremental(make_sgd()).set_callbacks(monitor)
        data = frame if lazy else table
        clf.fit(data[[*FEATURES, "late"]], "late")
        (log,) = (
            [monitor.get_logs()]
            if not isinstance(monitor.get_logs(), list)
            else monitor.get_logs()
        )
        scores = [row["accuracy"] for row in log.data if "accuracy" in row]
        model, expected = make_sgd(), []
        parts = [table.iloc[i : i + 100] for i in range(0, 600, 100)]
        for part in parts if lazy else [table]:
            model.partial_fit(part[FEATURES], part["late"], ["no", "yes"])
            expected.append(model.score(part[FEATURES], part["late"]))
        assert scores == expected

    def test_scikit_learns_own(self, frame, capsys):
        pytest.importorskip("rich")
        clf = Incremental(make_sgd(), epochs=2)
        clf.set_callbacks(callback.ProgressBar())
        clf.fit(frame[[*FEATURES, "late"]], "late")
        assert clf.n_partitions_seen_ == 12


def params(folder):
    return {"epochs": 3, "shuffle": True, "random_state": 1, "checkpoint": folder}


def test_a_checkpoint_goes_on_after_an_interrupt_bit_equal(lake, tmp_path):
    data = dd.read_parquet(lake)[[*FEATURES, "late"]]
    folder = tmp_path / "checkpoints"
    expected = Incremental(make_sgd(), epochs=3, shuffle=True, random_state=1)
    expected.fit(data, "late")
    recording = Recording(stop_at=None)

    def interrupt(*_, **__):
        recording.seen.append("x")
        if len(recording.seen) == 14:
            raise KeyboardInterrupt
        return False

    recording.on_fit_task_end = interrupt
    clf = Incremental(make_sgd(), **params(folder)).set_callbacks(recording)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(data, "late")
    assert len(list(folder.iterdir())) == 1
    again = Incremental(make_sgd(), **params(folder)).fit(data, "late")
    assert_array_equal(again.coef_, expected.coef_)
    assert again.n_partitions_seen_ == 24
    assert len(again.history_) == 24
    assert list(folder.iterdir()) == []


def make_sgd(**params):
    return SGDClassifier(loss="log_loss", random_state=0, **params)
