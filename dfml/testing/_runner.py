"""Runs the lazy checks, one by one or as parameters of a pytest test."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from sklearn.base import clone

from dfml.exceptions import InputTypeError
from dfml.testing import _fit_checks, _response_checks
from dfml.testing._case import Case, example_table, trains_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dfml.testing._case import Table, Trains

__all__ = [
    "LAZY_CHECKS",
    "check_lazy_estimator",
    "iter_lazy_checks",
    "parametrize_lazy_checks",
]

KINDS = ("dask", "duckdb")
#: Every check by its name, in the order they run. Each docstring says what it demands.
LAZY_CHECKS = {**_response_checks.CHECKS, **_fit_checks.CHECKS}


def iter_lazy_checks(
    estimator: Any,
    *,
    kinds: Sequence[str] = KINDS,
    table: Table | None = None,
    trains: Trains | None = None,
    schedulers: Sequence[Any] = ("synchronous", "threads"),
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield every check with its name, ready to be called.

    Parameters
    ----------
    estimator : estimator
        As in :func:`check_lazy_estimator`.
    kinds, table, trains, schedulers
        As in :func:`check_lazy_estimator`.

    Yields
    ------
    name, check : tuple
        ``check()`` raises AssertionError if it fails, ``unittest.SkipTest`` if it does
        not apply, or whatever the estimator raises.

    Examples
    --------
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from dfml import Incremental
    >>> from dfml.testing import iter_lazy_checks
    >>> checks = dict(iter_lazy_checks(Incremental(MinMaxScaler()), kinds=["dask"]))
    >>> checks["check_nothing_is_computed[dask]"]()
    """
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise InputTypeError.expecting(
            "iter_lazy_checks", f"kinds of {KINDS}", f"{sorted(unknown)}", "drop them"
        )
    for kind in kinds:
        case = Case(
            clone(estimator),
            kind,
            example_table(estimator) if table is None else table,
            trains or trains_of(estimator),
            tuple(schedulers),
        )
        for name, check in LAZY_CHECKS.items():
            yield f"{name}[{kind}]", functools.partial(_run, check, case)


def _run(check: Callable[[Case], None], case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the estimator, on a small table
        check(case)


def check_lazy_estimator(
    estimator: Any,
    *,
    kinds: Sequence[str] = KINDS,
    table: Table | None = None,
    trains: Trains | None = None,
    schedulers: Sequence[Any] = ("synchronous", "threads"),
    on_fail: str | None = "raise",
) -> list[dict[str, Any]]:
    """Check that an estimator keeps on lazy tables what it promises in memory.

    What ``sklearn.utils.estimator_checks.check_estimator`` is for arrays: every check
    of ``LAZY_CHECKS`` is run on a dask DataFrame and on a DuckDB query. The estimator
    may be of dfml or of anybody: ``fit(X, y="name")`` takes a dask DataFrame, response
    methods of a dask DataFrame return dask Series and DataFrames, and the same methods
    take pandas DataFrames.

    Parameters
    ----------
    estimator : estimator
        Not fitted, and seeded, so that two fits agree. It is cloned.
    kinds : sequence of {"dask", "duckdb"}, default=("dask", "duckdb")
        Where the lazy tables come from.
    table : Table, optional
        Rows to check with; made from the estimator's tags if None.
    trains : {"all", "first", "memory"}, optional
        Whether ``fit`` trains on all partitions with ``partial_fit``, on the first, or
        takes tables in memory only; found out if None.
    schedulers : sequence, default=("synchronous", "threads")
        Names of dask's schedulers, or a ``distributed`` client, that must agree.
    on_fail : {"raise", None}, default="raise"
        Whether the first failure is raised.

    Returns
    -------
    results : list of dict
        One entry a check: ``check_name``, ``status`` ("passed", "failed" or "skipped")
        and ``exception``.

    Raises
    ------
    AssertionError
        If a check fails, with a note that names it.

    Examples
    --------
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from dfml import Incremental
    >>> from dfml.testing import check_lazy_estimator
    >>> results = check_lazy_estimator(Incremental(MinMaxScaler()), kinds=["dask"])
    >>> {result["status"] for result in results} <= {"passed", "skipped"}
    True
    """
    results = []
    checks = iter_lazy_checks(
        estimator, kinds=kinds, table=table, trains=trains, schedulers=schedulers
    )
    for name, check in checks:
        status, exception = _outcome(check)
        if status == "failed" and on_fail == "raise" and exception is not None:
            exception.add_note(f"dfml: in {name} of {estimator!r}.")
            raise exception
        results.append({"check_name": name, "status": status, "exception": exception})
    return results


def _outcome(check: Callable[[], None]) -> tuple[str, Exception | None]:
    try:
        check()
    except SkipTest as reason:
        return "skipped", reason
    except Exception as err:  # noqa: BLE001 - an estimator may raise anything
        return "failed", err
    return "passed", None


def parametrize_lazy_checks(estimators: Iterable[Any], **options: Any) -> Any:
    """Make a pytest decorator that runs each check on each estimator as one test.

    Parameters
    ----------
    estimators : iterable of estimator
        As in :func:`check_lazy_estimator`.
    **options : dict
        ``kinds``, ``table``, ``trains`` and ``schedulers``.

    Returns
    -------
    decorator : pytest.MarkDecorator
        For a test with one parameter, ``check``, that calls ``check()``.

    Examples
    --------
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from dfml import Incremental
    >>> from dfml.testing import parametrize_lazy_checks
    >>> @parametrize_lazy_checks([Incremental(MinMaxScaler())])
    ... def test_lazy(check):
    ...     check()
    """
    import pytest

    parameters = [
        pytest.param(check, id=f"{estimator!r}-{name}")
        for estimator in estimators
        for name, check in iter_lazy_checks(estimator, **options)
    ]
    return pytest.mark.parametrize("check", parameters)
