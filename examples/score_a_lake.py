"""Train a model once, save it, and score a Parquet lake with it every night.

python examples/score_a_lake.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import dfml

temporary = tempfile.TemporaryDirectory()  # removed when the script ends
lake, scored = Path(temporary.name, "lake"), Path(temporary.name, "scored")

# A lake as others write it: a folder a month, text, and numbers that are missing.
duckdb.sql("""
    SELECT i AS id, 1 + i % 12 AS month,
        ['north', 'south', 'east'][1 + i // 12 % 3] AS region,
        if(hash(i) % 20 = 0, NULL, hash(i) % 100) AS usage,
        hash(-i) % 100 < 10 + hash(i) % 100 / 2 + 10 * (i // 12 % 3) AS churned
    FROM range(600_000) t(i)
""").write_parquet(str(lake), partition_by=["month"])

# A model of scikit-learn, fitted in memory on one month.
rows = pd.read_parquet(lake / "month=1")
encoder = make_column_transformer(
    (OrdinalEncoder(), ["region"]), ("passthrough", ["usage"])
)
model = make_pipeline(encoder, HistGradientBoostingClassifier(random_state=0))
model.fit(rows[["region", "usage"]], rows["churned"])

# A model file holds no pickle, and can be looked at before it is loaded.
path = dfml.save_model(model, Path(temporary.name, "churn.skops"))
card = dfml.inspect_model(path)
print(f"model file of {card.file_size:,} bytes, with features {card.feature_names}")

# The nightly job. Nothing is visible in scored/ until everything is. After a crash it
# goes on where it stopped; once it has succeeded, the same call does nothing.
for night in (1, 2):
    report = dfml.predict_table(
        dfml.load_model(path), lake, scored, method="predict_proba", keep=["id"]
    )
    print(f"night {night}: {report.predicted_rows:,} of {report.rows:,} rows predicted")

query = f"""
    SELECT round(probability_True, 1) AS predicted, avg(churned::INT) AS churned,
        count(*) AS customers
    FROM '{scored}/*.parquet' JOIN '{lake}/*/*.parquet' USING (id)
    GROUP BY predicted ORDER BY predicted
"""
print(duckdb.sql(query))
