"""The invented world of the demo, made by DuckDB: parcels, depots and weather.

Every number is a hash of the row and the seed, so the same seed gives the same lake
on any number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

__all__ = ["make_lake", "write_lake"]

# Uniform numbers in (0, 1) and normal ones, drawn for a row and a purpose.
RANDOM_NUMBERS = """
CREATE TEMP MACRO uniform(row_id, purpose) AS
    (hash(row_id, purpose, getvariable('seed')) >> 11) / 9007199254740992.0 + 1e-16;
CREATE TEMP MACRO normal(row_id, purpose) AS
    sqrt(-2 * ln(uniform(row_id, purpose)))
        * cos(2 * pi() * uniform(row_id, purpose || ' angle'));
"""

DEPOTS = """
CREATE TABLE depots AS
SELECT unnest([
    'Aldermoor', 'Brackwell', 'Coldharbour', 'Dunmere', 'Eastvale', 'Fenwick Cross',
    'Glasswater', 'Harrowgate', 'Ivybridge', 'Jessop Mill', 'Kingsferry', 'Larkhill',
    'Marlow Docks', 'Northam', 'Oakhaven', 'Penrose', 'Quarry Bank', 'Redcliff',
    'Stonebeck', 'Thornbury', 'Upper Lyde', 'Vale End', 'Westering', 'Yarrow Bay'
]) AS depot, unnest(range(24)) AS depot_id
"""

# One row a depot and day. The wind gauge is out of order now and then.
WEATHER = """
CREATE TABLE weather AS
WITH days AS (
    SELECT depot, shipped_on::DATE AS shipped_on, depot || shipped_on AS row_id,
        10 - 11 * cos(2 * pi() * (dayofyear(shipped_on) - 20) / 365)
            + 3.5 * normal(row_id, 'temperature') AS celsius,
        greatest(0, 5 * normal(row_id, 'rain')) AS wet
    FROM depots,
        range(DATE '2025-01-01', DATE '2026-01-01', INTERVAL 1 DAY) t(shipped_on)
)
SELECT depot, shipped_on, round(celsius, 1) AS temperature,
    round(if(celsius >= 1, wet, 0), 1) AS rain_mm,
    round(if(celsius < 1, wet, 0), 1) AS snow_cm,
    if(uniform(row_id, 'gauge') < 0.02, NULL,
       round(exp(2.6 + 0.5 * normal(row_id, 'wind')), 0)) AS wind_kmh
FROM days
"""

# What no table tells, such as traffic, is the noise that is added to the delay.
PARCELS = """
CREATE TEMP VIEW invented AS
    WITH shipped AS (
        SELECT i AS parcel_id,
            DATE '2025-01-01' + floor(365 * uniform(i, 'day') ** 0.9)::INT
                AS shipped_on,
            floor(24 * uniform(i, 'depot') ** 1.4)::INT AS depot_id,
            CASE WHEN uniform(i, 'service') < 0.20 THEN 'economy'
                 WHEN uniform(i, 'service') < 0.72 THEN 'standard'
                 ELSE 'express' END AS service,
            least(1500, round(exp(4.9 + 0.8 * normal(i, 'distance')), 1))
                AS distance_km,
            if(uniform(i, 'scales') < 0.03, NULL,
               round(exp(0.9 + 0.9 * normal(i, 'weight')), 2)) AS weight_kg,
            uniform(i, 'fragile') < 0.12 AS fragile,
            CASE WHEN uniform(i, 'note') < 0.06 THEN 'leave with a neighbour'
                 WHEN uniform(i, 'note') < 0.10 THEN 'ring twice' END AS note
        FROM range(getvariable('n_rows')) t(i)
    ), delayed AS (
        SELECT *,
            shipped_on + CASE service WHEN 'express' THEN 1 WHEN 'standard' THEN 3
                         ELSE 6 END AS promised_on,
            0.45 * ln(distance_km / 130) + 0.08 * ln(coalesce(weight_kg, 2.5))
                + 0.10 * rain_mm + 0.28 * snow_cm
                + 0.02 * (coalesce(wind_kmh, 13) - 13)
                + 0.9 * (service = 'express')::INT - 1.1 * (service = 'economy')::INT
                + 0.25 * fragile::INT + 0.8 * (isodow(shipped_on) >= 5)::INT - 2.35
                + ln(1 / uniform(parcel_id, 'traffic') - 1) AS delay
        FROM shipped JOIN depots USING (depot_id) JOIN weather USING (depot, shipped_on)
    )
    SELECT parcel_id, shipped_on, depot, service, distance_km, weight_kg, fragile, note,
        promised_on,
        CASE WHEN uniform(parcel_id, 'lost') < 0.003 THEN NULL
             WHEN delay > 0 THEN promised_on + 1 + floor(delay)::INT
             ELSE promised_on - (delay < -3)::INT END AS delivered_on,
        strftime(shipped_on, '%Y-%m') AS month
    FROM delayed
"""


def make_lake(
    con: duckdb.DuckDBPyConnection, lake: Path, *, rows: int, seed: int
) -> None:
    """Write a year of parcels as Parquet, a folder a month, and the tables beside it.

    Parameters
    ----------
    con : DuckDBPyConnection
        Gets the tables ``depots`` and ``weather`` and the view ``parcels``.
    lake : Path
        A new directory for the Parquet files.
    rows : int
        Number of parcels.
    seed : int
        The same seed and rows give the same parcels.
    """
    con.execute("SET VARIABLE seed = $seed", {"seed": seed})
    con.execute("SET VARIABLE n_rows = $rows", {"rows": rows})
    for statement in (RANDOM_NUMBERS, DEPOTS, WEATHER, PARCELS):
        con.execute(statement)
    write_lake(con, "invented", lake)
    con.execute(
        f"CREATE VIEW parcels AS FROM read_parquet({sql_text(lake)} || '/*/*.parquet')"
    )


def write_lake(con: duckdb.DuckDBPyConnection, table: str, folder: Path) -> None:
    """Write a table or view with a column ``month`` as Parquet, a folder a month.

    Parameters
    ----------
    con : DuckDBPyConnection
        Where the table is.
    table : str
        Its name.
    folder : Path
        A new directory.
    """
    options = "(FORMAT parquet, PARTITION_BY (month))"
    con.execute(f"COPY {table} TO {sql_text(folder)} {options}")


def sql_text(path: Path) -> str:
    """Quote a path for a statement that takes no parameters."""
    return "'" + str(path).replace("'", "''") + "'"
