"""Try every scikit-learn estimator with ``partial_fit`` in ``Incremental``.

``python docs/partial_fit_table.py`` writes the table of ``partial-fit-estimators.md``
again. Each cell is found by doing it: on six partitions of invented rows the
estimator is trained lazily and by a plain loop, weighted, and asked for answers.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.utils import all_estimators
from threadpoolctl import threadpool_limits

import dfml

PAGE = Path(__file__).with_name("partial-fit-estimators.md")
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

N_PARTITIONS = 6
FEATURES = ["a", "b", "c", "d"]

SGD = SGDClassifier(loss="log_loss", random_state=0)

#: Estimators that need more than their defaults to train on such rows.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "BernoulliRBM": {"n_components": 2},
    "HashingVectorizer": {"n_features": 8},
    "IncrementalPCA": {"n_components": 2},
    "LatentDirichletAllocation": {"n_components": 2},
    "MLPClassifier": {"hidden_layer_sizes": (5,)},
    "MLPRegressor": {"hidden_layer_sizes": (5,)},
    "MiniBatchDictionaryLearning": {"n_components": 2},
    "MiniBatchKMeans": {"n_clusters": 2, "n_init": 1},
    "MiniBatchNMF": {"n_components": 2},
    "MultiOutputClassifier": {"estimator": SGD},
    "MultiOutputRegressor": {"estimator": SGDRegressor(random_state=0)},
    "OneVsOneClassifier": {"estimator": SGD},
    "OneVsRestClassifier": {"estimator": SGD},
    "SGDClassifier": {"loss": "log_loss"},
    "SelectFromModel": {"estimator": SGD},
}
TARGETS: dict[str, Any] = {
    "MLPRegressor": "amount",
    "MultiOutputClassifier": ["label", "other"],
    "MultiOutputRegressor": ["amount", "size"],
    "PassiveAggressiveRegressor": "amount",
    "SGDRegressor": "amount",
    "SelectFromModel": "label",
}
ANSWERS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "transform",
)


def make_rows() -> pd.DataFrame:
    """Small counts, which every estimator takes, and targets that follow them."""
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 4, size=(360, len(FEATURES))).astype(float)
    rows = pd.DataFrame(counts, columns=FEATURES)
    rows["amount"] = rows["a"] - rows["b"] + generator.normal(scale=0.1, size=360)
    rows["size"] = rows["c"] + rows["d"]
    rows["label"] = np.select([rows["a"] > 2, rows["a"] > 0], ["high", "mid"], "low")
    rows["other"] = np.where(rows["b"] > 1, "yes", "no")
    rows["text"] = rows["label"] + " and " + rows["other"]
    rows["weight"] = generator.uniform(0.5, 2, 360)
    return rows


def make_estimator(cls: type[Any]) -> Any:
    """Make an estimator whose random numbers are seeded."""
    arguments = dict(ARGUMENTS.get(cls.__name__, {}))
    if "random_state" in inspect.signature(cls).parameters:
        arguments["random_state"] = 0
    return cls(**arguments)


def target_of(cls: type[Any]) -> Any:
    """Name the target column or columns, None for what learns from X alone."""
    needs_y = inspect.signature(cls.partial_fit).parameters["y"].default
    default = "label" if needs_y is inspect.Parameter.empty else None
    return TARGETS.get(cls.__name__, default)


def features_of(cls: type[Any]) -> Any:
    """Name the features: columns, or the one column that a vectorizer reads."""
    return "text" if cls.__name__ == "HashingVectorizer" else FEATURES


def train(cls: type[Any], rows: pd.DataFrame, **options: Any) -> Any:
    """Train lazily, on the columns that this estimator needs."""
    target = target_of(cls)
    labels = [target] if isinstance(target, str) else list(target or [])
    frame = dd.from_pandas(rows, npartitions=N_PARTITIONS)
    features = features_of(cls)
    X = frame[features if isinstance(features, str) else [*features, *labels]]
    if options.pop("weighted", False):
        options["sample_weight"] = frame["weight"]
    wrapper = dfml.Incremental(make_estimator(cls), merge=False)
    return wrapper.fit(X, y=target, **options)


def train_by_loop(cls: type[Any], rows: pd.DataFrame) -> Any:
    """Train as a reader would without dfml."""
    target, model, options = target_of(cls), make_estimator(cls), {}
    if "classes" in inspect.signature(cls.partial_fit).parameters:
        several = isinstance(target, list)
        found = [np.unique(rows[name]) for name in (target if several else [target])]
        options["classes"] = found if several else found[0]
    if cls.__name__ == "SelectFromModel":
        options["classes"] = np.unique(rows["label"])
    frame = dd.from_pandas(rows, npartitions=N_PARTITIONS)
    for part in (frame.get_partition(i).compute() for i in range(N_PARTITIONS)):
        X = part[features_of(cls)]
        if isinstance(X, pd.DataFrame):
            X = pd.DataFrame(np.ascontiguousarray(X), columns=X.columns, copy=False)
        y = None if target is None else part[target].to_numpy()
        with threadpool_limits(1):  # some models keep how many threads they had
            model.partial_fit(X, y, **options)
    return model


def lazy_answers(model: Any, frame: Any) -> list[str]:
    """List the response methods that answer a lazy frame, and those that do not."""
    found = []
    for name in ANSWERS:
        if hasattr(model, name):
            try:
                getattr(model, name)(frame).compute()
            except dfml.exceptions.UnknownOutputError:
                found.append(f"`{name}` needs `meta=`")
            else:
                found.append(f"`{name}`")
    return found


def same_state(model: Any, plain: Any) -> bool:
    """Compare all that two models have learnt, bit by bit."""
    return joblib.hash(learnt(model.estimator_)) == joblib.hash(learnt(plain))


def learnt(model: Any) -> dict[str, Any]:
    """Take what a model has learnt, by scikit-learn's naming."""
    return {name: value for name, value in vars(model).items() if name[-1] == "_"}


def reason(err: Exception) -> str:
    """Shorten an error to a line that fits in a cell."""
    text = " ".join(str(err).split("\n\nHint:")[0].split())
    first = text.split(". ")[0].rstrip(".")
    return f"{type(err).__name__}: {first}".replace("|", "\\|")


def scored(model: Any, frame: dd.DataFrame) -> str:
    """Say whether ``score`` works on a lazy frame."""
    if not hasattr(model, "score"):
        return "-"
    try:
        model.score(frame)
    except (dfml.exceptions.EstimatorTypeError, ValueError):
        return "no"
    return "yes"


def try_estimator(cls: type[Any], rows: pd.DataFrame) -> list[str]:
    """Fill one row of the table."""
    needed: dict[str, Any] = {}
    try:
        model = train(cls, rows)
    except ValueError as err:
        if "classes must be passed" not in str(err):
            return ["no", "-", "-", "-", reason(err)]
        needed["classes"] = np.unique(rows["label"])
        model = train(cls, rows, **needed)
    except Exception as err:  # noqa: BLE001 - why it does not work is what is asked
        return ["no", "-", "-", "-", reason(err)]
    try:
        train(cls, rows, weighted=True, **needed)
        weighted = "yes"
    except (TypeError, ValueError):
        weighted = "no"
    frame = dd.from_pandas(rows, npartitions=N_PARTITIONS)
    features = features_of(cls)
    answers = lazy_answers(model, frame[features] if features == "text" else frame)
    return [
        "with `classes=`" if needed else "yes",
        "yes" if same_state(model, train_by_loop(cls, rows)) else "no",
        weighted,
        scored(model, frame),
        ", ".join(answers),
    ]


def make_table() -> str:
    """Make the table in Markdown, one row an estimator."""
    rows = make_rows()
    lines = [
        f"scikit-learn {sklearn.__version__.rsplit('.', 1)[0]}",
        "",
        "| estimator | trains | equals the loop | weights | lazy `score` | "
        "lazy answers, or why not |",
        "|---|---|---|---|---|---|",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, cls in all_estimators():
            if hasattr(cls, "partial_fit"):
                cells = " | ".join(try_estimator(cls, rows))
                lines.append(f"| `{name}` | {cells} |")
    return "\n".join(lines) + "\n"


def read_table() -> str:
    """Take the table out of the page."""
    page = PAGE.read_text(encoding="utf-8")
    return page.split(BEGIN)[1].split(END)[0]


def main() -> None:
    """Write the table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}{make_table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
