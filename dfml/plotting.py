"""Pictures of a training; they need matplotlib (``pip install "dfml[plot]"``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from dfml._optional import import_optional
from dfml.estimators import Incremental
from dfml.exceptions import InputTypeError

__all__ = ["plot_history"]

_SECONDS = {"training": "#1f5fa8", "waiting": "#d65f4c", "loading": "#9aa5ad"}


def plot_history(model: Incremental, *, axes: Any = None) -> Any:
    """Draw what ``history_`` tells: where the time went, and the scores.

    Parameters
    ----------
    model : Incremental
        Fitted.
    axes : pair of matplotlib Axes, optional
        Drawn into; a new figure if not given.

    Returns
    -------
    axes : ndarray of two matplotlib Axes
        Left the seconds of each step, loading beside the training that it runs along
        with; right the prequential score of each step and the score of each epoch, as
        far as ``fit`` was asked for them.

    Raises
    ------
    InputTypeError
        If the model is no ``Incremental``, or ``axes`` no pair.
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd
    >>> from sklearn.linear_model import SGDClassifier
    >>> from dfml import Incremental
    >>> from dfml.plotting import plot_history
    >>> pdf = pd.DataFrame({"a": [0.0, 1.0] * 50, "late": [False, True] * 50})
    >>> clf = Incremental(SGDClassifier(), epochs=3, prequential=True)
    >>> clf = clf.fit(dd.from_pandas(pdf, npartitions=5), y="late")
    >>> [ax.get_title() for ax in plot_history(clf)]
    ['Where the time goes', 'Score']
    """
    _check_trained(model)
    check_is_fitted(model)
    pyplot = import_optional(
        "matplotlib.pyplot", extra="plot", needed_by="plot_history"
    )
    if axes is None:
        _, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    axes = np.ravel(np.asarray(axes))
    if len(axes) != 2:
        raise InputTypeError.expecting(
            "plot_history",
            "axes=, a pair of matplotlib Axes",
            f"{len(axes)}",
            "make two, matplotlib.pyplot.subplots(1, 2)[1]",
        )
    _draw_seconds(axes[0], model.history_)
    _draw_scores(axes[1], model)
    return axes


def _check_trained(model: Any) -> None:
    if not isinstance(model, Incremental):
        raise InputTypeError.expecting(
            "plot_history",
            "an Incremental, which has a history",
            f"{type(model).__name__}",
            "pass the Incremental itself, not the estimator inside",
        )


def _draw_seconds(ax: Any, history: list[dict[str, Any]]) -> None:
    for kind, color in _SECONDS.items():
        seconds = [row[f"seconds_{kind}"] for row in history]
        ax.plot(seconds, color=color, label=f"{kind}, {sum(seconds):.1f} s in all")
    ax.set(title="Where the time goes", xlabel="step", ylabel="seconds")
    ax.legend(frameon=False)


def _draw_scores(ax: Any, model: Incremental) -> None:
    history = model.history_
    steps = [number for number, row in enumerate(history) if "score" in row]
    if steps:
        scores = [history[number]["score"] for number in steps]
        ax.plot(steps, scores, color="#9aa5ad", label="of each step, before it")
    epochs = getattr(model, "validation_scores_", [])
    if epochs:
        a_pass = len(history) / len(epochs)
        ends = [a_pass * (number + 1) - 1 for number in range(len(epochs))]
        ax.plot(ends, epochs, "o-", color="#1f5fa8", label="of each epoch")
    ax.set(title="Score", xlabel="step", ylabel="score")
    if steps or epochs:
        ax.legend(frameon=False)
    else:
        hint = "no scores: fit with prequential=True\nor validation=(X, y)"
        ax.text(0.5, 0.5, hint, ha="center", va="center", transform=ax.transAxes)
