# ruff: noqa: D401 - a check states what holds
"""Checks of lazy training, and of what an estimator is after it."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pandas as pd
from dask.base import is_dask_collection
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from dfml.testing._case import assert_close
from dfml.testing._registry import Registry

if TYPE_CHECKING:
    from dfml.testing._case import Case

CHECKS = lazy_check = Registry()

_MEMORY = "it is fitted in memory"


def _same_model(case: Case, found: Any, expected: Any, message: str) -> None:
    rows = case.table.rows
    for name in case.responses:
        assert_close(
            case.answer(name, rows, found), case.answer(name, rows, expected), message
        )


def _parts(case: Case) -> list[pd.DataFrame]:
    return list(dask.compute(*case.frame.to_delayed()))


@lazy_check
def check_fit_equals_the_loop(case: Case) -> None:
    """A lazy ``fit`` is a loop of ``partial_fit``, or ``fit`` on one partition."""
    case.require(case.trains != "memory", _MEMORY)
    expected = case.fit_in_memory(_parts(case), weighted=False)
    _same_model(case, case.fitted, expected, "the lazy fit differs from the loop")


@lazy_check
def check_fit_returns_self(case: Case) -> None:
    """``fit`` returns the estimator, and leaves its parameters as they were."""
    case.require(case.trains != "memory", _MEMORY)
    model = clone(case.estimator)
    before = repr(model.get_params())
    assert model.fit(case.frame[case.table.columns], y=case.table.target) is model
    assert repr(model.get_params()) == before, "fit changed a parameter"
    check_is_fitted(model)


@lazy_check
def check_fit_skips_empty_partitions(case: Case) -> None:
    """Partitions without rows do not count in ``fit``."""
    case.require(case.trains != "memory", _MEMORY)
    case.require_dask()
    rows = case.table.rows
    with_holes = case.fit(case.cut(rows, [0, 0, 60, 60]))
    without = case.fit(case.cut(rows, [60]))
    _same_model(case, with_holes, without, "empty partitions changed the model")


@lazy_check
def check_fit_on_no_rows(case: Case) -> None:
    """If every partition is empty, ``fit`` is a ValueError and nothing is fitted."""
    case.require(case.trains != "memory", _MEMORY)
    model = clone(case.estimator)
    nothing = case.frame[case.frame["row"] < 0][case.table.columns]
    try:
        model.fit(nothing, y=case.table.target)
    except ValueError:
        assert not _is_fitted(model), "an empty table left the estimator fitted"
        return
    raise AssertionError("fit on a table without rows was no ValueError")


def _is_fitted(model: Any) -> bool:
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


@lazy_check
def check_target_by_name_or_column(case: Case) -> None:
    """``y="label"`` and ``y=frame["label"]`` are the same."""
    target = case.table.target
    case.require(case.trains != "memory" and target is not None, "there is no lazy y")
    model = clone(case.estimator)
    model.fit(case.frame[case.table.features], case.frame[target])
    _same_model(case, model, case.fitted, "y as a column is not y as a name")


@lazy_check
def check_sample_weight(case: Case) -> None:
    """Weights by name, as a lazy column, and in the loop in memory are the same."""
    case.require(case.trains != "memory", _MEMORY)
    case.require(case.takes_weight, "fit takes no sample_weight")
    by_name = case.fit(case.frame, sample_weight="weight")
    chosen = case.frame[case.table.columns]
    by_column = clone(case.estimator).fit(
        chosen, y=case.table.target, sample_weight=case.frame["weight"]
    )
    _same_model(case, by_name, by_column, "a name is not the column")
    expected = case.fit_in_memory(_parts(case), weighted=True)
    _same_model(case, by_name, expected, "weights differ from weights in memory")


@lazy_check
def check_new_class_in_a_later_partition(case: Case) -> None:
    """A class that the first partition does not have is learnt all the same."""
    case.require(case.trains == "all", "it trains on one partition")
    case.require(is_classifier(case.estimator), "it is no classifier")
    case.require(not isinstance(case.table.target, list), "it has several targets")
    rows = case.table.rows.copy()
    rows.loc[rows.index[60:], case.table.target] = "another"
    rows.loc[rows.index[90:], case.table.target] = "yes"
    frame = case.lazy(rows)[case.table.columns]
    model = clone(case.estimator).fit(frame, y=case.table.target)
    expected = np.unique(rows[case.table.target].to_numpy())
    assert list(model.classes_) == list(expected), f"classes_ is {model.classes_}"


@lazy_check
def check_clone_is_not_fitted(case: Case) -> None:
    """A clone of a fitted estimator has its parameters and is not fitted."""
    again = clone(case.fitted)
    assert not _is_fitted(again), "a clone is fitted"
    assert repr(again) == repr(case.fitted), "a clone has other parameters"


class _Inspector(pickle.Pickler):
    """Refuses dask collections and database connections in what it pickles."""

    def persistent_id(self, obj: Any) -> None:
        kind = type(obj).__module__.partition(".")[0]
        assert not is_dask_collection(obj), f"the pickle holds a {type(obj).__name__}"
        assert kind not in ("_duckdb", "duckdb"), "the pickle holds a connection"


@lazy_check
def check_pickle(case: Case) -> None:
    """A fitted estimator pickles without graph or connection, and answers as before."""
    stream = io.BytesIO()
    _Inspector(stream).dump(case.fitted)
    again = pickle.loads(stream.getvalue())
    case.same_answers(case.frame, case.table.rows, again)
    _same_model(case, again, case.fitted, "the pickled model answers otherwise")


@lazy_check
def check_feature_names(case: Case) -> None:
    """``feature_names_in_`` and ``n_features_in_`` are those of the table."""
    names = case.table.features
    case.require(hasattr(case.fitted, "n_features_in_"), "features are not counted")
    assert case.fitted.n_features_in_ == len(names), "n_features_in_ is wrong"
    if hasattr(case.fitted, "feature_names_in_"):
        assert list(case.fitted.feature_names_in_) == names, "names are wrong"


@lazy_check
def check_failed_fit_changes_nothing(case: Case) -> None:
    """A ``fit`` that fails leaves the model of the ``fit`` before."""
    case.require(case.trains != "memory", _MEMORY)
    model = case.fit(case.frame)
    broken = case.frame[case.table.columns].map_partitions(
        _fail, meta=case.frame[case.table.columns]._meta
    )
    try:
        model.fit(broken, y=case.table.target)
    except Broken:
        _same_model(case, model, case.fitted, "a failed fit changed the model")
        return
    raise AssertionError("the error of a partition did not reach the caller")


class Broken(RuntimeError):
    """Raised by a partition that cannot be loaded."""


def _fail(_: pd.DataFrame) -> pd.DataFrame:
    raise Broken("this partition cannot be loaded")


@lazy_check
def check_fit_twice(case: Case) -> None:
    """A second ``fit`` starts anew, and the same table gives the same model."""
    case.require(case.trains != "memory", _MEMORY)
    model = case.fit(case.frame)
    other = case.frame[case.frame["row"] >= len(case.table.rows) // 2]
    model.fit(other[case.table.columns], y=case.table.target)
    model.fit(case.frame[case.table.columns], y=case.table.target)
    _same_model(case, model, case.fitted, "a second fit differs from the first")


@lazy_check
def check_fit_on_every_scheduler(case: Case) -> None:
    """The same partitions give the same model on every scheduler."""
    case.require(case.trains != "memory", _MEMORY)
    for scheduler in case.schedulers:
        with dask.config.set(scheduler=scheduler):
            model = case.fit(case.frame)
        _same_model(case, model, case.fitted, f"another model on {scheduler}")


@lazy_check
def check_score(case: Case) -> None:
    """``score`` of a lazy table equals ``score`` of its rows in memory."""
    case.require(hasattr(case.fitted, "score"), "there is no score")
    target = case.table.target
    y = None if target is None else case.table.rows[target]
    try:
        expected = case.fitted.score(case.features, y)
    except (TypeError, ValueError) as err:
        case.require(False, f"it does not score in memory: {err}")
    try:
        found = case.fitted.score(case.frame[case.table.columns], y=target)
    except TypeError as err:
        case.require(False, f"it does not merge: {err}")
    assert isinstance(found, float), f"score returned {type(found)}"
    assert_close(np.float64(found), np.float64(expected), "the lazy score differs")


@lazy_check
def check_rows_are_not_changed(case: Case) -> None:
    """A response does not write into the rows it is given."""
    case.require_dask()
    rows = case.features.copy()
    frame = case.cut(rows, [30, 60, 90])
    before = frame.compute(scheduler="synchronous").copy(deep=True)
    for name in case.responses:
        getattr(case.fitted, name)(frame).compute(scheduler="synchronous")
    after = frame.compute(scheduler="synchronous")
    pd.testing.assert_frame_equal(after, before)
