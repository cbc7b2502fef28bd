"""``ddf.ml``: models in a chain of dataframe methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.dataframe.extensions import register_dataframe_accessor

from dfml._scoring import score_lazily
from dfml.estimators import as_lazy
from dfml.exceptions import ColumnCollisionError
from dfml.responses._methods import RESPONSES, Response

if TYPE_CHECKING:
    import dask.dataframe as dd

__all__ = ["MLAccessor"]


@register_dataframe_accessor("ml")
class MLAccessor:
    """Response methods of models as methods of a dask DataFrame.

    Each appends the columns of the response and returns the frame, lazily; the whole
    chain is one pass over the data that reads only the columns it needs.

    Parameters
    ----------
    frame : dask DataFrame
        The frame that ``.ml`` was asked of.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> import dfml
    >>> pdf = pd.DataFrame({"id": [7, 8], "a": [0.0, 1.0], "late": [False, True]})
    >>> clf = LogisticRegression().fit(pdf[["a"]], pdf["late"])
    >>> ddf = dd.from_pandas(pdf, npartitions=1)
    >>> ddf.ml.predict(clf).ml.predict_proba(clf).columns.tolist()
    ['id', 'a', 'late', 'prediction', 'probability_False', 'probability_True']
    """

    def __init__(self, frame: dd.DataFrame) -> None:
        self._frame = frame

    def score(
        self,
        model: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        scoring: Any = None,
    ) -> float:
        """Score a model on the frame, now.

        Parameters
        ----------
        model : estimator
            Fitted, of dfml or scikit-learn.
        y : column name(s) or dask Series, optional
            The true target; None stands for the target of ``fit``, if dfml saw it.
        sample_weight : column name or dask Series, optional
            Weights of the rows.
        scoring : str or scorer, optional
            A scorer of scikit-learn, or the name of one; None stands for the
            estimator's own ``score``.

        Returns
        -------
        score : float
            Greater is better.

        Raises
        ------
        EstimatorTypeError
            If the estimator's own score cannot be merged from partitions.
        """
        lazy = as_lazy("ddf.ml.score", model)
        if scoring is None:
            return float(lazy.score(self._frame, y, sample_weight))
        return score_lazily(
            lazy, self._frame, y, sample_weight, scoring, where="ddf.ml.score"
        )


def _append(
    frame: dd.DataFrame, answer: Any, where: str, name: str | None, prefix: str | None
) -> dd.DataFrame:
    """Assign a response to its frame, under names that are free."""
    single = len(answer._meta.shape) == 1
    columns = {answer.name: answer} if single else {c: answer[c] for c in answer}
    if name is not None:
        if len(columns) != 1:
            raise ColumnCollisionError.expecting(
                where, "name= for one column", f"{len(columns)} columns", "use prefix="
            )
        columns = {name: next(iter(columns.values()))}
    if prefix is not None:
        columns = {f"{prefix}{column}": of for column, of in columns.items()}
    taken = [column for column in columns if column in frame.columns]
    if taken:
        raise ColumnCollisionError.expecting(
            where,
            "output columns with free names",
            f"{taken}, which the frame has already",
            "pass name= or prefix=",
        )
    return frame.assign(**columns)


_DOC = """{summary}

        Lazy: nothing is computed now.

        Parameters
        ----------
        model : estimator
            Fitted, of dfml or scikit-learn.
        name : str, optional
            Name of the output column, where there is one.
        prefix : str, optional
            Put before the names of the output columns.
        meta : pandas Series or DataFrame, optional
            Empty object like the response, where dfml cannot know it.

        Returns
        -------
        frame : dask DataFrame
            The frame with the columns of the response appended.

        Raises
        ------
        EstimatorTypeError
            If the model is no estimator.
        ColumnMismatchError
            If the frame lacks columns of ``fit``, or has them with another kind.
        ColumnCollisionError
            If an output column has the name of one that is there.
        """


def _make_method(response: Response) -> Any:
    def method(
        self: MLAccessor,
        model: Any,
        *,
        name: str | None = None,
        prefix: str | None = None,
        meta: Any = None,
    ) -> dd.DataFrame:
        where = f"ddf.ml.{response.name}"
        answer = getattr(as_lazy(where, model), response.name)(self._frame, meta=meta)
        return _append(self._frame, answer, where, name, prefix)

    method.__name__ = response.name
    method.__qualname__ = f"{MLAccessor.__name__}.{response.name}"
    method.__doc__ = _DOC.format(summary=response.summary)
    return method


for _response in RESPONSES:
    setattr(MLAccessor, _response.name, _make_method(_response))
