"""The picture of the demo: how well the model ranks, and how right its numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score, roc_curve

from dfml._optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["draw_picture"]

INK, DARK_GREY, GREY = "#22272e", "#66707b", "#9aa3ad"
BLUE, ORANGE = "#2166ac", "#d6604d"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
    "figure.titlesize": 11,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 2,
}


def draw_picture(held_back: Mapping[str, Any], path: Path) -> None:
    """Draw the ROC curve and the calibration of a classifier, side by side.

    Parameters
    ----------
    held_back : mapping of str to ndarray
        ``late``, the truth, and ``probability``.
    path : Path
        Where the PNG goes.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figures = import_optional(
        "matplotlib.figure", extra="plot", needed_by="The picture"
    )
    matplotlib = import_optional("matplotlib", extra="plot", needed_by="The picture")
    late, probability = held_back["late"].astype(bool), held_back["probability"]
    with matplotlib.rc_context(STYLE):
        figure = figures.Figure(figsize=(10, 5.2), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.1, wspace=0.06)
        figure.suptitle(f"{len(late):,} parcels of December, which the model never saw")
        ranking, honesty = figure.subplots(1, 2)
        draw_roc(ranking, late, probability)
        draw_calibration(honesty, late, probability)
        figure.savefig(path, dpi=150)


def draw_roc(axes: Any, late: Any, probability: Any) -> None:
    """Draw the share of late parcels found against false alarms."""
    false_alarms, found, _ = roc_curve(late, probability)
    auc = roc_auc_score(late, probability)
    draw_diagonal(axes)
    axes.fill_between(false_alarms, found, color=BLUE, alpha=0.08, linewidth=0)
    axes.plot(false_alarms, found, color=BLUE)
    axes.text(0.55, 0.25, f"ROC AUC {auc:.3f}", color=BLUE, fontsize=13, weight="bold")
    axes.set(
        title="Does it find the late ones?",
        xlabel="share of punctual parcels flagged",
        ylabel="share of late parcels flagged",
    )


def draw_calibration(axes: Any, late: Any, probability: Any) -> None:
    """Draw the share that was late against the probability that was predicted."""
    observed, predicted = calibration_curve(
        late, probability, n_bins=20, strategy="quantile"
    )
    draw_diagonal(axes)
    heights, edges = np.histogram(probability, bins=50, range=(0, 1))
    bars = 0.25 * heights / heights.max()
    axes.stairs(bars, edges, fill=True, color=GREY, alpha=0.3)
    axes.plot(predicted, observed, color=ORANGE, marker="o", markersize=5)
    axes.text(0.44, 0.06, "how often it is predicted", color=DARK_GREY)
    axes.set(
        title="Are its probabilities right?",
        xlabel="predicted probability to be late",
        ylabel="share that was late",
    )


def draw_diagonal(axes: Any) -> None:
    """Draw where guessing, or perfect calibration, would lie."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 4)))
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
