"""The public suite of lazy checks, for every pair, and on DuckDB input."""

from __future__ import annotations

from itertools import product

import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

from dfml import IID, Incremental
from dfml.testing import check_lazy_estimator
from tests.contracts.pairs import PAIRS, one_of_each
from tests.processes import local_cluster


# What a query changes is the same for all estimators of a type.
@pytest.mark.parametrize(
    ("pair", "kind"),
    [*product(PAIRS, ["dask"]), *product(one_of_each(PAIRS), ["duckdb"])],
    ids=str,
)
def test_keeps_in_lazy_tables_what_it_promises_in_memory(pair, kind):
    results = check_lazy_estimator(
        pair.wrapped, kinds=[kind], table=pair.lazy_table(), on_fail=None
    )
    failed = {
        result["check_name"]: repr(result["exception"])
        for result in results
        if result["status"] == "failed"
    }
    assert not failed
    assert sum(result["status"] == "passed" for result in results) >= 15


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [
        Incremental(SGDClassifier(random_state=0)),
        IID(StandardScaler()),
    ],
    ids=["Incremental", "IID"],
)
def test_processes(estimator):
    check_lazy_estimator(estimator, schedulers=("synchronous", "processes"))


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of dask's own connections
def test_a_cluster():
    with local_cluster(set_as_default=False) as client:
        check_lazy_estimator(
            Incremental(SGDClassifier(random_state=0)),
            kinds=["dask"],
            schedulers=("synchronous", client),
        )
