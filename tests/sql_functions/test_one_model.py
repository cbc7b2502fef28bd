"""One model on dask, DuckDB and pandas: equal coefficients, equal answers."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.preprocessing import StandardScaler

import dfml
from tests.conftest import FEATURES
from tests.sql_functions.conftest import column

N_PARTITIONS = 3
LABELS = {
    "text": lambda late: late,
    "boolean": lambda late: late == "yes",
    "integer": lambda late: np.where(late == "yes", 7, -3),
}


@pytest.fixture(params=LABELS)
def rows(table, con, request):
    """The features and the label as pandas has them, and in DuckDB as ``rows``."""
    rows = table[[*FEATURES, "id"]].assign(late=LABELS[request.param](table["late"]))
    con.register("source", rows)
    con.execute("CREATE TABLE rows AS FROM source")
    con.unregister("source")
    return rows


def sgd():
    return SGDClassifier(loss="log_loss", random_state=0)


def loop(rows):
    """What one writes by hand: a step for each partition."""
    model, size = sgd(), len(rows) // N_PARTITIONS
    for start in range(0, len(rows), size):
        part = rows.iloc[start : start + size]
        model.partial_fit(part[FEATURES], part["late"], classes=np.unique(rows["late"]))
    return model


def partitioned(rows, con):
    """The same partitions from dask, and from DuckDB."""
    columns = [*FEATURES, "late"]
    return {
        "dask": dd.from_pandas(rows[columns], npartitions=N_PARTITIONS),
        "DuckDB": dfml.read_sql(
            "SELECT a, b, c, late FROM rows ORDER BY id",
            con,
            rows_per_partition=len(rows) // N_PARTITIONS,
        ),
    }


def whole(rows, con):
    """One partition: in memory, from dask, and from a relation as it is."""
    columns = [*FEATURES, "late"]
    return {
        "pandas": rows[columns],
        "dask": dd.from_pandas(rows[columns], npartitions=1),
        "relation": con.sql("SELECT a, b, c, late FROM rows ORDER BY id"),
    }


def assert_same_bits(model, expected):
    for name in ("coef_", "intercept_", "classes_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))


def test_equal_coefficients_over_the_same_partitions(rows, con):
    expected = loop(rows)
    for name, frame in partitioned(rows, con).items():
        assert frame.npartitions == N_PARTITIONS, name
        model = dfml.Incremental(sgd()).fit(frame, y="late")
        assert_same_bits(model.estimator_, expected)


def test_equal_coefficients_of_one_partition(rows, con):
    expected = sgd().partial_fit(
        rows[FEATURES], rows["late"], classes=np.unique(rows["late"])
    )
    for data in whole(rows, con).values():
        assert_same_bits(
            dfml.Incremental(sgd()).fit(data, y="late").estimator_, expected
        )


def test_equal_labels_wherever_they_are_asked_for(rows, con):
    model = dfml.Incremental(sgd()).fit(partitioned(rows, con)["DuckDB"], y="late")
    expected = model.estimator_.predict(rows[FEATURES]).tolist()

    dfml.register(con, "late", model)
    answers = {
        "pandas": model.predict(rows[FEATURES]),
        "dask": model.predict(partitioned(rows, con)["dask"]).compute(),
        "relation": model.predict(con.sql("FROM rows ORDER BY id")).compute(),
        "register": column(con, "late(t)", "rows"),
        "table function": column(con, "prediction", "late_table('rows')"),
        "predict_sql": column(
            con, "prediction", dfml.predict_sql(model, con.table("rows"))
        ),
        "export_sql": column(
            con, "prediction", con.sql(dfml.export_sql(model, "rows"))
        ),
    }

    for name, got in answers.items():
        assert list(got) == expected, name


@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_equal_numbers_wherever_they_are_asked_for(rows, con, method):
    model = dfml.Incremental(sgd()).fit(partitioned(rows, con)["dask"], y="late")
    respond = getattr(model, method)
    expected = np.asarray(getattr(model.estimator_, method)(rows[FEATURES]))

    answered = dfml.predict_sql(model, con.table("rows"), method=method)
    exported = con.sql(dfml.export_sql(model, "rows", method=method))
    dfml.register(con, "f", model, method=method)
    from_table = con.sql("FROM f_table('rows')")

    answers = [respond(data).compute() for data in partitioned(rows, con).values()]
    assert answered.columns == exported.columns == from_table.columns
    outputs = answered.columns[len(rows.columns) :]
    relations = (answered, exported, from_table)
    answers += [relation.order("id").df()[outputs] for relation in relations]
    for got in answers:
        np.testing.assert_allclose(
            np.asarray(got).reshape(len(rows), -1), expected.reshape(len(rows), -1)
        )


def test_equal_numbers_of_a_regression_and_a_transformer(table, con):
    frame = dd.from_pandas(table[[*FEATURES, "amount"]], npartitions=N_PARTITIONS)
    model = dfml.Incremental(SGDRegressor(random_state=0)).fit(frame, y="amount")
    scaler = dfml.Incremental(StandardScaler()).fit(frame[FEATURES])

    for each, method in ((model, "predict"), (scaler, "transform")):
        expected = np.asarray(getattr(each, method)(table[FEATURES]))
        how = {"method": method, "prefix": "new_"}
        for relation in (
            dfml.predict_sql(each, con.table("t"), **how),
            con.sql(dfml.export_sql(each, "t", **how)),
        ):
            got = relation.order("id").df().filter(like="new_")
            np.testing.assert_allclose(
                got, expected.reshape(len(table), -1), rtol=1e-9, atol=1e-12
            )
