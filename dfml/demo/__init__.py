"""The demo: an invented lake, a model trained from SQL, the lake scored.

``run_demo`` is written to be read as an example; the SQL of the features is above it.
How the lake is invented stands in ``_lake``, how the picture is drawn in ``_picture``,
and the clock and the folder are in ``_steps``. Nothing here prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.linear_model import SGDClassifier

import dfml
from dfml.demo._lake import make_lake, write_lake
from dfml.demo._picture import draw_picture
from dfml.demo._steps import OUTPUTS, Step, Steps, prepare_folder
from dfml.exceptions import MissingDependencyError
from dfml.models import save_model
from dfml.table import predict_table

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["OUTPUTS", "Step", "run_demo"]

# What is known of a parcel when it leaves the depot, in units that give small numbers.
FEATURES = """
CREATE VIEW features AS
SELECT parcel_id, month, delivered_on > promised_on AS late,
    ln(distance_km / 130) AS distance,
    ln(coalesce(weight_kg, 2.5)) AS weight,
    (service = 'express')::INT AS express,
    (service = 'economy')::INT AS economy,
    fragile::INT AS fragile,
    (isodow(shipped_on) >= 5)::INT AS before_sunday,
    rain_mm / 5 AS rain,
    snow_cm / 5 AS snow,
    coalesce(wind_kmh / 10, 1.3) AS wind
FROM parcels JOIN weather USING (depot, shipped_on)
"""

# A parcel that was lost has no label. Ordering by a hash mixes the months.
TRAINING = """
SELECT * EXCLUDE (parcel_id, month) FROM features
WHERE month < '2025-12' AND late IS NOT NULL
ORDER BY hash(parcel_id)
"""

HELD_BACK = """
SELECT * EXCLUDE (parcel_id, month) FROM features
WHERE month = '2025-12' AND late IS NOT NULL
"""

CURVES = """
SELECT late, probability_True AS probability FROM read_parquet($files)
WHERE month = '2025-12' AND late IS NOT NULL
"""

COUNTS = """
SELECT prediction, count(*), avg(late::INT) FROM read_parquet($files)
GROUP BY prediction ORDER BY prediction
"""


def run_demo(
    output: str | os.PathLike[str],
    *,
    rows: int = 2_000_000,
    seed: int = 0,
    report: Callable[[Step], None] | None = None,
) -> dict[str, Any]:
    """Make a lake, train from SQL, score the lake, and look at the result.

    Parameters
    ----------
    output : path
        A new folder, or one that an earlier demo has made, which is replaced.
    rows : int, default=2_000_000
        Parcels in the lake.
    seed : int, default=0
        The same seed and rows give the same metric.
    report : callable, optional
        Called with each :class:`Step` when it is done.

    Returns
    -------
    facts : dict
        All that was measured, as plain data.

    Raises
    ------
    TargetExistsError
        If the folder is there and no demo has made it.
    """
    import duckdb

    folder = prepare_folder(Path(output))
    lake, features, scored = (folder / n for n in ("lake", "features", "scored"))
    steps = Steps(report)
    with duckdb.connect(folder / "warehouse.duckdb") as con:
        with steps.take("make", rows) as step:
            make_lake(con, lake, rows=rows, seed=seed)
            con.execute(FEATURES)
            step.text = "parcels as Parquet, a folder a month"

        with steps.take("read") as step:
            frame = dfml.read_sql(TRAINING, con, rows_per_partition=100_000)
            step.rows = len(frame)
            step.text = f"rows of a SQL join, as {frame.npartitions} dask partitions"

        with steps.take("train") as step:
            sgd = SGDClassifier(loss="log_loss", average=True, random_state=seed)
            model = dfml.Incremental(sgd, scoring="roc_auc").fit(frame, y="late")
            save_model(model, folder / "late.skops")
            step.rows = model.n_samples_seen_
            step.text = "rows through SGDClassifier.partial_fit"

        with steps.take("test") as step:
            december = dfml.read_sql(HELD_BACK, con)
            auc, step.rows = model.score(december), len(december)
            step.text = "rows of December, which was held back"
            step.facts["roc_auc"] = auc

        with steps.take("write", rows) as step:
            write_lake(con, "features", features)
            step.text = "rows of the join to Parquet"

        with steps.take("score", rows) as step:
            keep = ["parcel_id", "month", "late"]
            methods = ["predict", "predict_proba"]
            predict_table(model, features, scored, method=methods, keep=keep)
            step.text = "parcels from Parquet to Parquet"

        with steps.take("look", rows) as step:
            files = {"files": f"{scored}/*.parquet"}
            held_back = con.execute(CURVES, files).fetchnumpy()
            step.text = draw_if_possible(held_back, folder / "picture.png")
            step.facts["counts"] = con.execute(COUNTS, files).fetchall()
    return steps.summary()


def draw_if_possible(held_back: dict[str, Any], path: Path) -> str:
    """Draw the picture, or say why not."""
    try:
        draw_picture(held_back, path)
    except MissingDependencyError:
        return 'no picture: pip install "dfml[plot]"'
    return "read back by DuckDB, and drawn"
