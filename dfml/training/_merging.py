"""Training in parallel where the state of ``partial_fit`` is additive.

Each partition trains a model of its own, and models are merged in a tree whose shape
depends on the number of partitions alone: the same bits on every scheduler, equal to
the sequence of steps to rounding. Which estimators, says the table ``MERGES``.

Two habits of the sequence are not repeated: GaussianNB takes off the ``epsilon_`` of
the new batch where it had put on the old one's (a difference within
``2 * var_smoothing`` times the largest variance), and a StandardScaler whose first
batch has no value in a column keeps NaN there for good.
"""

from __future__ import annotations

import copy
from contextlib import closing
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.preprocessing._data import _handle_zeros_in_scale, _is_constant_feature

from dfml._loaders import Loaded
from dfml.training._steps import Prepare, Step, Training

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from dfml._partitions import Partitions, Turn
    from dfml._streams import StreamedPartitions
    from dfml.arrays._blocks import Block
    from dfml.training._steps import OpenPlan, Plan

__all__ = ["MERGES", "MergedSteps", "is_additive"]


def _pooled(
    n: Any, mean: Any, var: Any, m: Any, other_mean: Any, other_var: Any
) -> Any:
    """Pool counts, means and variances of two samples, stably [1]_.

    References
    ----------
    .. [1] Chan, Golub, LeVeque (1983), "Algorithms for computing the sample
       variance", doi:10.1080/00031305.1983.10483115.
    """
    total = n + m
    share = np.divide(m, total, out=np.zeros_like(total), where=total > 0)
    apart = other_mean - mean
    pooled_mean = mean + apart * share
    # Squares over the total: var * (1 - share) + other * share + the distance.
    pooled_var = var * (1 - share) + other_var * share + apart**2 * share * (1 - share)
    return total, pooled_mean, pooled_var


def _merge_standard_scaler(a: Any, b: Any) -> None:
    n, m = (np.asarray(s.n_samples_seen_, dtype="float64") for s in (a, b))
    if a.mean_ is None:  # neither with_mean nor with_std
        total = n + m
    else:
        width = a.mean_.shape
        with_var = a.var_ is not None
        total, mean, var = _pooled(
            np.broadcast_to(n, width).astype("float64"),
            np.nan_to_num(a.mean_),
            np.nan_to_num(a.var_) if with_var else np.zeros(width),
            np.broadcast_to(m, width).astype("float64"),
            np.nan_to_num(b.mean_),
            np.nan_to_num(b.var_) if with_var else np.zeros(width),
        )
        # A feature without a value has no mean, as in the sequence of steps.
        seen = total > 0
        a.mean_ = np.where(seen, mean, np.nan)
        a.var_ = np.where(seen, var, np.nan) if with_var else None
    kind = np.result_type(np.asarray(a.n_samples_seen_), np.asarray(b.n_samples_seen_))
    total = total.astype(kind)
    a.n_samples_seen_ = total.flat[0] if np.ptp(total) == 0 else total
    if a.with_std:
        constant = _is_constant_feature(a.var_, a.mean_, a.n_samples_seen_)
        a.scale_ = _handle_zeros_in_scale(
            np.sqrt(a.var_), copy=False, constant_mask=constant
        )


def _merge_min_max_scaler(a: Any, b: Any) -> None:
    a.data_min_ = np.fmin(a.data_min_, b.data_min_)
    a.data_max_ = np.fmax(a.data_max_, b.data_max_)
    a.data_range_ = a.data_max_ - a.data_min_
    low, high = a.feature_range
    a.scale_ = (high - low) / _handle_zeros_in_scale(a.data_range_, copy=True)
    a.min_ = low - a.data_min_ * a.scale_
    a.n_samples_seen_ += b.n_samples_seen_


def _merge_max_abs_scaler(a: Any, b: Any) -> None:
    a.max_abs_ = np.fmax(a.max_abs_, b.max_abs_)
    a.scale_ = _handle_zeros_in_scale(a.max_abs_, copy=True)
    a.n_samples_seen_ += b.n_samples_seen_


def _merge_gaussian_nb(a: Any, b: Any) -> None:
    n, m = a.class_count_[:, None], b.class_count_[:, None]
    _, a.theta_, var = _pooled(
        n + np.zeros_like(a.theta_),
        a.theta_,
        a.var_ - a.epsilon_,
        m + np.zeros_like(b.theta_),
        b.theta_,
        b.var_ - b.epsilon_,
    )
    # partial_fit takes epsilon_ from its last batch, so the later model's is kept.
    a.epsilon_ = b.epsilon_
    a.var_ = var + a.epsilon_
    a.class_count_ = a.class_count_ + b.class_count_
    if a.priors is None:
        a.class_prior_ = a.class_count_ / a.class_count_.sum()


def _merge_counts(a: Any, b: Any) -> None:
    a.class_count_ = a.class_count_ + b.class_count_
    a.feature_count_ = a.feature_count_ + b.feature_count_
    if hasattr(a, "feature_all_"):
        a.feature_all_ = a.feature_count_.sum(axis=0)
    a._update_feature_log_prob(a._check_alpha())
    a._update_class_log_prior(class_prior=a.class_prior)


#: Estimators whose ``partial_fit`` only adds up, and how the second model is added to
#: the first. CategoricalNB is missing: it takes n_categories_ from its last batch.
MERGES: dict[type[Any], Callable[[Any, Any], None]] = {
    BernoulliNB: _merge_counts,
    ComplementNB: _merge_counts,
    GaussianNB: _merge_gaussian_nb,
    MaxAbsScaler: _merge_max_abs_scaler,
    MinMaxScaler: _merge_min_max_scaler,
    MultinomialNB: _merge_counts,
    StandardScaler: _merge_standard_scaler,
}


def is_additive(model: Any) -> bool:
    """Tell whether models of this very class can be merged."""
    return type(model) in MERGES


def _merged(a: Training, b: Training) -> Training:
    """Merge two trainings into a new one; both stay as they are."""
    model = copy.deepcopy(a.model)
    MERGES[type(model)](model, b.model)
    return replace(
        a,
        model=model,
        n_partitions_seen=a.n_partitions_seen + b.n_partitions_seen,
        n_samples_seen=a.n_samples_seen + b.n_samples_seen,
        first_rows=b.first_rows if a.first_rows is None else a.first_rows,
        last=b.last,
    )


@dataclass(frozen=True)
class _TrainOne:
    """Trains a model on one partition, where it was loaded."""

    prepare: Prepare
    blank: Training

    def __call__(self, loaded: Any, turn: Turn) -> Training:
        block: Block = self.prepare(loaded, turn)
        training = copy.deepcopy(self.blank)
        training.step(turn, Loaded(block, 0.0))
        return training


class MergedSteps:
    """The steps of a plan in parallel, merged in the order of the partitions.

    Parameters
    ----------
    training : Training
        Where to begin; it may have steps behind it.
    blank : Training
        The same without any step.
    partitions : Partitions
        The lowered table.
    plan : Plan
        Order and epochs.
    pack : callable
        Makes a block of what a load gives.
    """

    def __init__(
        self,
        training: Training,
        blank: Training,
        partitions: Partitions | StreamedPartitions,
        plan: Plan | OpenPlan,
        pack: Callable[[Any], Block],
    ) -> None:
        self._start = training
        prepare = Prepare(pack, plan.seed, training.known_classes)
        self._task = _TrainOne(prepare, blank)
        self._partitions = partitions
        self._plan = plan
        # A binary counter: entry k stands for 2**k partitions, so that the tree is
        # balanced and only a logarithm of the models is held.
        self._levels: list[Training | None] = []
        if training.n_partitions_seen:
            self._add(training)

    def state(self) -> Training:
        """Merge what has been trained so far."""
        held = [level for level in reversed(self._levels) if level is not None]
        return reduce(_merged, held) if held else self._start

    def steps(self, _: str, done: int = 0) -> Generator[Step]:
        """Train in parallel, and yield each step in the order of the partitions."""
        stream = self._partitions.stream(self._plan.turns(done), self._task)
        with closing(stream):
            for _turn, loaded in stream:
                training: Training = loaded.value
                assert training.last is not None
                if training.n_partitions_seen:
                    self._add(training)
                training_seconds = training.last.seconds_training
                loading = max(0.0, loaded.seconds - training_seconds)
                yield replace(training.last, seconds_loading=loading)

    def _add(self, training: Training) -> None:
        """Count one more: equal levels merge, the earlier before the later."""
        for level, held in enumerate(self._levels):
            if held is None:
                self._levels[level] = training
                return
            self._levels[level] = None
            training = _merged(held, training)
        self._levels.append(training)
