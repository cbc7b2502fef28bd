"""What is asked of a database before rows are read."""

from __future__ import annotations

import contextlib
import threading
import time

import duckdb
import pytest

from dfml.exceptions import QueryError
from dfml.sources._facts import distinct_values


@pytest.fixture
def busy():
    """A relation whose connection runs something else."""
    with duckdb.connect() as con:
        relation = con.sql("SELECT i AS a FROM range(9) t(i)")
        running = threading.Thread(target=run_for_long, args=[con])
        running.start()
        with contextlib.suppress(duckdb.Error):
            while relation.project("a"):
                time.sleep(0.01)
        yield relation
        con.interrupt()
        running.join()


def run_for_long(con):
    with pytest.raises(duckdb.Error, match="Interrupted"):
        con.execute("SELECT max(hash(i)) FROM range(1_000_000_000_000) t(i)")


def test_a_connection_that_is_busy(busy):
    with pytest.raises(QueryError, match=r"(?s)fit expects .*connection.cursor\(\)"):
        distinct_values("fit", busy, "a")
