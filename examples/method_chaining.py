"""Models as methods of a dask DataFrame: filter, predict and aggregate in one chain.

python examples/method_chaining.py
"""

from __future__ import annotations

from sklearn.linear_model import SGDClassifier

import dfml

# Twelve partitions, each made when it is asked for.
X, y = dfml.datasets.make_classification(
    n_samples=300_000, n_features=6, n_informative=4, random_state=1, npartitions=12
)
rows = X.assign(label=y)
train, test = rows.random_split([0.8, 0.2], random_state=0)

sgd = SGDClassifier(loss="log_loss", average=True, random_state=0)
model = dfml.Incremental(sgd).fit(train, y="label")
print(f"accuracy on the rows left out: {test.ml.score(model):.3f}\n")

# Nothing is computed here. The answers are columns, in the partitions of the input.
scored = test.query("x0 > 0").ml.predict(model).ml.predict_proba(model)
print("columns:", *scored.columns)
print("partitions:", scored.npartitions, "\n")

# One pass over the data, one partition in memory for each thread.
summary = (
    scored.assign(
        right=lambda d: d["prediction"] == d["label"],
        sure=lambda d: d[["probability_0", "probability_1"]].max(axis=1).round(1),
    )
    .groupby("sure")
    .agg({"right": "mean", "label": "count"})
    .rename(columns={"label": "rows"})
    .compute()
)
print(summary.sort_index().round(3))

# A prediction is a Series with the index of its frame, so it assigns back.
errors = test.assign(guess=model.predict(test)).query("guess != label")
print(f"\n{len(errors):,} rows to look at, such as:")
print(errors.head(3, npartitions=-1).round(2))
