"""A failure or a kill at every call: readers see the old table or the new one.

``DFML_FAULT_STRIDE=1`` tries every call of every kind of target, which takes minutes;
otherwise those whose commits are slow are tried at some calls, and at all near the end.
"""

from __future__ import annotations

import os

import pytest

from dfml.sinks._files import FileSystem
from tests.processes import exit_code
from tests.sinks.faults import Dying, Failure, Killed
from tests.sinks.places import PLACES, make_part, opened, write_job
from tests.sinks.test_targets import rows_of

OLD = [make_part(0, 1, 2, scale=-1.0), make_part(5, scale=-1.0)]
NEW = [make_part(0, 1, 3, 4), make_part(7)]
AFTER = {
    "error": lambda: rows_of(NEW),
    "overwrite": lambda: rows_of(NEW),
    "append": lambda: rows_of(OLD, NEW),
    # The days of NEW are mon, null and a/b; the rows of tue stay.
    "overwrite_partitions": lambda: rows_of([make_part(2, scale=-1.0)], NEW),
}
CASES = [
    (kind, mode)
    for kind, place in PLACES.items()
    for mode in place.modes
    if mode != "overwrite_partitions" or place.by_day
]
#: Of every how many calls one fails, and how many at the end all do.
STRIDES = {
    "parquet": 1,
    "parquet by day": 4,
    "delta": 3,
    "delta by day": 7,
    "iceberg": 11,
    "iceberg by day": 23,
    "duckdb in memory": 5,
    "duckdb file": 29,
}
AT_THE_END = {"parquet": 20, "parquet by day": 12, "delta": 16, "iceberg": 10}
#: What a process is killed at; each is a start of Python.
KILLED_AT = 2


def start(place, mode):
    if mode == "error":
        return None
    write_job(place.target(), "0" * 32, OLD)
    return place.read()


def chosen_calls(kind, n_calls, *, dies):
    sparse = 1 if dies else 3
    stride = int(os.environ.get("DFML_FAULT_STRIDE", sparse * STRIDES[kind]))
    last = n_calls - AT_THE_END.get(kind, 3) // sparse
    return [at for at in range(1, n_calls + 1) if at % stride == 0 or at > last]


def check_seen(place, old, new, *, swaps=True):
    seen = place.read()
    is_old = seen is None if old is None else seen is not None and seen.equals(old)
    is_new = seen is not None and seen.equals(new)
    is_between = seen is None and not swaps  # of two renames
    assert is_old or is_new or is_between


def test_every_call_is_counted():
    """A call that is new in the seam has to be one that tests can make fail."""
    known = {name for name in vars(FileSystem) if not name.startswith("_")}
    made_of_others = {"write", "locked"}

    assert known - made_of_others == known.intersection(vars(Dying))


@pytest.mark.parametrize("dies", [True, False], ids=["dies", "fails once"])
@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_failure_at_every_call(tmp_path, kind, mode, dies):
    check_every_call(tmp_path, kind, mode, dies=dies)


@pytest.mark.parametrize("dies", [True, False], ids=["dies", "fails once"])
@pytest.mark.parametrize("kind", ["parquet", "parquet by day"])
def test_failure_at_every_call_where_names_cannot_be_swapped(tmp_path, kind, dies):
    check_every_call(tmp_path, kind, "overwrite", dies=dies, swaps=False)


def check_every_call(folder, kind, mode, *, dies, swaps=True):
    new = AFTER[mode]()
    files = Dying(swaps=swaps)
    (folder / "first").mkdir()
    with opened(kind, folder / "first") as first:
        start(first, mode)
        write_job(first.target(mode, files), "1" * 32, NEW)
        assert first.read().equals(new)

    n_failed = 0
    calls = chosen_calls(kind, files.n_calls, dies=dies)
    for at in calls:
        (folder / str(at)).mkdir()
        with opened(kind, folder / str(at)) as place:
            old = start(place, mode)
            dying = Dying(at, dies=dies, swaps=swaps)
            try:
                write_job(place.target(mode, dying), "1" * 32, NEW)
            except Failure:
                n_failed += 1
            check_seen(place, old, new, swaps=swaps)
            write_job(place.target(mode, Dying(swaps=swaps)), "1" * 32, NEW)
            assert place.read().equals(new), f"after call {at}"
            assert place.leftovers() == [], f"after call {at}"
    assert n_failed > len(calls) / 3


def write_and_die(kind, mode, folder, at):
    write_job(PLACES[kind](folder).target(mode, Killed(at)), "1" * 32, NEW)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("parquet by day", "error"),
        ("parquet", "overwrite"),
        ("delta by day", "overwrite_partitions"),
        ("delta", "append"),
        ("iceberg", "overwrite"),
        ("duckdb file", "append"),
    ],
)
def test_killed_process(tmp_path, kind, mode):
    (tmp_path / "first").mkdir()
    files = Dying()
    with opened(kind, tmp_path / "first") as first:
        start(first, mode)
        write_job(first.target(mode, files), "1" * 32, NEW)

    step = max(1, files.n_calls // (KILLED_AT + 1))
    for at in [*range(step, files.n_calls - 10, step), files.n_calls - 8]:
        (tmp_path / str(at)).mkdir()
        with opened(kind, tmp_path / str(at)) as place:
            old = start(place, mode)
            assert exit_code(write_and_die, kind, mode, place.folder, at) == 9
            check_seen(place, old, AFTER[mode]())
            write_job(place.target(mode), "1" * 32, NEW)
            assert place.read().equals(AFTER[mode]())
            assert place.leftovers() == []
