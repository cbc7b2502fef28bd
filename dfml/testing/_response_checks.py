# ruff: noqa: D401 - a check states what holds
"""Checks of lazy answers: what is computed when, and what comes back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import clone

from dfml.estimators._base import MetaEstimator
from dfml.responses._methods import RESPONSES
from dfml.testing._case import Watch, as_table, assert_close
from dfml.testing._registry import Registry

if TYPE_CHECKING:
    from dfml.testing._case import Case

CHECKS = lazy_check = Registry()


@lazy_check
def check_nothing_is_computed(case: Case) -> None:
    """A response method computes nothing at the call and returns a dask object."""
    for name in case.responses:
        with Watch() as watch:
            answer = getattr(case.fitted, name)(case.frame)
        assert watch.n_runs == 0, f"{name} computed something at the call"
        assert isinstance(answer, (dd.DataFrame, dd.Series)), (
            f"{name} of a dask frame returned {type(answer)}"
        )


@lazy_check
def check_answers_equal_in_memory(case: Case) -> None:
    """Lazy answers, computed, equal the answers to the same rows in memory."""
    assert case.responses, "no response method answers row by row"
    case.same_answers(case.frame, case.table.rows)


@lazy_check
def check_index_and_divisions(case: Case) -> None:
    """Index, its name, divisions and number of partitions are those of the input."""
    frame = case.frame.rename_axis(index="key")
    expected = frame.index.compute()
    for name in case.responses:
        answer = getattr(case.fitted, name)(frame)
        assert answer.npartitions == frame.npartitions, f"{name}: npartitions differ"
        assert answer.divisions == frame.divisions, f"{name}: divisions differ"
        index = answer.compute().index
        assert index.equals(expected), f"{name}: the index differs"
        assert index.name == "key", f"{name}: the index lost its name"


@lazy_check
def check_meta_is_true(case: Case) -> None:
    """Each partition, an empty one too, has the names and dtypes announced."""
    frame = case.frame[case.frame["row"] >= len(case.table.rows) // 2]
    for name in case.responses:
        answer = getattr(case.fitted, name)(frame)
        for number, part in enumerate(dask.compute(*answer.to_delayed())):
            assert type(part) is type(answer._meta), f"{name}: type of {number}"
            found, announced = _schema(part), _schema(answer._meta)
            assert found == announced, (
                f"{name}: partition {number} is {found}, announced was {announced}"
            )


def _schema(part: Any) -> Any:
    if isinstance(part, pd.Series):
        return part.name, part.dtype
    return list(part.columns), list(part.dtypes)


@lazy_check
def check_any_partitioning(case: Case) -> None:
    """Any split of the rows into partitions gives the same answers."""
    case.require_dask()
    rows = case.table.rows
    for edges in ([], [1], [0, 0, 59, 60, len(rows)], [7, 50, 51, 119]):
        case.same_answers(case.cut(rows, edges), rows)


@lazy_check
def check_empty_partitions(case: Case) -> None:
    """Partitions without rows give answers without rows; so does an empty table."""
    half = len(case.table.rows) // 2
    frame = case.frame[case.frame["row"] >= half]
    case.same_answers(frame, case.table.rows[half:])
    nothing = case.frame[case.frame["row"] < 0]
    for name in case.responses:
        answer = getattr(case.fitted, name)(nothing).compute()
        assert len(answer) == 0, f"{name} of no rows has {len(answer)} rows"


@lazy_check
def check_column_order(case: Case) -> None:
    """Columns are taken by name: from a wider frame, in any order."""
    reversed_ = case.frame[list(case.frame.columns)[::-1]].assign(extra=1.0)
    case.same_answers(reversed_, case.table.rows)


@lazy_check
def check_missing_column(case: Case) -> None:
    """A column of ``fit`` that is missing is an error at the call, and it is named."""
    absent = case.table.features[-1]
    frame = case.frame[[c for c in case.frame.columns if c != absent]]
    for name in case.responses:
        with Watch() as watch:
            message = _error_of(lambda name=name: getattr(case.fitted, name)(frame))
        assert watch.n_runs == 0, f"{name} computed something before it complained"
        assert str(absent) in message, f"{name} does not name column {absent!r}"


def _error_of(call: Any) -> str:
    try:
        call()
    except (TypeError, ValueError) as err:
        return str(err)
    raise AssertionError("there was no ValueError or TypeError")


@lazy_check
def check_duplicate_index(case: Case) -> None:
    """Index labels that come twice, as in tables of many files, change nothing."""
    case.require_dask()
    rows = case.table.rows.set_axis(np.arange(len(case.table.rows)) % 30, axis=0)
    frame = case.cut(rows, [30, 60, 90])
    case.same_answers(frame, rows)
    for name in case.responses:
        index = getattr(case.fitted, name)(frame).compute().index
        assert index.equals(rows.index), f"{name}: the index differs"


@lazy_check
def check_string_index(case: Case) -> None:
    """An index of text is kept."""
    case.require_dask()
    labels = [f"row {i}" for i in range(len(case.table.rows))]
    rows = case.table.rows.set_axis(pd.Index(labels, name="who"), axis=0)
    frame = case.cut(rows, [30, 60, 90])
    case.same_answers(frame, rows)
    for name in case.responses:
        index = getattr(case.fitted, name)(frame).compute().index
        assert list(index) == labels, f"{name}: the index differs"


@lazy_check
def check_unknown_divisions(case: Case) -> None:
    """A frame whose divisions are not known is answered, and they stay unknown."""
    frame = case.frame.clear_divisions()
    case.same_answers(frame, case.table.rows)
    for name in case.responses:
        answer = getattr(case.fitted, name)(frame)
        assert not answer.known_divisions, f"{name}: made up divisions"


@lazy_check
def check_assigned_to_the_frame(case: Case) -> None:
    """Answers can be put beside the columns they come from, without a shuffle."""
    for name in case.responses:
        answer = getattr(case.fitted, name)(case.frame)
        column = answer if isinstance(answer, dd.Series) else answer.iloc[:, 0]
        both = case.frame.assign(answer=column).compute()
        expected = case.answer(name, case.table.rows)[:, 0]
        assert_close(both["answer"], expected, f"{name} was assigned to other rows")


@lazy_check
def check_configuration(case: Case) -> None:
    """scikit-learn's configuration is that of the call, whenever and wherever it runs.

    With ``assume_finite`` a missing value is an error or is none, as in memory.
    """
    rows = case.table.rows.copy()
    rows.loc[rows.index[-1], case.table.features[0]] = np.nan
    frame = case.lazy(rows)
    for name in case.responses:
        for finite in (False, True):
            with config_context(assume_finite=finite):
                expected = _outcome(lambda name=name: case.answer(name, rows))
                answer = _outcome(lambda name=name: getattr(case.fitted, name)(frame))
            found = answer if isinstance(answer, type) else _elsewhere(answer)
            if isinstance(expected, type) or isinstance(found, type):
                assert found is expected, (
                    f"{name} with assume_finite={finite}: {found}, not {expected}"
                )


def _outcome(call: Any) -> Any:
    """Return what comes, or the type of the error that does."""
    try:
        return call()
    except Exception as err:  # noqa: BLE001 - errors are compared, whatever they are
        return type(err)


def _elsewhere(answer: Any) -> Any:
    """Compute in a thread that knows nothing of the caller's configuration."""
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(
            _outcome(lambda: answer.compute(scheduler="synchronous"))
        )
    )
    thread.start()
    thread.join()
    return found[0]


@lazy_check
def check_transform_output(case: Case) -> None:
    """A lazy answer has the same type and columns, whatever ``set_output`` says."""
    for name in case.responses:
        before = getattr(case.fitted, name)(case.frame)
        with config_context(transform_output="pandas"):
            after = getattr(case.fitted, name)(case.frame)
        assert _schema(after._meta) == _schema(before._meta), f"{name}: another schema"
        assert_close(after.compute(), before.compute(), f"{name}: other answers")


@lazy_check
def check_schedulers_agree(case: Case) -> None:
    """The same answers on every scheduler, bit by bit."""
    for name in case.responses:
        answer = getattr(case.fitted, name)(case.frame)
        results = []
        for scheduler in case.schedulers:
            with dask.config.set(scheduler=scheduler):
                results.append(as_table(answer.compute(), len(case.table.rows)))
        for scheduler, other in zip(case.schedulers[1:], results[1:], strict=True):
            np.testing.assert_array_equal(
                other, results[0], err_msg=f"{name} differs on {scheduler}"
            )


@lazy_check
def check_same_names_for_the_same_call(case: Case) -> None:
    """Two equal calls give tasks of equal names, so that dask computes them once."""
    for name in case.responses:
        first, second = (getattr(case.fitted, name)(case.frame) for _ in range(2))
        assert first._name == second._name, f"{name}: another name in each call"


@lazy_check
def check_model_is_in_the_graph_once(case: Case) -> None:
    """More partitions do not put more copies of the model into the graph."""
    case.require_dask()
    import cloudpickle

    name = case.responses[0]
    model = len(cloudpickle.dumps(case.fitted))
    few, many = (
        len(cloudpickle.dumps(dict(answer.optimize().__dask_graph__())))
        for n_partitions in (2, 12)
        for answer in [getattr(case.fitted, name)(_thin(case, n_partitions))]
    )
    assert many - few < 5 * model + 20_000, (
        f"{name}: the graph grows by {many - few} bytes over 10 partitions, "
        f"the model has {model}"
    )


def _thin(case: Case, n_partitions: int) -> Any:
    rows = case.table.rows[:24]
    edges = list(range(2, 2 * n_partitions, 2))
    return case.cut(rows, edges)


@lazy_check
def check_error_names_the_partition(case: Case) -> None:
    """An error inside a partition keeps its type and says which partition it was."""
    case.require_dask()
    rows, column = case.table.rows, case.table.features[0]

    def spoil(part: pd.DataFrame) -> pd.DataFrame:
        if rows.index[-1] not in part.index:
            return part
        values = [*part[column].iloc[:-1], "no number"]
        return part.assign(**{column: pd.Series(values, part.index, dtype=object)})

    good = case.cut(rows, [30, 60, 90])
    frame = good.map_partitions(spoil, meta=case.frame._meta)
    for name in case.responses:
        answer = getattr(case.fitted, name)(frame)
        try:
            answer.compute()
        except Exception as err:  # noqa: BLE001 - whatever the estimator raises
            notes = " ".join(getattr(err, "__notes__", []))
            assert "partition 3" in notes, f"{name}: the error has the notes {notes!r}"


@lazy_check
def check_dask_array(case: Case) -> None:
    """A model fitted on a dask Array answers with Arrays of the same chunks."""
    case.require_dask()
    values = case.features.to_numpy()
    X = da.from_array(values, chunks=(50, 1))
    y = None
    if case.table.target is not None:
        labels = case.table.rows[case.table.target].to_numpy()
        y = da.from_array(labels, chunks=50)
    model = clone(case.estimator)
    given = (
        (values, None if y is None else labels) if case.trains == "memory" else (X, y)
    )
    model.fit(*given)
    for name in case.responses:
        answer = getattr(model, name)(X)
        assert isinstance(answer, da.Array), f"{name} of an Array: {type(answer)}"
        assert answer.chunks[0] == X.chunks[0], f"{name}: chunks {answer.chunks[0]}"
        assert_close(
            as_table(answer.compute(), len(values)),
            as_table(getattr(model, name)(values), len(values)),
            f"{name} of an Array differs from {name} in memory",
        )


@lazy_check
def check_inverse_transform(case: Case) -> None:
    """``inverse_transform`` of lazy rows equals that of the same rows in memory."""
    model = case.fitted
    both = hasattr(model, "transform") and hasattr(model, "inverse_transform")
    case.require(both, "there is no inverse_transform")
    try:
        expected = model.inverse_transform(model.transform(case.features))
    except ValueError as err:
        case.require(False, f"it does not invert in memory: {err}")
    found = model.inverse_transform(model.transform(case.frame))
    n_rows = len(case.table.rows)
    assert_close(as_table(found.compute(), n_rows), as_table(expected, n_rows), "")


@lazy_check
def check_relation(case: Case) -> None:
    """A DuckDB relation is fitted on and answered as the frame of its rows."""
    case.require(case.kind == "duckdb", "a frame is no relation")
    rows = case.table.rows
    model = clone(case.estimator)
    columns = case.relation(rows[case.table.columns])
    if case.trains == "memory":
        model = case.fitted
    else:
        model.fit(columns, y=case.table.target)
    for name in case.responses:
        answer = getattr(model, name)(columns)
        assert_close(
            as_table(answer.compute(), len(rows)),
            case.answer(name, rows, model),
            f"{name} of a relation differs from {name} in memory",
        )


@lazy_check
def check_wrapper_has_what_is_inside(case: Case) -> None:
    """``hasattr`` tells the truth: the wrapper answers what its estimator answers."""
    case.require(isinstance(case.fitted, MetaEstimator), "there is nothing inside")
    inner = case.fitted._response_estimator
    for response in RESPONSES:
        ours, theirs = (hasattr(each, response.name) for each in (case.fitted, inner))
        assert ours == theirs, f"hasattr {response.name}: {ours}, inside {theirs}"
