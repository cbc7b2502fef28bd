"""Names of lazy data that are the same in every process."""

from __future__ import annotations

from typing import Any

from dask.tokenize import tokenize

__all__ = ["data_token"]

#: What dask keeps in an expression for itself; it differs from process to process.
_CACHES = frozenset({"_dataset_info_cache", "_pq_length_stats"})


def data_token(expr: Any) -> str:
    """Name the data of an expression, the same in every process.

    dask's own name of a Parquet read depends on the process, through a cache among
    its operands; the checksum of the files stands in for that here.

    Parameters
    ----------
    expr : dask Expr
        Of a DataFrame or Series.

    Returns
    -------
    token : str
        Another one for other data.

    Raises
    ------
    TokenizationError
        If dask cannot tell whether two such tables are the same.
    """
    parts = [type(expr).__name__, getattr(expr, "checksum", None)]
    names = [*expr._parameters, *[""] * len(expr.operands)]
    for name, operand in zip(names, expr.operands, strict=False):
        if name not in _CACHES:
            is_expr = hasattr(operand, "operands")
            parts.append(data_token(operand) if is_expr else _fixed(operand))
    return _fixed(parts)


def _fixed(value: Any) -> str:
    # By the argument: the setting of that name is one for all threads.
    return str(tokenize(value, ensure_deterministic=True))
