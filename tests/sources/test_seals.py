from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfml.sinks._files import FileSystem
from dfml.sinks._writing import Layout, PartWriter
from dfml.sources._seals import check_seal


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return pa.table(
        {
            "id": np.arange(500),
            "x": generator.normal(size=500),
            "t": generator.choice(["a", "bb"], 500).tolist(),
            "n": [None if i % 7 == 0 else i / 2 for i in range(500)],
        }
    )


@pytest.fixture
def sealed(tmp_path, rows):
    layout = Layout("write", rows.schema)
    writer = PartWriter(layout, 0, "job", str(tmp_path), FileSystem())
    writer.write_all([rows[:200], rows[200:]])
    written = writer.finish(str(tmp_path))
    return tmp_path / written[0].path


def test_other_readers_pass_over_the_seal(sealed, rows):
    check_seal(str(sealed))

    assert pq.read_table(sealed).equals(rows)
    seal = pq.read_metadata(sealed).metadata[b"dfml.footer"]
    assert len(seal) == 64
    assert set(seal) != {ord("0")}


def test_files_of_others_have_no_seal(tmp_path, rows):
    pq.write_table(rows, tmp_path / "theirs.parquet")

    check_seal(str(tmp_path / "theirs.parquet"))


def test_every_flipped_bit_of_the_footer_is_found(sealed, tmp_path):
    whole = sealed.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    start = len(whole) - 8 - length
    flipped = tmp_path / "flipped.parquet"
    for at in random.Random(0).sample(range(start, start + length), 400):
        flipped.write_bytes(flip(whole, at, at % 8))
        with pytest.raises(OSError, match="some bits of it have changed"):
            check_seal(str(flipped))


def flip(whole, at, bit):
    changed = bytearray(whole)
    changed[at] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\xff" * 100])
def test_what_is_no_parquet_file_is_left_to_arrow(tmp_path, content):
    (tmp_path / "none.parquet").write_bytes(content)

    check_seal(str(tmp_path / "none.parquet"))
