"""``IID``: fit any estimator on one sample of a table, then answer lazily."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
)
from sklearn.utils.validation import _num_samples

from dfml import _frames
from dfml._relations import RelationTable, join_lazily
from dfml._schema import listed
from dfml.estimators._base import MetaEstimator
from dfml.estimators._checks import check_takes_kinds, check_target
from dfml.estimators._evidence import warn_if_unlike
from dfml.estimators._sampling import Sample, draw
from dfml.exceptions import LabelError

__all__ = ["IID", "fit_on_sample"]


class IID(MetaEstimator):
    """Fit an estimator on one sample of a table, and answer on all of it lazily.

    For estimators without ``partial_fit``, on tables whose partitions are alike
    (independent and identically distributed): one partition is then enough. ``fit``
    is eager and loads only what it fits on; everything after it is lazy.

    Parameters
    ----------
    estimator : estimator
        Any scikit-learn estimator; it is cloned and never changed.
    sample : {"first", "random"}, int or float, default="first"
        The first non-empty partition, a random one, so many rows, or such a share of
        all rows. The last two count the rows first, which reads the table.
    random_state : int, RandomState instance or None, default=None
        Seeds the sample; the estimator has its own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted scikit-learn estimator. What it has learnt shows here too.
    n_samples_seen_ : int
        Rows in the sample.
    partition_ : int or None
        Partition the sample is, None if it spans several.

    See Also
    --------
    Incremental : Trains on all partitions.
    dfml.iid : scikit-learn's own classes with the same behaviour.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from dfml import IID
    >>> pdf = pd.DataFrame({"a": [0.0, 1.0] * 10, "late": ["no", "yes"] * 10})
    >>> ddf = dd.from_pandas(pdf, npartitions=4)
    >>> clf = IID(DecisionTreeClassifier()).fit(ddf, y="late")
    >>> clf.n_samples_seen_, clf.partition_
    (5, 0)
    >>> clf.score(ddf)
    1.0
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 - as scikit-learn
        "estimator": [HasMethods(["fit"])],
        "sample": [
            StrOptions({"first", "random"}),
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
        ],
        "random_state": ["random_state"],
    }

    def __init__(
        self, estimator: Any, *, sample: Any = "first", random_state: Any = None
    ) -> None:
        self.estimator = estimator
        self.sample = sample
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any = None, *, classes: Any = None, **fit_params: Any
    ) -> IID:
        """Fit a clone of the estimator on the sample, now.

        Parameters
        ----------
        X : dask DataFrame or Array, DuckDB relation or array-like
            The table, of shape (n_samples, n_features). In-memory input is fitted
            whole.
        y : column name(s), dask Series or Array, or array-like, optional
            The target: a name, or a lazy column of the same table.
        classes : array-like, optional
            Classes that the sample must hold; nothing is padded.
        **fit_params : dict
            ``sample_weight`` (a column name, or a lazy column) where the estimator's
            ``fit`` has it; anything else is passed on.

        Returns
        -------
        self : IID
            Fitted; unchanged if anything fails.

        Raises
        ------
        LabelError
            If the sample holds one class only, or not all of ``classes``.
        EmptyTableError
            If no partition has a row.
        """
        self._validate_params()
        if isinstance(self.sample, bool):  # which Python takes for 1 and 0
            raise InvalidParameterError(
                "The 'sample' parameter of IID must be 'first', 'random', an int in "
                f"the range [1, inf) or a float in (0, 1]. Got {self.sample} instead."
            )
        model = clone(self.estimator)
        fit_params = self._routed("fit", fit_params)
        weight = fit_params.pop("sample_weight", None)
        if not _frames.is_lazy(X):
            X, y, weight = _frames.split_columns("IID.fit", X, y, weight)
            if weight is not None:
                fit_params["sample_weight"] = weight
            model.fit(X, y, **fit_params)
            self.estimator_ = model
            self.n_samples_seen_, self.partition_ = _num_samples(X), None
            self._forget_outputs()
            return self
        table = join_lazily("IID.fit", X, y, weight)
        taken = fit_on_sample(
            "IID.fit",
            model,
            model.fit,
            table,
            fit_params,
            sample=self.sample,
            random_state=self.random_state,
            classes=classes,
        )
        self.estimator_ = model
        self.n_samples_seen_, self.partition_ = len(taken.block), taken.partition
        self._learn_outputs(
            table.features, table.target_names, table.named, taken.block.X[:2]
        )
        return self


def fit_on_sample(
    where: str,
    model: Any,
    fit: Any,
    table: _frames.Table,
    fit_params: dict[str, Any],
    *,
    sample: Any = "first",
    random_state: Any = None,
    classes: Any = None,
) -> Sample:
    """Draw the sample and fit a model on it.

    Parameters
    ----------
    where : str
        The call, for messages.
    model : estimator
        For its tags.
    fit : callable
        The method that fits it in memory.
    table : Table
        The joined table.
    fit_params : dict
        Passed on.
    sample, random_state
        As in :class:`IID`.
    classes : array-like, optional
        Classes that the sample must hold.

    Returns
    -------
    sample : Sample
        What the model was fitted on.
    """
    check_target(where, model, table)
    check_takes_kinds(where, model, table)
    taken = draw(where, table, sample, random_state)
    if sample == "first" and not isinstance(table, RelationTable):
        warn_if_unlike(where, table, taken.partition)
    block = taken.block
    if is_classifier(model) and block.y is not None and block.y.ndim == 1:
        _check_classes(where, block.y, taken.partition, classes)
    if block.sample_weight is not None:
        fit_params = {**fit_params, "sample_weight": block.sample_weight}
    try:
        fit(block.X, block.y, **fit_params)
    except Exception as err:
        err.add_note(f"dfml: fitting on partition {taken.partition}.")
        raise
    return taken


def _check_classes(where: str, y: Any, partition: int | None, classes: Any) -> None:
    found = np.unique(y)
    place = "the sample" if partition is None else f"partition {partition}"
    hint = "draw over all partitions, dfml.IID(estimator, sample=0.1), or more rows"
    missing = [] if classes is None else sorted(set(classes) - set(found.tolist()))
    if missing:
        raise LabelError.expecting(
            where, f"all of {listed(classes)} in {place}", listed(found), hint
        )
    if len(found) == 1:
        raise LabelError.expecting(
            where, f"at least two classes in {place}", f"only {listed(found)}", hint
        )
