from __future__ import annotations

import warnings

import dask.dataframe as dd
import pytest
from sklearn.linear_model import Ridge

from dfml import IID
from dfml.exceptions import DfmlWarning
from dfml.iid.linear_model import LinearRegression
from tests.conftest import FEATURES


@pytest.fixture
def sorted_lake(tmp_path, table):
    table = table.sort_values("a", ignore_index=True)
    for number in range(6):
        part = table.iloc[number * 100 : number * 100 + 100]
        part.to_parquet(tmp_path / f"{number}.parquet")
    return tmp_path


def test_a_sorted_table_is_warned_about(sorted_lake):
    frame = dd.read_parquet(sorted_lake)[[*FEATURES, "amount"]]
    for model in (IID(Ridge()), LinearRegression()):
        with pytest.warns(DfmlWarning, match=r"partition 0 .* 'a' .* 5 of 5 .*sample="):
            model.fit(frame, "amount")
    with pytest.warns(DfmlWarning, match="'a'"):
        IID(Ridge()).fit(frame[FEATURES], frame["amount"])


def test_a_sample_of_all_partitions_is_not(sorted_lake):
    frame = dd.read_parquet(sorted_lake)[[*FEATURES, "amount"]]
    IID(Ridge(), sample=100).fit(frame, "amount")


def test_columns_that_are_not_used_do_not_count(sorted_lake):
    frame = dd.read_parquet(sorted_lake)
    IID(Ridge()).fit(frame[["c", "weight"]], "weight")


def test_partitions_that_are_alike(lake):
    frame = dd.read_parquet(lake)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IID(Ridge()).fit(frame[[*FEATURES, "amount"]], "amount")
