"""Each lazy check fails for an estimator that breaks what it checks."""

from __future__ import annotations

import copy
import threading
import uuid

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.preprocessing import StandardScaler

from dfml import IID, Incremental
from dfml._frames import is_array, is_lazy, is_relation
from dfml.exceptions import EmptyTableError, InputTypeError
from dfml.testing import (
    LAZY_CHECKS,
    check_lazy_estimator,
    example_table,
    iter_lazy_checks,
    parametrize_lazy_checks,
)

LOGISTIC = LogisticRegression()
SGD = SGDClassifier(random_state=0)


def mapped(answer, function, **options):
    """Apply a function to each partition of an answer that claims nothing changed."""
    return answer.map_partitions(
        function, meta=answer._meta, enforce_metadata=False, **options
    )


class Lazily(IID):
    """Answers in memory as it should, and spoils what is lazy."""

    def predict(self, X, *, meta=None, **params):
        if not is_lazy(X):
            return super().predict(X)
        return self.spoil(X, super().predict)

    def spoil(self, X, predict):
        raise NotImplementedError


class Computes(Lazily):
    def spoil(self, X, predict):
        X.partitions[0].compute()
        return predict(X)


class Reverses(Lazily):
    def spoil(self, X, predict):
        return mapped(
            predict(X), lambda part: pd.Series(part.to_numpy()[::-1], part.index)
        )


class DropsTheIndex(Lazily):
    def spoil(self, X, predict):
        return predict(X).reset_index(drop=True)


class OtherDtype(Lazily):
    def spoil(self, X, predict):
        return mapped(predict(X), lambda part: part.astype("category"))


class SpoilsFirstRows(Lazily):
    def spoil(self, X, predict):
        return mapped(predict(X), self.first)

    @staticmethod
    def first(part):
        part = part.copy()
        part.iloc[:1] = "yes"
        return part


class RefusesEmpty(Lazily):
    def spoil(self, X, predict):
        return mapped(predict(X), self.check)

    @staticmethod
    def check(part):
        if not len(part):
            raise ValueError("no rows")
        return part


class ByPosition(Lazily):
    def spoil(self, X, predict):
        names = list(self.feature_names_in_)
        chosen = X[list(X.columns)[: len(names)]]
        return predict(chosen.rename(columns=dict(zip(chosen, names, strict=True))))


class FillsColumns(Lazily):
    def spoil(self, X, predict):
        absent = [name for name in self.feature_names_in_ if name not in X.columns]
        return predict(X.assign(**dict.fromkeys(absent, 0.0)))


class AlignsByLabel(Lazily):
    def spoil(self, X, predict):
        answer = predict(X).repartition(npartitions=1)
        return mapped(answer, lambda part: part[~part.index.duplicated()])


class NumbersTheIndex(Lazily):
    def spoil(self, X, predict):
        return mapped(predict(X), lambda part: part.set_axis(part.index.astype(int)))


class WantsDivisions(Lazily):
    def spoil(self, X, predict):
        if not X.known_divisions:
            raise ValueError("divisions are not known")
        return predict(X)


class ForgetsConfiguration(Lazily):
    def spoil(self, X, predict):
        with config_context(assume_finite=False):
            return predict(X)


class ObeysTransformOutput(Lazily):
    def spoil(self, X, predict):
        answer = predict(X)
        pandas = get_config()["transform_output"] == "pandas"
        return answer.to_frame() if pandas else answer


class DependsOnTheThread(Lazily):
    def spoil(self, X, predict):
        return mapped(predict(X), self.count)

    @staticmethod
    def count(part):
        main = threading.current_thread() is threading.main_thread()
        return part if main else part.where(part == "yes", "yes")


class NewNames(Lazily):
    def spoil(self, X, predict):
        return mapped(predict(X), lambda part, _: part, _=uuid.uuid4().hex)


class ManyCopies(Lazily):
    def spoil(self, X, predict):
        answer = predict(X)
        parts = [
            dask.delayed(lambda part, model: part, pure=False)(
                part, dask.delayed(copy.deepcopy(self.estimator_), traverse=False)
            )
            for part in answer.to_delayed()
        ]
        return dd.from_delayed(parts, meta=answer._meta, verify_meta=False)


class DropsNotes(Lazily):
    def spoil(self, X, predict):
        names = list(self.feature_names_in_)
        return X.map_partitions(self.answer, self.estimator_, names, meta=predict(X))

    @staticmethod
    def answer(part, model, names):
        return pd.Series(model.predict(part[names]), part.index)


class ArraysToFrames(Lazily):
    def spoil(self, X, predict):
        answer = predict(X)
        return dd.from_dask_array(answer) if is_array(X) else answer


class NoRelations(Lazily):
    def spoil(self, X, predict):
        if is_relation(X):
            raise TypeError("no relations")
        return predict(X)


class HasTooMuch(IID):
    def score_samples(self, X):
        return self.decision_function(X)


class WritesIntoRows(Lazily):
    def spoil(self, X, predict):
        def write(part):
            part.iloc[:, 0] = 0.0
            return part

        return predict(X.map_partitions(write, meta=X._meta))


class DoesNotInvert(IID):
    def inverse_transform(self, X, *, meta=None, **params):
        return X if is_lazy(X) else super().inverse_transform(X)


class TrainsTwice(Incremental):
    def fit(self, X, y=None, **fit_params):
        super().fit(X, y, **fit_params)
        return self.partial_fit(X, y) if is_lazy(X) else self


class ReturnsAnother(Incremental):
    def fit(self, X, y=None, **fit_params):
        return copy.copy(super().fit(X, y, **fit_params))


class CountsPartitions(Incremental):
    def fit(self, X, y=None, **fit_params):
        super().fit(X, y, **fit_params)
        if getattr(X, "npartitions", 1) > 2:
            self.estimator_.coef_ = -self.estimator_.coef_
        return self


class FitsOnNothing(Incremental):
    def fit(self, X, y=None, **fit_params):
        try:
            return super().fit(X, y, **fit_params)
        except EmptyTableError:
            return self


class SpoilsColumns(Incremental):
    def fit(self, X, y=None, **fit_params):
        super().fit(X, y, **fit_params)
        if not isinstance(y, str):
            self.estimator_.coef_ = -self.estimator_.coef_
        return self


class IgnoresWeights(Incremental):
    def fit(self, X, y=None, *, sample_weight=None, **fit_params):
        if sample_weight is not None:
            X = X[[name for name in X.columns if name != "weight"]]
        return super().fit(X, y, **fit_params)


class FirstClasses(Incremental):
    def fit(self, X, y=None, **fit_params):
        return super().fit(X, y, classes=np.unique(X.partitions[0][y].compute()))


class StaysFitted(Incremental):
    def __sklearn_clone__(self):
        return copy.deepcopy(self)


class KeepsTheTable(Incremental):
    def fit(self, X, y=None, **fit_params):
        self.table_ = X
        return super().fit(X, y, **fit_params)


class Miscounts(Incremental):
    @property
    def n_features_in_(self):
        return self.estimator_.n_features_in_ + 1


class ForgetsFirst(Incremental):
    def fit(self, X, y=None, **fit_params):
        self.__dict__.pop("estimator_", None)
        return super().fit(X, y, **fit_params)


class GoesOn(Incremental):
    def fit(self, X, y=None, **fit_params):
        if "estimator_" in self.__dict__:
            return self.partial_fit(X, y, **fit_params)
        return super().fit(X, y, **fit_params)


class KnowsTheScheduler(Incremental):
    def fit(self, X, y=None, **fit_params):
        super().fit(X, y, **fit_params)
        if dask.config.get("scheduler", None) == "threads":
            self.estimator_.coef_ = -self.estimator_.coef_
        return self


class Flatters(Incremental):
    def score(self, X, y=None, sample_weight=None, **params):
        return super().score(X, y, sample_weight) + 0.1 * is_lazy(X)


BROKEN = {
    "check_answers_equal_in_memory": Reverses(LOGISTIC),
    "check_any_partitioning": SpoilsFirstRows(LOGISTIC),
    "check_assigned_to_the_frame": Reverses(LOGISTIC),
    "check_clone_is_not_fitted": StaysFitted(SGD),
    "check_column_order": ByPosition(LOGISTIC),
    "check_configuration": ForgetsConfiguration(LOGISTIC),
    "check_dask_array": ArraysToFrames(LOGISTIC),
    "check_duplicate_index": AlignsByLabel(LOGISTIC),
    "check_empty_partitions": RefusesEmpty(LOGISTIC),
    "check_error_names_the_partition": DropsNotes(LOGISTIC),
    "check_failed_fit_changes_nothing": ForgetsFirst(SGD),
    "check_feature_names": Miscounts(SGD),
    "check_fit_equals_the_loop": TrainsTwice(SGD),
    "check_fit_on_every_scheduler": KnowsTheScheduler(SGD),
    "check_fit_on_no_rows": FitsOnNothing(SGD),
    "check_fit_returns_self": ReturnsAnother(SGD),
    "check_fit_skips_empty_partitions": CountsPartitions(SGD),
    "check_fit_twice": GoesOn(SGD),
    "check_index_and_divisions": DropsTheIndex(LOGISTIC),
    "check_inverse_transform": DoesNotInvert(StandardScaler()),
    "check_meta_is_true": OtherDtype(LOGISTIC),
    "check_missing_column": FillsColumns(LOGISTIC),
    "check_model_is_in_the_graph_once": ManyCopies(
        RandomForestClassifier(40, random_state=0)
    ),
    "check_new_class_in_a_later_partition": FirstClasses(SGD),
    "check_nothing_is_computed": Computes(LOGISTIC),
    "check_pickle": KeepsTheTable(SGD),
    "check_relation": NoRelations(LOGISTIC),
    "check_rows_are_not_changed": WritesIntoRows(LOGISTIC),
    "check_same_names_for_the_same_call": NewNames(LOGISTIC),
    "check_sample_weight": IgnoresWeights(SGD),
    "check_schedulers_agree": DependsOnTheThread(LOGISTIC),
    "check_score": Flatters(SGD),
    "check_string_index": NumbersTheIndex(LOGISTIC),
    "check_target_by_name_or_column": SpoilsColumns(SGD),
    "check_transform_output": ObeysTransformOutput(LOGISTIC),
    "check_unknown_divisions": WantsDivisions(LOGISTIC),
    "check_wrapper_has_what_is_inside": HasTooMuch(LOGISTIC),
}


def run(name: str, estimator: object) -> None:
    kind = "duckdb" if name == "check_relation" else "dask"
    dict(iter_lazy_checks(estimator, kinds=[kind]))[f"{name}[{kind}]"]()


def test_there_are_many_checks_and_each_is_documented():
    assert len(LAZY_CHECKS) >= 15
    assert set(BROKEN) == set(LAZY_CHECKS)
    for name, check in LAZY_CHECKS.items():
        assert name.startswith("check_")
        assert check.__doc__.partition("\n")[0].endswith(".")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_estimator_fails(name):
    with pytest.raises((AssertionError, TypeError, ValueError)):
        run(name, BROKEN[name])


@pytest.mark.parametrize("name", BROKEN)
def test_the_sound_one_passes(name):
    broken = BROKEN[name]
    sound = (Incremental if isinstance(broken, Incremental) else IID)(broken.estimator)
    run(name, sound)


def test_the_first_failure_is_raised_with_its_name():
    with pytest.raises(AssertionError) as caught:
        check_lazy_estimator(Reverses(LOGISTIC), kinds=["dask"])
    assert "check_answers_equal_in_memory[dask]" in " ".join(caught.value.__notes__)


def test_or_all_are_listed():
    results = check_lazy_estimator(
        Reverses(LOGISTIC), kinds=["dask"], on_fail=None, table=example_table(LOGISTIC)
    )
    status = {result["check_name"]: result["status"] for result in results}
    assert len(status) == len(LAZY_CHECKS)
    assert status["check_answers_equal_in_memory[dask]"] == "failed"
    assert status["check_nothing_is_computed[dask]"] == "passed"
    assert status["check_relation[dask]"] == "skipped"


def test_unknown_kinds():
    with pytest.raises(InputTypeError, match="polars"):
        check_lazy_estimator(IID(LOGISTIC), kinds=["polars"])


@parametrize_lazy_checks([IID(StandardScaler())], kinds=["dask"], trains="first")
def test_as_parameters(check):
    try:
        check()
    except Exception as err:
        if type(err).__name__ != "SkipTest":
            raise


class Shift(TransformerMixin, BaseEstimator):
    """An estimator of somebody else: nothing of dfml, frames only."""

    def fit(self, X, y=None):
        for part in X.partitions if hasattr(X, "partitions") else [X]:
            rows = part.compute() if part is not X else part
            if len(rows):
                self.names_, self.mean_ = list(rows.columns), rows.mean()
                return self
        raise ValueError("no rows")

    def transform(self, X):
        missing = set(self.names_) - set(X.columns)
        if missing:
            raise ValueError(f"missing: {missing}")
        if not is_lazy(X):
            return self._shift(X)
        return X.map_partitions(noted, self.names_, self.mean_)

    def _shift(self, X):
        return X[self.names_] - self.mean_


def noted(part, names, mean, partition_info=None):
    try:
        return part[names] - mean
    except TypeError as err:
        err.add_note(f"in partition {partition_info['number']}")
        raise


def test_an_estimator_of_somebody_else():
    results = check_lazy_estimator(Shift(), kinds=["dask"], on_fail=None)
    failed = [r for r in results if r["status"] == "failed"]
    assert [r["check_name"] for r in failed] == ["check_dask_array[dask]"], failed
    assert sum(r["status"] == "passed" for r in results) >= 15
