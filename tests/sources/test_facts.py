"""What is asked of a database before rows are read."""

from __future__ import annotations

import duckdb
import pytest

from dfml.exceptions import QueryError
from dfml.sources._facts import distinct_values


def test_a_connection_that_cannot_answer_is_one_error():
    connection = duckdb.connect()
    relation = connection.sql("SELECT 1 AS a")
    connection.close()
    with pytest.raises(QueryError, match=r"(?s)fit expects .*pass an open connection"):
        distinct_values("fit", relation, "a")
