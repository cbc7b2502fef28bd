from __future__ import annotations

import pickle
import time
import tracemalloc

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from dfml.datasets import make_blobs, make_classification, make_regression

MAKERS = {
    "blobs": make_blobs,
    "classification": make_classification,
    "regression": make_regression,
}
PARTS = [{"chunks": 30}, {"npartitions": 4}]


@pytest.fixture(params=MAKERS, ids=str)
def make(request):
    return MAKERS[request.param]


@pytest.fixture(params=PARTS, ids=["arrays", "frames"])
def parts(request):
    return request.param


def as_arrays(X, y):
    """Compute both in one call."""
    return tuple(np.asarray(part) for part in dask.compute(X, y))


# Laziness


@pytest.mark.parametrize(
    "huge_parts", [{"chunks": 10**7}, {"npartitions": 1000}, {"chunks": -1}], ids=str
)
def test_ten_thousand_million_rows_cost_nothing_to_ask_for(make, huge_parts):
    tracemalloc.start()
    start = time.perf_counter()
    X, y = make(n_samples=10**10, random_state=0, **huge_parts)
    elapsed = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 5e6  # one column of one partition would be 80 MB
    assert elapsed < 5
    assert X.npartitions == y.npartitions


def test_one_partition_of_a_huge_table_is_computed_alone():
    X, y = make_blobs(n_samples=10**10, npartitions=10**4, random_state=0)

    last = X.partitions[-1].compute()

    assert len(last) == 10**6
    assert last.index[-1] == 10**10 - 1
    assert len(y.partitions[5].compute()) == 10**6


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (make_blobs, "_blobs.Blobs"),
        (make_classification, "_classification.Classification"),
        (make_regression, "_regression.Regression"),
    ],
)
def test_the_target_alone_does_not_draw_the_features(make, problem, parts, monkeypatch):
    _, y = make(random_state=0, **parts)

    monkeypatch.setattr(f"dfml.datasets.{problem}.features", None)

    assert len(y.compute()) == 100


# Seeds


def test_the_same_seed_gives_the_same_data(make, parts):
    first = make(random_state=7, **parts)
    again = make(random_state=7, **parts)
    other = make(random_state=8, **parts)

    for a, b, c in zip(
        as_arrays(*first), as_arrays(*again), as_arrays(*other), strict=True
    ):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_dask_sees_that_equal_data_is_equal(make):
    first, again, other = (make(random_state=s, chunks=30) for s in (7, 7, 8))

    assert [part.name for part in first] == [part.name for part in again]
    assert not {part.name for part in first} & {part.name for part in other}


def test_a_partition_computed_again_is_identical_alone_or_with_others(make):
    X, _ = make(random_state=np.random.RandomState(0), npartitions=4)
    whole = X.compute()

    alone = X.partitions[2].compute()

    pd.testing.assert_frame_equal(alone, X.partitions[2].compute())
    pd.testing.assert_frame_equal(alone, whole.loc[alone.index])


def test_without_a_seed_each_call_is_new_and_each_compute_is_not(make, parts):
    X, _ = make(**parts)
    other, _ = make(**parts)

    np.testing.assert_array_equal(np.asarray(X.compute()), np.asarray(X.compute()))
    assert not np.array_equal(np.asarray(X.compute()), np.asarray(other.compute()))


@pytest.mark.parametrize("kind", [np.random.RandomState, np.random.default_rng])
def test_a_generator_moves_on_with_each_call(make, kind):
    def two_calls():
        state = kind(3)
        return [make(random_state=state, chunks=50)[0].compute() for _ in range(2)]

    first, second = two_calls()
    first_again, second_again = two_calls()

    np.testing.assert_array_equal(first, first_again)
    np.testing.assert_array_equal(second, second_again)
    assert not np.array_equal(first, second)


def test_schedulers_agree(make, parts):
    X, y = make(n_samples=120, random_state=0, **parts)

    with dask.config.set(scheduler="synchronous"):
        expected = as_arrays(X, y)
    with dask.config.set(scheduler="threads", num_workers=4):
        got = as_arrays(X, y)

    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_processes_agree_with_this_one(make):
    X, y = make(random_state=0, npartitions=3)

    got = dask.compute(X, y, scheduler="processes", num_workers=2)

    for a, b in zip(as_arrays(X, y), got, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_arrays_and_frames_of_the_same_rows_are_the_same_data(make):
    arrays = as_arrays(*make(random_state=0, chunks=(34, 33, 33)))
    frames = as_arrays(*make(random_state=0, npartitions=3))

    for a, b in zip(arrays, frames, strict=True):
        np.testing.assert_array_equal(a, b)


def test_partitions_differ(make):
    X, _ = make(random_state=0, chunks=50)

    first, second = (block.compute() for block in X.blocks)

    assert not np.isin(first, second).any()


def test_the_ground_truth_does_not_depend_on_the_partitions():
    few = make_regression(coef=True, random_state=0, chunks=100)[2]
    many = make_regression(coef=True, random_state=0, npartitions=50)[2]

    np.testing.assert_array_equal(few, many)


def test_results_pickle(make, parts):
    X, y = make(random_state=0, **parts)

    again = pickle.loads(pickle.dumps((X, y)))

    for a, b in zip(as_arrays(X, y), as_arrays(*again), strict=True):
        np.testing.assert_array_equal(a, b)


# Distribution. Each bound is five standard errors for its fixed seed.


def test_partitions_are_identically_distributed(make):
    n_parts, n_rows = 20, 2000
    X, _ = make(n_samples=n_parts * n_rows, random_state=1, chunks=n_rows)
    X = X.compute().reshape(n_parts, n_rows, -1)

    error = X.std(axis=(0, 1)) / np.sqrt(n_rows)
    assert (abs(X.mean(axis=1) - X.mean(axis=(0, 1))) < 5 * error).all()
    spread = X.std(axis=1) / X.std(axis=(0, 1))
    assert (abs(spread - 1) < 5 * np.sqrt(1 / n_rows)).all()


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], np.array([0.7, 0.2])], ids=str)
def test_each_partition_has_the_class_weights(weights):
    n_rows = 5000
    _, y = make_classification(
        n_samples=10 * n_rows,
        n_classes=3,
        n_clusters_per_class=1,
        weights=weights,
        flip_y=0,
        random_state=0,
        chunks=n_rows,
    )
    expected = np.array([0.7, 0.2, 0.1])
    bound = 5 * np.sqrt(expected * (1 - expected) / n_rows)

    for part in y.compute().reshape(10, n_rows):
        assert (abs(np.bincount(part) / n_rows - expected) < bound).all()


def test_rows_are_not_sorted_by_class():
    _, y = make_classification(n_samples=1000, flip_y=0, random_state=0, chunks=500)

    changes = (np.diff(y.compute()) != 0).sum()

    assert abs(changes - 500) < 5 * np.sqrt(250)


def test_a_class_without_weight_does_not_occur():
    _, y = make_classification(weights=[1.0, 0.0], flip_y=0, random_state=0)

    assert not y.compute().any()


def test_flip_y_replaces_that_share_of_labels():
    n = 20_000
    same = {"n_samples": n, "random_state": 0}
    X, clean = as_arrays(*make_classification(flip_y=0, **same))
    X_flipped, flipped = as_arrays(*make_classification(flip_y=0.3, **same))

    changed = (clean != flipped).mean()  # half of the replaced ones stay the same
    np.testing.assert_array_equal(X, X_flipped)
    assert abs(changed - 0.15) < 5 * np.sqrt(0.15 * 0.85 / n)


# What a model can learn


def test_a_linear_model_learns_the_classes():
    X, y = as_arrays(
        *make_classification(
            n_samples=2000, n_clusters_per_class=1, class_sep=2, random_state=0
        )
    )

    accuracy = LogisticRegression().fit(X[:1000], y[:1000]).score(X[1000:], y[1000:])

    assert accuracy > 0.85


def test_useful_features_come_first_without_shuffle_and_repeat():
    X, _ = as_arrays(
        *make_classification(
            n_samples=500,
            n_features=8,
            n_informative=3,
            n_redundant=2,
            n_repeated=2,
            shuffle=False,
            random_state=0,
        )
    )

    assert np.linalg.matrix_rank(X) == 4  # three informative and one useless
    for repeated in X[:, 5:7].T:
        assert (X[:, :5] == repeated[:, np.newaxis]).all(axis=0).any()


def test_shuffle_permutes_the_features_alone():
    ordered, y = as_arrays(*make_classification(shuffle=False, random_state=0))
    shuffled, y_shuffled = as_arrays(*make_classification(random_state=0))

    np.testing.assert_array_equal(y, y_shuffled)
    np.testing.assert_array_equal(np.sort(ordered, axis=1), np.sort(shuffled, axis=1))
    assert not np.array_equal(ordered, shuffled)


def test_shift_comes_before_scale():
    plain, _ = make_classification(random_state=0)
    moved, _ = make_classification(shift=1.0, scale=[2.0] * 20, random_state=0)

    np.testing.assert_allclose(moved.compute(), (plain.compute() + 1) * 2)


def test_random_shift_and_scale_are_the_same_in_all_partitions():
    n_rows = 1000
    X, _ = make_classification(
        n_samples=5 * n_rows, shift=None, scale=None, random_state=0, chunks=n_rows
    )
    X = X.compute().reshape(5, n_rows, 20)

    assert len(np.unique(X.std(axis=(0, 1)).round(1))) > 10
    assert (abs(X.std(axis=1) / X.std(axis=(0, 1)) - 1) < 0.2).all()


@pytest.mark.parametrize("hypercube", [True, False])
def test_more_dimensions_than_a_vertex_code_has_bits(hypercube):
    X, _ = make_classification(
        n_features=50, n_informative=40, hypercube=hypercube, random_state=0
    )

    assert np.isfinite(X.compute()).all()


def test_clusters_lie_at_distinct_vertices():
    X, y = as_arrays(
        *make_classification(
            n_samples=2000,
            n_features=4,
            n_informative=4,
            n_redundant=0,
            n_clusters_per_class=8,
            flip_y=0,
            class_sep=1000,
            shuffle=False,
            random_state=0,
        )
    )

    vertices = {(*row, label) for row, label in zip(X > 0, y, strict=True)}
    assert len(vertices) == 16  # all of them, each with one class


@pytest.mark.parametrize("effective_rank", [None, 3])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_coef_is_the_linear_model(n_targets, effective_rank):
    X, y, coef = make_regression(
        n_features=20,
        n_informative=4,
        n_targets=n_targets,
        bias=3.0,
        effective_rank=effective_rank,
        coef=True,
        random_state=0,
    )
    X, y = as_arrays(X, y)

    assert coef.shape == ((20,) if n_targets == 1 else (20, 2))
    assert (coef != 0).sum() == 4 * n_targets
    np.testing.assert_allclose(X @ coef + 3.0, y, rtol=1e-9, atol=1e-9)


def test_a_linear_model_finds_the_coefficients_through_noise():
    X, y, coef = make_regression(
        n_samples=5000, n_features=10, noise=2.0, coef=True, random_state=0, chunks=1000
    )
    X, y = as_arrays(X, y)

    model = LinearRegression().fit(X, y)

    assert abs(model.coef_ - coef).max() < 5 * 2.0 / np.sqrt(5000)
    assert abs((y - X @ coef).std() - 2.0) < 5 * 2.0 / np.sqrt(2 * 5000)


def test_effective_rank_concentrates_the_singular_values():
    X, _ = make_regression(
        n_samples=5000, n_features=30, effective_rank=3, tail_strength=0, random_state=0
    )

    singular = np.linalg.svd(X.compute(), compute_uv=False)

    assert abs(singular[0] - 1) < 0.1  # scikit-learn's largest is 1
    assert singular[12:].max() < 1e-3


def test_fewer_features_than_informative_ones():
    *_, coef = make_regression(n_features=3, coef=True, random_state=0)

    assert (coef != 0).all()


def test_blobs_lie_around_their_centers():
    centers = [[0.0, 0.0, 5.0], [10.0, 0.0, -5.0]]
    X, y, returned = make_blobs(
        n_samples=4000,
        centers=centers,
        cluster_std=[0.5, 2.0],
        return_centers=True,
        random_state=0,
        chunks=1000,
    )
    X, y = as_arrays(X, y)

    np.testing.assert_array_equal(returned, centers)
    for group, std in enumerate([0.5, 2.0]):
        rows = X[y == group]
        assert (abs(rows.mean(axis=0) - centers[group]) < 5 * std / np.sqrt(1800)).all()
        assert (abs(rows.std(axis=0) / std - 1) < 5 / np.sqrt(2 * 1800)).all()


def test_blob_centers_are_drawn_inside_the_box():
    *_, centers = make_blobs(
        n_features=4, centers=50, center_box=(2, 3), return_centers=True, random_state=0
    )

    assert centers.shape == (50, 4)
    assert centers.min() >= 2
    assert centers.max() <= 3


def test_the_caller_s_centers_are_copied():
    centers = np.zeros((2, 2))
    X, _ = make_blobs(centers=centers, random_state=0)
    before = X.compute()

    centers += 100

    np.testing.assert_array_equal(X.compute(), before)


# Arrays


def test_defaults_are_scikit_learn_s():
    X, y = make_classification(chunks=25)

    assert X.shape == (100, 20)
    assert X.chunks == ((25,) * 4, (20,))
    assert y.chunks == ((25,) * 4,)
    assert set(np.unique(y.compute())) == {0, 1}


def test_arrays_of_10_000_rows_a_chunk_by_default(make):
    X, y = make(n_samples=25_000)

    assert isinstance(X, da.Array)
    assert X.chunks[0] == y.chunks[0] == (10_000, 10_000, 5_000)


@pytest.mark.parametrize(
    ("chunks", "rows"),
    [
        (30, (30, 30, 30, 10)),
        (np.int64(60), (60, 40)),
        (-1, (100,)),
        ("auto", (100,)),
        ((10, 70, 20), (10, 70, 20)),
        ((0, 100), (0, 100)),
        (((40, 60), (5,)), (40, 60)),
    ],
    ids=str,
)
def test_chunks_are_rows_as_dask_means_them(chunks, rows):
    X, y = make_regression(n_features=5, random_state=0, chunks=chunks)

    assert X.chunks == (rows, (5,))
    assert y.chunks == (rows,)
    assert [len(block.compute()) for block in X.blocks] == list(rows)


def test_array_blocks_equal_their_meta(make):
    X, y = make(random_state=0, chunks=40)

    da.utils.assert_eq(X, X.compute())
    da.utils.assert_eq(y, y.compute())
    assert X.blocks[0].compute().flags.c_contiguous
    assert X.dtype == np.float64


def test_several_targets_are_columns():
    _, y = make_regression(n_targets=3, chunks=25, random_state=0)

    assert y.chunks == ((25,) * 4, (3,))
    assert y.compute().shape == (100, 3)


# Frames


def test_frames_have_a_global_index_and_known_divisions(make):
    X, y = make(n_samples=11, random_state=0, npartitions=3)

    assert X.divisions == y.divisions == (0, 4, 8, 10)
    dd.utils.assert_divisions(X)
    dd.utils.assert_divisions(y)
    pd.testing.assert_index_equal(X.compute().index, pd.RangeIndex(11))
    pd.testing.assert_index_equal(y.compute().index, pd.RangeIndex(11))


def test_frame_partitions_equal_their_meta(make):
    X, y = make(random_state=0, npartitions=3)

    dd.utils.assert_eq(X, X.compute())
    dd.utils.assert_eq(y, y.compute())
    assert list(X.columns) == [f"x{i}" for i in range(X.shape[1])]
    assert y.name == "y"
    assert set(X.dtypes) == {np.dtype(float)}


def test_frames_stay_paired_when_dask_optimizes_them(make):
    X, y = make(random_state=0, npartitions=7)

    assert X.optimize().npartitions == y.optimize().npartitions == 7
    joint = X.assign(y=y)
    assert joint.divisions == X.divisions
    table, X, y = dask.compute(joint, X, y)
    pd.testing.assert_frame_equal(table.drop(columns="y"), X)
    pd.testing.assert_series_equal(table["y"], y)


def test_selected_columns_are_the_same_values(make):
    X, _ = make(random_state=0, npartitions=2)

    selected = X[["x1", "x0"]].compute()

    pd.testing.assert_frame_equal(selected, X.compute()[["x1", "x0"]])
    assert len(X) == 100


def test_several_targets_are_named_columns():
    _, y = make_regression(n_targets=2, npartitions=2, random_state=0)

    assert list(y.columns) == ["y0", "y1"]
    assert y.divisions == (0, 50, 99)
    dd.utils.assert_eq(y, y.compute())


def test_one_row_in_one_partition(make):
    X, y = make(n_samples=1, npartitions=1, random_state=0)

    assert X.divisions == (0, 0)
    assert len(y.compute()) == 1


# Errors


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "n_samples to be an integer of at least 1. Got 0"),
        ({"n_samples": 2.5}, "n_samples to be an integer .* Got 2.5"),
        ({"n_samples": True}, "n_samples to be an integer"),
        ({"n_features": -1}, "n_features to be an integer"),
        ({"random_state": -1}, "random_state to be an integer of at least 0"),
        ({"random_state": "seed"}, "random_state to be an integer"),
        ({"chunks": 10, "npartitions": 2}, "one of chunks and npartitions"),
        ({"npartitions": 0}, "npartitions to be an integer"),
        ({"npartitions": 101}, "npartitions to be at most n_samples. Got 101"),
        ({"chunks": 0}, "chunks to be rows per chunk of 100 rows. Got 0"),
        ({"chunks": -7}, "chunks to be rows per chunk"),
        ({"chunks": (10, 20)}, r"chunks to be rows per chunk .* Got \(10, 20\)"),
        ({"chunks": (50, -50, 100)}, "chunks to be rows per chunk"),
        ({"chunks": ((50, 50), (1, 1))}, "chunks to be rows per chunk"),
        ({"chunks": 2.5}, "chunks to be rows per chunk"),
        ({"chunks": 1j}, "chunks to be rows per chunk"),
    ],
    ids=str,
)
def test_bad_arguments_of_all(make, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**parameters)

    text = str(caught.value)
    assert text.startswith(f"{make.__name__} expects ")
    assert "\n\nHint: " in text


@pytest.mark.parametrize(
    ("make", "parameters", "message"),
    [
        (make_classification, {"n_informative": 0}, "n_informative to be"),
        (make_classification, {"n_redundant": -1}, "n_redundant to be"),
        (make_classification, {"n_informative": 19}, "Got 21 of 20"),
        (make_classification, {"n_classes": 3}, "Got 6 clusters and 4 vertices"),
        (make_classification, {"weights": [0.5] * 3}, "weights to be 2 prob"),
        (make_classification, {"weights": [0.5, 0.6]}, "weights to be 2 prob"),
        (make_classification, {"weights": [1.5]}, "weights to be 2 prob"),
        (make_classification, {"weights": [np.nan]}, "weights to be 2 prob"),
        (make_classification, {"flip_y": 1.1}, "flip_y to be .* from 0 to 1. Got 1.1"),
        (make_classification, {"flip_y": "much"}, "flip_y to be .* Got 'much'"),
        (make_classification, {"class_sep": np.nan}, "class_sep to be"),
        (make_classification, {"shift": [1.0, 2.0]}, "shift to be .* of the 20"),
        (make_classification, {"scale": [1.0, 2.0]}, "scale to be .* of the 20"),
        (make_regression, {"n_targets": 0}, "n_targets to be"),
        (make_regression, {"noise": -1.0}, "noise to be"),
        (make_regression, {"bias": None}, "bias to be"),
        (make_regression, {"effective_rank": 0}, "effective_rank to be"),
        (make_regression, {"tail_strength": 2}, "tail_strength to be"),
        (make_blobs, {"n_samples": [5, 5]}, r"n_samples to be .* Got \[5, 5\]"),
        (make_blobs, {"centers": 0}, "centers to be"),
        (make_blobs, {"centers": [1.0, 2.0]}, r"centers to be .* shape \(2,\)"),
        (make_blobs, {"centers": [[np.nan]]}, "centers to be"),
        (make_blobs, {"cluster_std": [1.0, 2.0]}, "one number from 0 on, or 3"),
        (make_blobs, {"cluster_std": -1.0}, "one number from 0 on, or 3"),
        (make_blobs, {"center_box": (1, 0)}, r"\(min, max\). Got \(1, 0\)"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_bad_arguments_of_one(make, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**parameters)

    text = str(caught.value)
    assert text.startswith(f"{make.__name__} expects ")
    assert "\n\nHint: " in text
