"""The example programs of dask-ml run with only the import line changed."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import pytest
from sklearn.linear_model import SGDClassifier

from dfml import Incremental
from dfml.datasets import make_classification
from dfml.iid.ensemble import GradientBoostingClassifier


def test_first_partition_on_arrays():
    X, y = make_classification(n_samples=20_000, chunks=1_000, random_state=0)
    clf = GradientBoostingClassifier(n_estimators=10)
    clf.fit(X, y)
    probabilities = clf.predict_proba(X)
    assert isinstance(probabilities, da.Array)
    assert probabilities.shape == (20_000, 2)
    assert probabilities.chunks[0] == X.chunks[0]
    assert clf.n_samples_seen_ == 1_000
    assert clf.score(X, y) > 0.8


def test_first_partition_on_frames():
    X, y = make_classification(n_samples=20_000, npartitions=20, random_state=0)
    clf = GradientBoostingClassifier(n_estimators=10)
    clf.fit(X, y)
    probabilities = clf.predict_proba(X)
    assert isinstance(probabilities, dd.DataFrame)
    assert probabilities.columns.tolist() == ["probability_0", "probability_1"]
    assert probabilities.divisions == X.divisions
    assert clf.score(X, y) > 0.8


@pytest.mark.parametrize("how", [{"chunks": 25}, {"npartitions": 4}], ids=str)
def test_incremental(how):
    X, y = make_classification(**how)
    est = SGDClassifier(random_state=10, max_iter=100)
    clf = Incremental(est)
    clf.fit(X, y, classes=[0, 1])
    assert clf.coef_.shape == (1, X.shape[1])
    assert type(clf.estimator_) is SGDClassifier
    assert not hasattr(est, "coef_")
    assert 0 <= clf.score(X, y) <= 1
    assert len(clf.predict(X).compute()) == 100
