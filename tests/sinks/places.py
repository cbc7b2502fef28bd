"""Every kind of table that can be written to: how to name it, and how to read it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from dfml.sinks._targets import open_target

SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.string()), ("x", pa.float64())])
DAYS = ["mon", None, "tue", "a/b"]


def make_part(*ids, scale=1.0):
    """Make the rows of a part from their identifiers."""
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "day": pa.array([DAYS[i % 4] for i in ids], pa.string()),
            "x": pa.array([i * scale for i in ids], pa.float64()),
        },
        schema=SCHEMA,
    )


def write_job(place, job, parts, *, schema=SCHEMA, resume=True):
    """Do what `run_job` does, without a model: give the report of the job."""
    with place.locked(job):
        place.recover()
        stored = place.committed(job) if resume else None
        if stored is not None:
            return stored
        place.check_free()
        staged = place.stage(job, {}, schema, resume=resume)
        done = staged.records()
        for number, rows in enumerate(parts):
            if number not in done:
                done[number] = staged.finish_part(staged.write_rows(number, [rows]))
        written = staged.check_complete(done.values())
        report = {"job": job, "rows": sum(each.n_rows for each in done.values())}
        place.commit(staged, written, report)
        return report


def in_order(table):
    """Sort rows, so that tables can be compared; text is plain text."""
    columns = {name: table[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names}
    return pa.table(columns).sort_by([("id", "ascending"), ("x", "ascending")])


class Place:
    """A table in a folder; anybody who knows kind and folder finds the same one."""

    modes = ("error", "overwrite", "append", "overwrite_partitions")
    by_day = False

    def __init__(self, folder):
        self.folder = Path(folder)

    def close(self):
        """Let go of catalogs and databases."""

    def options(self):
        """What `predict_table` is called with."""
        raise NotImplementedError

    def table(self):
        """All rows as they are in the table, or None if there is none."""
        raise NotImplementedError

    def read(self):
        found = self.table()
        return None if found is None else in_order(found)

    def target(self, mode="error", files=None):
        by = {"partition_by": ["day"]} if self.by_day else {}
        options = {**self.options(), **by}
        target = options.pop("target")
        return open_target("write", target, mode=mode, files=files, **options)

    def leftovers(self):
        """What is there that belongs to no table: staging, locks, stray files."""
        homes = [path for path in self.folder.rglob(".*dfml") if path.is_dir()]
        return [str(path.relative_to(self.folder)) for path in homes]


class ParquetPlace(Place):
    modes = ("error", "overwrite")

    def options(self):
        return {"target": self.folder / "out"}

    def table(self):
        path = self.folder / "out"
        if not path.exists():
            return None
        assert all(p.suffix == ".parquet" for p in path.rglob("*") if p.is_file())
        days = pa.schema([("day", pa.string())])
        has_keys = any(each.is_dir() for each in path.iterdir())
        keys = ds.partitioning(days, flavor="hive") if has_keys else None
        return ds.dataset(path, format="parquet", partitioning=keys).to_table()

    def leftovers(self):
        home = self.folder / ".out.dfml"
        return [p.name for p in home.iterdir() if p.name not in ("lock", "report.json")]


class ParquetByDay(ParquetPlace):
    by_day = True


class DeltaPlace(Place):
    def options(self):
        return {"target": self.folder / "delta", "format": "delta"}

    def opened(self):
        from deltalake import DeltaTable

        return DeltaTable(self.folder / "delta")

    def table(self):
        from deltalake import DeltaTable

        if not DeltaTable.is_deltatable(str(self.folder / "delta")):
            return None
        return pa.table(self.opened().scan())

    def leftovers(self):
        root = self.folder / "delta"
        named = {Path(path).name for path in self.opened().file_uris()}
        for commit in sorted((root / "_delta_log").glob("*.json")):
            text = commit.read_text()
            named |= {p.name for p in root.glob("*.parquet") if p.name in text}
        stray = {path.name for path in root.rglob("part-*.parquet")} - named
        return [*super().leftovers(), *sorted(stray)]


class DeltaByDay(DeltaPlace):
    by_day = True


class IcebergPlace(Place):
    def __init__(self, folder):
        super().__init__(folder)
        from tests.iceberg_table import make_catalog

        self.catalog = make_catalog(self.folder, f"{self.folder}/warehouse")
        self.catalog.create_namespace_if_not_exists("ns")

    def options(self):
        return {"target": self.catalog, "table": "ns.scored"}

    def opened(self):
        return self.catalog.load_table("ns.scored")

    def table(self):
        if not self.catalog.table_exists("ns.scored"):
            return None
        return self.opened().scan().to_arrow()

    def leftovers(self):
        names = set()
        with contextlib.suppress(pa.ArrowInvalid):  # there never was a file
            named = self.opened().inspect.all_files()["file_path"].to_pylist()
            names = {Path(path).name for path in named}
        found = {path.name for path in self.folder.rglob("part-*.parquet")}
        return [*super().leftovers(), *sorted(found - names)]


class IcebergByDay(IcebergPlace):
    by_day = True


class DuckDBFile(Place):
    modes = ("error", "overwrite", "append")

    def options(self):
        file = self.folder / "warehouse.duckdb"
        return {"target": file, "format": "duckdb", "table": "scored"}

    def table(self):
        if not (self.folder / "warehouse.duckdb").exists():
            return None
        with duckdb.connect(self.folder / "warehouse.duckdb") as connection:
            return self.rows_of(connection)

    def rows_of(self, connection):
        names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        if ("scored",) not in names:
            return None
        return connection.sql("FROM scored").to_arrow_table()


class DuckDBInMemory(DuckDBFile):
    def __init__(self, folder):
        super().__init__(folder)
        self.connection = duckdb.connect()

    def close(self):
        self.connection.close()

    def options(self):
        return {"target": self.connection, "table": "scored"}

    def table(self):
        return self.rows_of(self.connection)


@contextlib.contextmanager
def opened(kind, folder):
    """Open the table of a kind in a folder."""
    place = PLACES[kind](folder)
    try:
        yield place
    finally:
        place.close()


PLACES = {
    "parquet": ParquetPlace,
    "parquet by day": ParquetByDay,
    "delta": DeltaPlace,
    "delta by day": DeltaByDay,
    "iceberg": IcebergPlace,
    "iceberg by day": IcebergByDay,
    "duckdb file": DuckDBFile,
    "duckdb in memory": DuckDBInMemory,
}
