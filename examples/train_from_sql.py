"""Train on the result of a SQL join, score months that the model has not seen.

python examples/train_from_sql.py
"""

from __future__ import annotations

import duckdb
from sklearn.linear_model import SGDClassifier

import dfml
from dfml.iid.ensemble import HistGradientBoostingClassifier

# Any DuckDB connection will do: a file, memory, or Parquet files on disk.
con = duckdb.connect()
con.execute("""
    CREATE TABLE weather AS
    SELECT day, hash(day) % 30 AS wind FROM range(365) t(day)
""")
con.execute("""
    CREATE TABLE flights AS
    SELECT i AS id, i % 365 AS day, 100 + hash(i) % 2000 AS distance,
        hash(-i) % 40 < 2 + wind / 2 + distance / 200 AS late
    FROM range(300_000) t(i) JOIN weather ON day = i % 365
""")

QUERY = """
    SELECT distance / 1000 AS distance, wind / 10 AS wind, late
    FROM flights JOIN weather USING (day)
    WHERE day BETWEEN $first AND $last
    ORDER BY hash(id)
"""

# The query runs once, now. The rows go to a file, and the frame reads them from there.
train = dfml.read_sql(
    QUERY, con, params={"first": 0, "last": 299}, rows_per_partition=25_000
)
test = dfml.read_sql(QUERY, con, params={"first": 300, "last": 364})
print(f"{len(train):,} rows to train on, in {train.npartitions} partitions")

# partial_fit over the partitions, one in memory at a time and two more loading.
sgd = SGDClassifier(loss="log_loss", average=True, random_state=0)
model = dfml.Incremental(sgd, epochs=2, shuffle=True, random_state=0, scoring="roc_auc")
model.fit(train, y="late")

# What is inside is a plain scikit-learn model.
print(f"coefficients of {model.feature_names_in_}: {model.coef_[0].round(3)}")
print(f"ROC AUC on {len(test):,} later rows: {model.score(test):.3f}")

# Any other estimator of scikit-learn fits on the first partition, and predicts on all.
trees = HistGradientBoostingClassifier(random_state=0).fit(train, y="late")
print(f"accuracy of trees from one partition: {trees.score(test):.3f}")
