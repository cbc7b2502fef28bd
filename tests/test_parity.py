"""For any split of the rows into partitions, lazy equals eager."""

from __future__ import annotations

import itertools

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    Ridge,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.mixture import GaussianMixture
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from dfml import IID, Incremental, ParallelPostFit
from dfml.responses._methods import RESPONSES
from dfml.training._merging import MERGES
from tests.conftest import FEATURES, make_table, split_at

TABLE = make_table(120)
LABELS = (TABLE["amount"] > 0).to_numpy() * 1 + (TABLE["amount"] > 1)

cuts = st.lists(st.integers(0, len(TABLE)), max_size=6)
relaxed = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

FITTED = {
    "logistic": LogisticRegression().fit(TABLE[FEATURES], TABLE["late"]),
    "three classes": LogisticRegression().fit(TABLE[FEATURES], LABELS),
    "sgd": SGDClassifier(random_state=0).fit(TABLE[FEATURES], TABLE["late"]),
    "tree": DecisionTreeClassifier(max_depth=3).fit(TABLE[FEATURES], LABELS),
    "forest": RandomForestClassifier(8, n_jobs=2, random_state=0).fit(
        TABLE[FEATURES], TABLE["late"]
    ),
    "hist": HistGradientBoostingClassifier(max_iter=5).fit(TABLE[FEATURES], LABELS),
    "bayes": GaussianNB().fit(TABLE[FEATURES], TABLE["late"] == "yes"),
    "lda": LinearDiscriminantAnalysis().fit(TABLE[FEATURES], LABELS),
    "svc": SVC().fit(TABLE[FEATURES], LABELS),
    "mlp": MLPClassifier((4,), max_iter=5, random_state=0),
    "ridge": Ridge().fit(TABLE[FEATURES], TABLE["amount"]),
    "two targets": Ridge().fit(TABLE[FEATURES], TABLE[["amount", "weight"]]),
    "neighbours": KNeighborsRegressor(3).fit(TABLE[FEATURES], TABLE["amount"]),
    "kmeans": KMeans(3, n_init=1, random_state=0).fit(TABLE[FEATURES]),
    "mixture": GaussianMixture(2, random_state=0).fit(TABLE[FEATURES]),
    "outliers": IsolationForest(n_estimators=8, random_state=0).fit(TABLE[FEATURES]),
    "scaler": StandardScaler().fit(TABLE[FEATURES]),
    "pca": PCA(2).fit(TABLE[FEATURES]),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()).fit(
        TABLE[FEATURES], TABLE["late"]
    ),
    "columns": make_pipeline(
        make_column_transformer(
            (OneHotEncoder(), ["late"]), (StandardScaler(), FEATURES)
        ),
        LogisticRegression(),
    ).fit(TABLE[[*FEATURES, "late"]], LABELS),
    "one-hot": OneHotEncoder().fit(TABLE[["late"]]),
    "several": MultiOutputClassifier(LogisticRegression()).fit(
        TABLE[FEATURES], np.column_stack([LABELS, TABLE["late"] == "yes"])
    ),
}


@pytest.fixture(scope="module", autouse=True)
def fitted_mlp():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge in five rounds
        FITTED["mlp"].fit(TABLE[FEATURES], LABELS)


def as_table(result: object) -> np.ndarray:
    """Bring what an estimator returns to one two-dimensional array."""
    if isinstance(result, list):
        result = np.hstack(result)
    if hasattr(result, "toarray"):
        result = result.toarray()
    return np.asarray(result).reshape(len(TABLE), -1)


@pytest.mark.filterwarnings("ignore:divide by zero")  # log(0), as in memory
@pytest.mark.parametrize("name", FITTED)
@relaxed
@given(cuts=cuts)
def test_responses(name, cuts):
    model = FITTED[name]
    features = getattr(model, "feature_names_in_", FEATURES)
    frame = split_at(TABLE, cuts)
    lazy = ParallelPostFit(model)
    for response in RESPONSES:
        assert hasattr(lazy, response.name) == hasattr(model, response.name)
        if response.name == "inverse_transform" or not hasattr(model, response.name):
            continue
        answer = getattr(lazy, response.name)(frame)
        parts = dask.compute(*answer.to_delayed())
        for part in parts:
            dtypes = part.dtypes if part.ndim == 2 else part.dtype
            declared = answer.dtypes if part.ndim == 2 else answer.dtype
            assert np.all(dtypes == declared)
        found = pd.concat(parts)
        assert found.index.equals(TABLE.index)
        expected = as_table(getattr(model, response.name)(TABLE[features]))
        values = found.to_numpy().reshape(len(TABLE), -1)
        if expected.dtype.kind == "f":
            # BLAS sums in another order for another number of rows.
            np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    "name", ["logistic", "three classes", "ridge", "two targets", "kmeans", "mixture"]
)
@relaxed
@given(cuts=cuts, weighted=st.booleans())
def test_scores(name, cuts, weighted):
    model = FITTED[name]
    table = TABLE.assign(k=LABELS)
    target = {
        "logistic": "late",
        "three classes": "k",
        "ridge": "amount",
        "two targets": ["amount", "weight"],
    }.get(name)
    weighted = weighted and target is not None
    options = {"sample_weight": table["weight"]} if weighted else {}
    y = None if target is None else table[target]
    expected = model.score(table[FEATURES], y, **options)
    frame = split_at(table, cuts)
    weight = "weight" if weighted else None
    if target is None:
        frame = frame[FEATURES]
    score = ParallelPostFit(model).score(frame, target, sample_weight=weight)
    assert score == pytest.approx(expected, rel=1e-9)


TRAINED = {
    "sgd": (SGDClassifier(random_state=0), "late", "coef_"),
    "regression": (SGDRegressor(random_state=0), "amount", "coef_"),
    "perceptron": (Perceptron(random_state=0), "late", "coef_"),
    "network": (
        MLPRegressor(hidden_layer_sizes=(3,), random_state=0),
        "amount",
        "coefs_",
    ),
    "network of classes": (MLPClassifier((3,), random_state=0), "late", "coefs_"),
    "outliers": (SGDOneClassSVM(random_state=0), None, "coef_"),
    "centre": (MiniBatchKMeans(1, n_init=1, random_state=0), None, "cluster_centers_"),
    "largest": (MaxAbsScaler(), None, "max_abs_"),
    "counts": (BernoulliNB(), "late", "feature_log_prob_"),
    "bayes": (GaussianNB(), "late", "theta_"),
    "scaler": (StandardScaler(), None, "mean_"),
    "range": (MinMaxScaler(), None, "scale_"),
}


@pytest.mark.parametrize("name", TRAINED)
@relaxed
@given(cuts=cuts, epochs=st.integers(1, 3))
def test_incremental_equals_the_loop(name, cuts, epochs):
    estimator, target, learnt = TRAINED[name]
    edges = [0, *sorted(cuts), len(TABLE)]
    model = clone(estimator)
    options = {"classes": ["no", "yes"]} if target == "late" else {}
    for _ in range(epochs):
        for low, high in itertools.pairwise(edges):
            part = TABLE.iloc[low:high]
            if len(part):
                y = None if target is None else part[target]
                model.partial_fit(part[FEATURES], y, **options)
    columns = [*FEATURES, *([] if target is None else [target])]
    lazy = Incremental(estimator, epochs=epochs)
    lazy.fit(split_at(TABLE, cuts)[columns], target)
    found, expected = getattr(lazy, learnt), getattr(model, learnt)
    if type(estimator) in MERGES:  # merged: equal to rounding
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        return
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@relaxed
@given(cuts=cuts, sample=st.integers(1, 120), seed=st.integers(0, 3))
def test_a_drawn_sample_does_not_depend_on_the_split(cuts, sample, seed):
    whole, split = (
        IID(StandardScaler(), sample=sample, random_state=seed).fit(frame[FEATURES])
        for frame in (dd.from_pandas(TABLE, npartitions=1), split_at(TABLE, cuts))
    )
    assert split.n_samples_seen_ == sample
    np.testing.assert_array_equal(split.mean_, whole.mean_)
