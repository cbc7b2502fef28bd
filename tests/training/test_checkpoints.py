from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import make_scorer

from dfml import Incremental
from dfml.exceptions import CheckpointError
from tests.conftest import FEATURES


def in_threads(*functions):
    """Run functions at once, and give what went wrong."""
    ready = threading.Barrier(len(functions))

    def run(function):
        ready.wait()
        function()

    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(run, function) for function in functions]
    return [error for future in futures if (error := future.exception())]


def test_two_runs_of_one_job_at_once(frame, tmp_path):
    data = frame[[*FEATURES, "late"]]
    models = [
        Incremental(SGDClassifier(random_state=0), epochs=100, checkpoint=tmp_path)
        for _ in range(3)
    ]

    errors = in_threads(*(lambda m=m: m.fit(data, "late") for m in models))

    assert errors == []
    for model in models[1:]:
        assert_array_equal(model.coef_, models[0].coef_)
    assert list(tmp_path.iterdir()) == []


def test_a_relation_to_validate_on(frame, table, tmp_path):
    held_out = duckdb.connect().from_df(table[[*FEATURES, "late"]])
    clf = Incremental(SGDClassifier(), checkpoint=tmp_path)

    with pytest.raises(CheckpointError, match=r"(?s)validation expects .*spill_to"):
        clf.fit(frame[[*FEATURES, "late"]], "late", validation=(held_out, "late"))


def test_arrays_to_validate_on(frame, table, tmp_path):
    X = frame[FEATURES].to_dask_array()
    y = (frame["amount"] > 0).to_dask_array()
    clf = Incremental(SGDClassifier(random_state=0), checkpoint=tmp_path)
    clf.fit(X, y, validation=(X, y))

    score = clf.estimator_.score(table[FEATURES].to_numpy(), table["amount"] > 0)
    assert clf.validation_scores_ == [score]


def test_what_cannot_be_pickled(frame, tmp_path):
    scorer = make_scorer(lambda y, answers: float((y == answers).mean()))
    clf = Incremental(
        SGDClassifier(), checkpoint=tmp_path, prequential=True, scoring=scorer
    )

    with pytest.raises(CheckpointError, match=r"(?s)can be pickled.*lambda"):
        clf.fit(frame[[*FEATURES, "late"]], "late")
    assert not hasattr(clf, "estimator_")
