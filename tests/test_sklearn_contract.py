"""scikit-learn's own checks: a wrapper fails nothing that the bare estimator passes.

The checks feed in-memory arrays. What is lazy is checked by ``dfml.testing``.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.neural_network import BernoulliRBM
from sklearn.utils.estimator_checks import check_estimator

from tests.contracts.pairs import PAIRS

_ORDER = (
    "rows are drawn in an order that depends on their number, so that a weight of two "
    "is not the row given twice; scikit-learn expects the same failure of its own"
)
_WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": _ORDER,
    "check_sample_weight_equivalence_on_sparse_data": _ORDER,
}
_BRIEF = "a few iterations, so that the checks are quick, do not reach the accuracy"
_FACTORS = "fit_transform is not fit, then transform, as the iterations stop early"

#: What fails, and why. The bare estimator fails each of these as well.
EXPECTED: dict[str, dict[str, str]] = {
    "Incremental(SGDClassifier)": _WEIGHTS,
    "Incremental(SGDRegressor)": _WEIGHTS,
    "Incremental(Perceptron)": _WEIGHTS,
    "Incremental(SGDOneClassSVM)": _WEIGHTS,
    "Incremental(MiniBatchKMeans)": _WEIGHTS,
    "Incremental(MLPClassifier)": {"check_classifiers_train": _BRIEF},
    "Incremental(MLPRegressor)": {"check_regressors_train": _BRIEF},
    "Incremental(BernoulliRBM)": dict.fromkeys(
        ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
        "score_samples draws a feature to flip for each row; scikit-learn expects it",
    ),
    "ParallelPostFit(KMeans)": _WEIGHTS,
    "ParallelPostFit(IsolationForest)": _WEIGHTS,
    "ParallelPostFit(LinearSVC)": _WEIGHTS,
    "IID(MiniBatchKMeans)": _WEIGHTS,
    "dfml.iid(SGDClassifier)": _WEIGHTS,
    "dfml.iid(KMeans)": _WEIGHTS,
    "dfml.iid(RandomForestRegressor)": _WEIGHTS,
    "dfml.iid(IsolationForest)": _WEIGHTS,
    "dfml.iid(MiniBatchNMF)": dict.fromkeys(
        ("check_transformer_data_not_an_array", "check_transformer_general"), _FACTORS
    ),
}
#: What the bare estimator passes in ``fit`` and fails in a loop of ``partial_fit``,
#: which is what ``Incremental`` is; each has a test below.
IN_THE_LOOP = {
    "Incremental(BernoulliRBM)": {"check_transformer_preserve_dtypes"},
}


@cache
def outcome(position: int, bare: bool) -> dict[str, str]:
    """Run all checks on one estimator; return the status of each by name."""
    pair = PAIRS[position]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(
            pair.bare if bare else pair.wrapped, on_skip=None, on_fail=None
        )
    statuses: dict[str, str] = {}
    for result in results:  # a check that comes twice with other settings
        name = result["check_name"]
        if statuses.get(name) != "failed":
            statuses[name] = result["status"]
    return {**statuses, "": str(len(results))}


def failed(position: int, bare: bool) -> set[str]:
    return {k for k, status in outcome(position, bare).items() if status == "failed"}


@pytest.mark.parametrize("position", range(len(PAIRS)), ids=map(str, PAIRS))
def test_fails_nothing_that_the_bare_estimator_passes(position):
    name = str(PAIRS[position])
    found = failed(position, bare=False) - IN_THE_LOOP.get(name, set())
    assert found <= failed(position, bare=True)
    unexpected = found - set(EXPECTED.get(name, {}))
    assert not unexpected, "list it in EXPECTED with its reason"


def test_partial_fit_of_a_boltzmann_machine_does_not_preserve_dtypes():
    X = np.ones((4, 3), dtype=np.float32)
    assert BernoulliRBM(2).fit(X).transform(X).dtype == np.float32
    machine = BernoulliRBM(2)
    machine.partial_fit(X)
    assert machine.transform(X).dtype == np.float64


def test_there_are_enough_pairs_and_checks():
    assert len(PAIRS) >= 25
    n_checks = sum(int(outcome(p, False)[""]) for p in range(len(PAIRS)))
    assert n_checks > 1200


def test_every_expected_failure_has_a_pair_and_a_reason():
    assert set(EXPECTED) <= set(map(str, PAIRS))
    assert all(reason for of_one in EXPECTED.values() for reason in of_one.values())
