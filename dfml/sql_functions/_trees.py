"""Trees, forests and boosted trees as SQL: nested CASEs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfml.exceptions import EstimatorTypeError
from dfml.sql_functions._linear import label_of, logistic, softmax, unlinked
from dfml.sql_functions._text import (
    argmax,
    label_literal,
    number,
    sum_in_order,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dfml.sql_functions._text import Query

__all__ = ["MAX_NODES", "TREES", "Tree", "trees_of"]

#: More nodes than this take DuckDB seconds to plan, and minutes for what
#: scikit-learn does in seconds.
MAX_NODES = 10_000
MAX_DEPTH = 100


@dataclass(frozen=True)
class Tree:
    """One binary tree, wherever it comes from; node 0 is the root.

    Parameters
    ----------
    left, right : array of int
        The children of each node; none is below zero.
    feature : array of int
        The column that is compared.
    threshold : array of float
        Goes left up to here.
    missing_left : array of bool
        Whether a missing value goes left.
    values : array of shape (n_nodes, n_outputs)
        What leaves answer.
    is_single : bool
        Whether columns are rounded to float32 before they are compared.
    """

    left: Any
    right: Any
    feature: Any
    threshold: Any
    missing_left: Any
    values: Any
    is_single: bool

    def leaves(self) -> list[int]:
        """List the nodes without children."""
        return [node for node, child in enumerate(self.left) if child < 0]

    def case(self, columns: Sequence[str], answers: dict[int, str]) -> str:
        """Write the CASE that finds a leaf, and answers for it."""
        return self._below(0, columns, answers, 0)

    def _below(
        self, node: int, columns: Sequence[str], answers: dict[int, str], depth: int
    ) -> str:
        if self.left[node] < 0:
            return answers[node]
        if depth >= MAX_DEPTH:
            raise _refusal(f"trees of at most {MAX_DEPTH} levels", "a deeper one")
        left, right = (
            self._below(int(child[node]), columns, answers, depth + 1)
            for child in (self.left, self.right)
        )
        return (
            f"CASE WHEN {self._goes_left(node, columns)} THEN {left} ELSE {right} END"
        )

    def _goes_left(self, node: int, columns: Sequence[str]) -> str:
        """Write the condition; missing values are NULL here."""
        column = columns[self.feature[node]]
        limit = float(self.threshold[node])
        sign, limit = _in_double(limit) if self.is_single else ("<=", limit)
        condition = f"{column} {sign} {number(limit)}"
        if self.missing_left[node]:
            return f"({condition} OR {column} IS NULL)"
        return condition


def _in_double(limit: float) -> tuple[str, float]:
    """Find the doubles that are not above a limit once they are rounded to float32.

    They end half way between the last float32 that is not above it and the next one.
    Half way itself is rounded to the one of the two whose last bit is zero.
    """
    last = np.float32(limit)
    if float(last) > limit:
        last = np.nextafter(last, np.float32(-np.inf))
    following = np.nextafter(last, np.float32(np.inf))
    if np.isinf(last) or np.isinf(following):
        return "<=", float(last)
    is_even = int(last.view(np.uint32)) % 2 == 0
    return ("<=" if is_even else "<"), (float(last) + float(following)) / 2


def trees_of(model: Any) -> list[list[Tree]]:
    """Read the trees of a model: one list a stage, with one tree or one a class."""
    name = type(model).__name__
    if name.startswith("HistGradientBoosting"):
        if model.is_categorical_ is not None:
            raise _refusal("trees that compare numbers", "categorical features")
        return [
            [_histogram_tree(each) for each in stage] for stage in model._predictors
        ]
    if name.startswith("GradientBoosting"):
        rate = model.learning_rate
        return [[_tree(each, rate) for each in stage] for stage in model.estimators_]
    if hasattr(model, "estimators_"):
        return [[_tree(each)] for each in model.estimators_]
    return [[_tree(model)]]


def _tree(estimator: Any, rate: float = 1.0) -> Tree:
    tree = estimator.tree_
    if tree.n_outputs != 1:
        raise _refusal("trees with one output", f"{tree.n_outputs} outputs")
    return Tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=tree.feature,
        threshold=tree.threshold,
        missing_left=tree.missing_go_to_left,
        values=tree.value[:, 0, :] * rate,
        is_single=True,
    )


def _histogram_tree(predictor: Any) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=nodes["value"][:, None],
        is_single=False,
    )


def _checked(stages: list[list[Tree]]) -> list[list[Tree]]:
    n_nodes = sum(len(tree.left) for stage in stages for tree in stage)
    if n_nodes > MAX_NODES:
        raise _refusal(
            f"at most {MAX_NODES:,} nodes in all trees", f"{n_nodes:,} of them"
        )
    return stages


def _refusal(expected: str, got: str) -> EstimatorTypeError:
    return EstimatorTypeError.expecting(
        "export_sql", expected, got, "use register or predict_sql, which take any model"
    )


# What one tree, or the sum of several, answers


def _values(trees: Iterable[Tree], columns: Sequence[str], query: Query) -> list[str]:
    """Add one column a tree, with the only value of its leaf."""
    return query.add(
        [
            tree.case(columns, {n: number(tree.values[n, 0]) for n in tree.leaves()})
            for tree in trees
        ]
    )


def _shares(
    trees: Sequence[Tree], columns: Sequence[str], query: Query
) -> list[list[str]]:
    """Add one column a tree and class.

    The leaf is found once and its values are looked up: that is twice as fast as one
    CASE a class.
    """
    leaves = query.add(
        [
            tree.case(columns, {n: str(i + 1) for i, n in enumerate(tree.leaves())})
            for tree in trees
        ]
    )
    return [
        [
            f"list_extract([{', '.join(map(number, column))}], {leaf})"
            for column in tree.values[tree.leaves()].T
        ]
        for tree, leaf in zip(trees, leaves, strict=True)
    ]


def _one_tree(
    model: Any, method: str, columns: Sequence[str], query: Query
) -> list[str] | None:
    ((tree,),) = _checked(trees_of(model))
    if method == "predict" and hasattr(model, "classes_"):
        labels = [label_literal(each) for each in model.classes_]
        best = {n: labels[int(np.argmax(tree.values[n]))] for n in tree.leaves()}
        return [tree.case(columns, best)]
    if method == "predict":
        return _values([tree], columns, query)
    (shares,) = _shares([tree], columns, query)
    return _probabilities(method, shares)


def _forest(
    model: Any, method: str, columns: Sequence[str], query: Query
) -> list[str] | None:
    trees = [tree for (tree,) in _checked(trees_of(model))]
    if not hasattr(model, "classes_"):
        total = sum_in_order(query, _values(trees, columns, query))
        return [f"{total} / {number(len(trees))}"] if method == "predict" else None
    of_classes = zip(*_shares(trees, columns, query), strict=True)
    means = query.add(
        [
            f"{sum_in_order(query, shares)} / {number(len(trees))}"
            for shares in of_classes
        ]
    )
    if method == "predict":
        return [argmax(query, means, [label_literal(each) for each in model.classes_])]
    return _probabilities(method, means)


def _probabilities(method: str, shares: Sequence[str]) -> list[str] | None:
    if method == "predict_proba":
        return list(shares)
    if method == "predict_log_proba":
        return [f"ln({each})" for each in shares]
    return None


def _boosted(
    model: Any, method: str, columns: Sequence[str], query: Query
) -> list[str] | None:
    stages = _checked(trees_of(model))
    of_scores = zip(*stages, strict=True)
    scores = [
        sum_in_order(query, [number(start), *_values(trees, columns, query)])
        for start, trees in zip(_start(model), of_scores, strict=True)
    ]
    if not hasattr(model, "classes_"):
        return unlinked(scores, model._loss.link) if method == "predict" else None
    if method == "decision_function":
        return scores
    if method == "predict":
        is_histogram = type(model).__name__.startswith("Hist")
        positive = "> 0" if is_histogram else ">= 0"
        return [label_of(model, scores, query, positive)]
    if model.loss != "log_loss":
        raise _refusal("probabilities of loss='log_loss'", f"loss={model.loss!r}")
    link: Callable[[Sequence[str], Query], list[str]]
    link = logistic if len(scores) == 1 else softmax
    return _probabilities(method, link(scores, query))


def _start(model: Any) -> list[float]:
    """Return what the sums of boosted trees begin with, the same for all rows."""
    if type(model).__name__.startswith("Hist"):
        start = model._baseline_prediction
        if start.dtype != np.float64:
            raise _refusal("scores in float64", str(start.dtype))
        return [float(each) for each in np.ravel(start)]
    init = model.init_
    if isinstance(init, str) or type(init).__name__.startswith("Dummy"):
        rows = np.zeros((1, model.n_features_in_), dtype=np.float32)
        return [float(each) for each in np.ravel(model._raw_predict_init(rows))]
    raise _refusal("boosting that begins with a constant", f"init={init!r}")


TREES = {
    **dict.fromkeys(
        [
            "DecisionTreeClassifier",
            "DecisionTreeRegressor",
            "ExtraTreeClassifier",
            "ExtraTreeRegressor",
        ],
        _one_tree,
    ),
    **dict.fromkeys(
        [
            "ExtraTreesClassifier",
            "ExtraTreesRegressor",
            "RandomForestClassifier",
            "RandomForestRegressor",
        ],
        _forest,
    ),
    **dict.fromkeys(
        [
            "GradientBoostingClassifier",
            "GradientBoostingRegressor",
            "HistGradientBoostingClassifier",
            "HistGradientBoostingRegressor",
        ],
        _boosted,
    ),
}
