"""Partitions that are plain reads of Parquet files, read as blocks: the same bits."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import SGDClassifier

import dfml
from dfml import _frames
from dfml._partitions import Partitions, Turn
from dfml.arrays import _parquet_blocks
from dfml.arrays._blocks import Block
from dfml.arrays._parquet_blocks import BlockReads

# dask's own, at each read of a file that pandas has not written.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

RNG = np.random.default_rng(0)
ROWS = 60


def columns(**changed):
    return {
        "a": RNG.normal(size=ROWS),
        "b": RNG.integers(-5, 5, ROWS),
        "c": RNG.normal(size=ROWS).astype("float32"),
        "d": RNG.integers(0, 2, ROWS).astype(bool),
        "w": RNG.uniform(size=ROWS),
        "label": RNG.integers(0, 2, ROWS),
        **changed,
    }


def write(folder, *files, **options):
    for number, content in enumerate(files):
        pq.write_table(pa.table(content), folder / f"{number}.parquet", **options)
    return str(folder)


def both_ways(frame, weight="w"):
    """Give the blocks as they are read directly, and those that go through pandas."""
    table = _frames.join("fit", frame, "label", weight)
    packer = table.packer("fit")
    direct = Partitions(table.joint, BlockReads(packer)).map(read_directly)
    return direct, Partitions(table.joint).map(lambda loaded, _: packer(loaded))


def read_directly(loaded: object, _: Turn) -> Block | None:
    return loaded if isinstance(loaded, Block) else None


def assert_same_bits(direct, usual):
    assert len(direct) == len(usual)
    for block, expected in zip(direct, usual, strict=True):
        pd.testing.assert_frame_equal(block.X, expected.X, check_exact=True)
        assert block.X.to_numpy().flags.c_contiguous
        for ours, theirs in zip(
            (block.y, block.sample_weight),
            (expected.y, expected.sample_weight),
            strict=True,
        ):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.fixture(params=["at once", "by column", "by two columns", "by rows"])
def way(request, monkeypatch):
    """Read as if partitions were less wide, or too tall to be read by columns."""
    n_rows = {"by column": ROWS, "by two columns": 2 * ROWS, "by rows": 1}
    if request.param in n_rows:
        n_values = n_rows[request.param]
        monkeypatch.setattr(_parquet_blocks, "_ROWS_BY_COLUMNS", n_values)
        monkeypatch.setattr(_parquet_blocks, "_ROWS_OF_BATCH", 7)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"a": np.where(np.arange(ROWS) % 7, 1.5, np.nan)},
        {"a": pa.array([None, 2.5] * (ROWS // 2))},
        {"b": RNG.integers(0, 200, ROWS).astype("uint8")},
        {"b": np.full(ROWS, 2**63 + 5, dtype="uint64")},
        {"b": np.full(ROWS, 2**53 + 1)},
        {"label": RNG.integers(0, 2, ROWS).astype(bool)},
        {"label": RNG.normal(size=ROWS)},
    ],
    ids=["plain", "nan", "null", "uint8", "uint64", "2**53", "flags", "regression"],
)
def test_numbers_are_read_as_blocks_of_the_same_bits(tmp_path, changed):
    frame = dd.read_parquet(write(tmp_path, columns(**changed), columns(**changed)))

    assert_same_bits(*both_ways(frame))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("split", [True, False, 2])
def test_row_groups_are_read_as_blocks(tmp_path, split):
    folder = write(tmp_path, columns(), columns(), row_group_size=25)
    frame = dd.read_parquet(folder, split_row_groups=split)

    assert_same_bits(*both_ways(frame))


def test_many_columns_of_few_rows_are_not_read_one_by_one(tmp_path, monkeypatch):
    wide = {f"x{number}": RNG.normal(size=ROWS) for number in range(300)}
    frame = dd.read_parquet(write(tmp_path, wide | columns()))
    read, reads = pq.ParquetFile.read_row_groups, []

    def count(self, *args, **options):
        reads.append(args)
        return read(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", count)
    direct, _ = both_ways(frame)

    assert direct[0].X.shape == (ROWS, 304)
    assert len(reads) == 1


def test_an_index_in_the_file_is_no_feature(tmp_path):
    pd.DataFrame(columns()).set_index("w").to_parquet(tmp_path / "0.parquet")
    frame = dd.read_parquet(tmp_path, index="w")
    direct, usual = both_ways(frame, weight=None)

    pd.testing.assert_frame_equal(direct[0].X, usual[0].X, check_exact=True)


def test_all_integers_make_an_integer_array(tmp_path):
    content = {"b": columns()["b"], "label": columns()["label"], "w": columns()["w"]}
    direct, usual = both_ways(dd.read_parquet(write(tmp_path, content)))

    assert direct[0].X.to_numpy().dtype == "int64"
    assert_same_bits(direct, usual)


@pytest.mark.usefixtures("way")
def test_columns_in_another_order_are_read_by_name(tmp_path):
    names = ["label", "c", "a", "w", "b", "d"]
    frame = dd.read_parquet(write(tmp_path, columns(), columns()))[names]
    direct, usual = both_ways(frame)

    assert list(direct[0].X.columns) == ["c", "a", "b", "d"]
    assert_same_bits(direct, usual)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "changed",
    [
        {"b": pa.array([None, 2] * (ROWS // 2))},
        {"b": RNG.normal(size=ROWS)},
        {"d": pa.array([None, True] * (ROWS // 2))},
        {"label": pa.array([1.0, 0.0] * (ROWS // 2))},
        {"b": pa.array([*range(ROWS - 1), None])},
    ],
    ids=["null", "float", "null flag", "float label", "null at the end"],
)
def test_a_file_that_is_not_as_declared_is_read_by_dask(tmp_path, changed):
    folder = write(tmp_path, columns(), columns(**changed))
    frame = dd.read_parquet(folder)
    assert frame._meta.dtypes.to_dict() == pd.DataFrame(columns()).dtypes.to_dict()
    model = dfml.Incremental(SGDClassifier(random_state=0))
    usual = dd.read_parquet(folder).map_partitions(lambda part: part, meta=frame._meta)

    def fit(table):
        try:
            return model.fit(table, "label", classes=[0, 1]).coef_.tolist()
        except (ValueError, TypeError) as error:
            return type(error), str(error)

    assert fit(frame) == fit(usual)


@pytest.mark.parametrize(
    "read",
    [
        lambda folder: dd.read_parquet(folder, filters=[("a", ">", 0)]),
        lambda folder: dd.read_parquet(folder, dtype_backend="numpy_nullable"),
        lambda folder: dd.read_parquet(folder).query("a > 0"),
        lambda folder: dd.read_parquet(folder).repartition(npartitions=1),
    ],
    ids=["filters", "nullable", "query", "repartition"],
)
def test_what_is_not_a_plain_read_goes_through_pandas(tmp_path, read):
    direct, _ = both_ways(read(write(tmp_path, columns(), columns())))

    assert set(direct) == {None}


def test_text_goes_through_pandas(tmp_path):
    content = columns(label=["yes", "no"] * (ROWS // 2))
    direct, _ = both_ways(dd.read_parquet(write(tmp_path, content)))

    assert direct == [None]


def test_hive_partitions_go_through_pandas(tmp_path):
    frame = pd.DataFrame(columns()).astype({"d": "int64"})
    frame.to_parquet(tmp_path / "lake", partition_cols=["d"])
    direct, _ = both_ways(dd.read_parquet(tmp_path / "lake"))

    assert set(direct) == {None}


class Keeps(BaseEstimator):
    """Keeps every block that it was given."""

    def partial_fit(self, X, y=None):
        self.blocks_ = [*getattr(self, "blocks_", []), X]
        return self


def test_memory_of_a_block_that_is_kept_is_not_used_again(tmp_path):
    contents = [columns(a=RNG.normal(size=ROWS)) for _ in range(12)]
    frame = dd.read_parquet(write(tmp_path, *contents))[["a", "c"]]
    with dask.config.set(scheduler="threads", num_workers=2):
        blocks = dfml.Incremental(Keeps()).fit(frame).blocks_

    files = [f"{number}.parquet" for number in range(12)]
    assert len(blocks) == len(files)
    for block, file in zip(blocks, files, strict=True):
        expected = pd.read_parquet(tmp_path / file)[["a", "c"]].astype("float64")
        pd.testing.assert_frame_equal(block, expected, check_exact=True)


def test_memory_of_a_block_that_is_gone_is_used_again(tmp_path):
    frame = dd.read_parquet(write(tmp_path, *[columns()] * 6))
    table = _frames.join("fit", frame, "label")
    packer = table.packer("fit")
    places = set()
    with dask.config.set(scheduler="synchronous"):
        for _, loaded in Partitions(table.joint, BlockReads(packer)).stream():
            places.add(loaded.value.X.to_numpy().ctypes.data)
            del loaded

    assert len(places) < 6


def test_a_file_without_rows_is_an_empty_partition(tmp_path):
    empty = {name: values[:0] for name, values in columns().items()}
    frame = dd.read_parquet(write(tmp_path, columns(), empty, columns()))
    model = dfml.Incremental(SGDClassifier(random_state=0)).fit(frame, "label")

    assert model.n_partitions_seen_ == 2
    assert model.n_samples_seen_ == 2 * ROWS


def test_a_broken_file_has_the_error_of_dask_and_its_partition(tmp_path):
    frame = dd.read_parquet(write(tmp_path, columns(), columns(), columns()))
    (tmp_path / "1.parquet").write_bytes(b"PAR1 no longer")
    model = dfml.Incremental(SGDClassifier(random_state=0))

    with pytest.raises(pa.ArrowInvalid, match="Parquet") as raised:
        model.fit(frame, "label", classes=[0, 1])

    assert "partition 1" in " ".join(raised.value.__notes__)
    assert not hasattr(model, "estimator_")
