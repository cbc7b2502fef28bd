from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import SGDClassifier, SGDRegressor

from dfml import Incremental
from tests.conftest import FEATURES, split_at


def stopping(model, scoring, **options):
    return Incremental(
        model, epochs=20, early_stopping=True, scoring=scoring, **options
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_an_epoch_without_a_score_does_not_count_as_zero(table, lazy):
    # The errors of a regression are scores below zero: zero would never be reached.
    rows = table[[*FEATURES, "amount"]]
    data = dd.from_pandas(rows, npartitions=1) if lazy else rows
    model = SGDRegressor(random_state=0, eta0=0.0001, learning_rate="constant")
    model = stopping(model, "neg_mean_squared_error", n_iter_no_change=2)

    model.fit(data, "amount")

    first, *others = model.validation_scores_
    assert np.isnan(first)
    assert len(others) == 19
    assert sorted(others) == others
    assert all(type(row["score"]) is float for row in model.history_[1:])


def test_partitions_without_a_score_are_left_out_of_the_mean(table):
    # ROC AUC is not defined on the partitions that hold one class.
    ends = [(table["late"] == "no").sum() - 100, (table["late"] == "no").sum() + 100]
    frame = split_at(table.sort_values("late", ignore_index=True), ends)
    model = stopping(
        SGDClassifier(random_state=0), "roc_auc", n_iter_no_change=3, tol=0.0
    )

    with pytest.warns(match="Only one class is present"):
        model.fit(frame[[*FEATURES, "late"]], "late")

    mixed = [row["score"] for row in model.history_ if row["partition"] == 1]
    assert_allclose(model.validation_scores_, mixed)
