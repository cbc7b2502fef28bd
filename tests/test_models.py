from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from types import ModuleType

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    kernel_approximation,
    linear_model,
    mixture,
    model_selection,
    multioutput,
    naive_bayes,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_array
from skops import io as skops_io

import dfml.iid.ensemble
import dfml.iid.linear_model
import dfml.iid.preprocessing
from dfml import IID, Incremental, ParallelPostFit
from dfml._trust import TRUSTED, iid_types, walk_states
from dfml.exceptions import (
    DfmlWarning,
    EstimatorTypeError,
    InputTypeError,
    ModelFileError,
    UntrustedTypeError,
)
from dfml.models import (
    ModelCard,
    inspect_model,
    load_model,
    save_model,
)

RESPONSES = ("predict", "predict_proba", "decision_function", "transform")
FEATURES = ["a", "b", "c"]


def make_table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((60, 3)), columns=FEATURES)
    table["late"] = np.where(table["a"] + table["b"] > 1, "yes", "no")
    return table


TABLE = make_table()
X, LABEL = TABLE[FEATURES], TABLE["late"]
NUMBER = TABLE["a"] * 2 + TABLE["c"]
BOTH = pd.DataFrame({"p": NUMBER, "q": TABLE["b"]})
CITY = TABLE.assign(city=["Bonn", "Rome", "Oslo"] * 20)[[*FEATURES, "city"]]


def mlp(kind, **how):
    # Without early_stopping a short training would warn that it has not converged.
    return kind(
        hidden_layer_sizes=(4,), max_iter=200, tol=10, n_iter_no_change=2, **how
    )


def columns(**how):
    return compose.ColumnTransformer(
        [
            ("words", preprocessing.OneHotEncoder(), ["city"]),
            ("numbers", preprocessing.StandardScaler(), ["a", "b"]),
        ],
        **how,
    )


MATRIX = {
    "AdaBoost": (ensemble.AdaBoostClassifier(n_estimators=5), X, LABEL),
    "Bagging": (ensemble.BaggingClassifier(max_features=2), X, LABEL),
    "Calibrated": (calibration.CalibratedClassifierCV(cv=2), X, LABEL),
    "DecisionTree": (tree.DecisionTreeClassifier(), X, LABEL),
    "DecisionTreePruned": (tree.DecisionTreeRegressor(ccp_alpha=0.01), X, NUMBER),
    "ExtraTrees": (ensemble.ExtraTreesRegressor(5), X, BOTH),
    "GaussianMixture": (mixture.GaussianMixture(2), X, None),
    "GaussianNB": (naive_bayes.GaussianNB(), X, LABEL),
    "GaussianProcess": (gaussian_process.GaussianProcessClassifier(), X, LABEL),
    "GradientBoosting": (ensemble.GradientBoostingClassifier(n_estimators=5), X, LABEL),
    "GradientBoostingR": (
        ensemble.GradientBoostingRegressor(n_estimators=5),
        X,
        NUMBER,
    ),
    "GridSearch": (
        model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [1.0, 2.0]}),
        X,
        NUMBER,
    ),
    "HistGB": (ensemble.HistGradientBoostingClassifier(max_iter=5), X, LABEL),
    "HistGBCategories": (
        ensemble.HistGradientBoostingRegressor(
            max_iter=5, min_samples_leaf=2, categorical_features="from_dtype"
        ),
        CITY.astype({"city": "category"}),
        NUMBER + 3 * (CITY["city"] == "Rome"),
    ),
    "HistGBPoisson": (
        ensemble.HistGradientBoostingRegressor(max_iter=5, loss="poisson"),
        X,
        NUMBER,
    ),
    "Imputer": (impute.SimpleImputer(), X, None),
    "Bins": (
        preprocessing.KBinsDiscretizer(2, encode="ordinal", strategy="uniform"),
        X,
        None,
    ),
    "IsolationForest": (ensemble.IsolationForest(n_estimators=5), X, None),
    "KMeans": (cluster.KMeans(3), X, None),
    "LDA": (discriminant_analysis.LinearDiscriminantAnalysis(), X, LABEL),
    "LinearSVC": (svm.LinearSVC(), X, LABEL),
    "LogisticRegression": (linear_model.LogisticRegression(), X, LABEL),
    "MLP": (mlp(neural_network.MLPClassifier), X, LABEL),
    "MLPsgd": (mlp(neural_network.MLPRegressor, solver="sgd"), X, NUMBER),
    "MultiOutput": (
        multioutput.MultiOutputRegressor(linear_model.SGDRegressor()),
        X,
        BOTH,
    ),
    "Nystroem": (kernel_approximation.Nystroem(n_components=5), X, None),
    "PCA": (decomposition.PCA(2), X, None),
    "Pipeline": (
        pipeline.make_pipeline(
            columns(remainder="passthrough"),
            feature_selection.SelectKBest(k=2),
            ensemble.RandomForestClassifier(5),
        ),
        CITY,
        LABEL,
    ),
    "RandomForest": (ensemble.RandomForestClassifier(5), X, LABEL),
    "RandomForestLimited": (
        ensemble.RandomForestRegressor(5, max_leaf_nodes=6),
        X,
        NUMBER,
    ),
    "Ridge": (linear_model.Ridge(), X, BOTH),
    "SGD": (linear_model.SGDClassifier(loss="log_loss"), X, LABEL),
    "SGDhuber": (linear_model.SGDRegressor(loss="huber"), X, NUMBER),
    "SVC": (svm.SVC(), X, LABEL),
    "Stacking": (
        ensemble.StackingClassifier(
            [("tree", tree.DecisionTreeClassifier()), ("nb", naive_bayes.GaussianNB())]
        ),
        X,
        LABEL,
    ),
    "StandardScaler": (preprocessing.StandardScaler(), X, None),
    "Tweedie": (linear_model.TweedieRegressor(power=1.5), X, NUMBER + 1),
    "Voting": (
        ensemble.VotingRegressor(
            [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor())]
        ),
        X,
        NUMBER,
    ),
}


# Names that are not scikit-learn's own are never trusted by themselves.
def assert_same_answers(loaded, model, rows):
    for name in RESPONSES:
        assert hasattr(loaded, name) == hasattr(model, name)
        if hasattr(model, name):
            found, expected = getattr(loaded, name)(rows), getattr(model, name)(rows)
            if hasattr(expected, "compute"):
                found, expected = found.compute(), expected.compute()
                pd.testing.assert_index_equal(found.index, expected.index)
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.fixture(scope="module")
def ddf():
    return dd.from_pandas(TABLE, npartitions=3)


@pytest.fixture(scope="module")
def model(ddf):
    estimator = linear_model.SGDClassifier(loss="log_loss", random_state=0)
    return Incremental(estimator, epochs=2).fit(ddf, y="late")


@pytest.fixture
def path(model, tmp_path):
    return save_model(model, tmp_path / "model.skops")


def rewritten(path, **members):
    """Write the zip anew with other members, and no digest or card."""
    with zipfile.ZipFile(path) as archive:
        content = {n: archive.read(n) for n in archive.namelist() if n != "dfml.json"}
    content.update({name.replace("_json", ".json"): v for name, v in members.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


# What goes in comes out


@pytest.mark.parametrize("name", MATRIX)
def test_scikit_learn_estimators_need_no_trust(name, tmp_path):
    estimator, rows, target = MATRIX[name]
    model = sklearn.base.clone(estimator).fit(rows, target)

    path = save_model(model, tmp_path / "model.skops")
    loaded = load_model(path)

    assert type(loaded) is type(model)
    assert_same_answers(loaded, model, rows)
    assert inspect_model(path).untrusted_types == []


def wrapped(ddf):
    forest = ensemble.RandomForestClassifier(5, random_state=0)
    sgd = linear_model.SGDClassifier(loss="log_loss", random_state=0)
    return {
        "Incremental": Incremental(sgd, epochs=2).fit(ddf, y="late"),
        "Incremental in memory": Incremental(sgd).fit(X, LABEL),
        "IID": IID(forest).fit(ddf, y="late"),
        "ParallelPostFit": ParallelPostFit(forest.fit(X, LABEL)),
        "ParallelPostFit.fit": ParallelPostFit(forest).fit(X, LABEL),
        "iid linear": dfml.iid.linear_model.LogisticRegression().fit(ddf, y="late"),
        "iid boosted": dfml.iid.ensemble.HistGradientBoostingClassifier(
            min_samples_leaf=2
        ).fit(ddf, y="late"),
        "iid scaler": dfml.iid.preprocessing.StandardScaler().fit(ddf[FEATURES]),
    }


WRAPPED = [
    "Incremental",
    "Incremental in memory",
    "IID",
    "ParallelPostFit",
    "ParallelPostFit.fit",
    "iid linear",
    "iid boosted",
    "iid scaler",
]


@pytest.mark.parametrize("name", WRAPPED)
def test_models_of_dfml_come_back_whole(name, ddf, tmp_path):
    model = wrapped(ddf)[name]

    loaded = load_model(save_model(model, tmp_path / "model.skops"))

    assert type(loaded) is type(model)
    assert loaded._contract == model._contract
    assert loaded._schemas == model._schemas
    assert repr(loaded.get_params()) == repr(model.get_params())
    assert_same_answers(loaded, model, X)
    assert_same_answers(loaded, model, ddf)
    if hasattr(model, "score") and model._contract is not None:
        assert loaded.score(ddf) == model.score(ddf)


def test_training_goes_on_from_a_loaded_model(model, path, ddf):
    loaded = load_model(path)
    expected = load_model(path)

    loaded.partial_fit(ddf, y="late")
    expected.partial_fit(ddf, y="late")

    assert loaded.n_partitions_seen_ == model.n_partitions_seen_ + 3
    np.testing.assert_array_equal(loaded.coef_, expected.coef_)
    assert (loaded.coef_ != model.coef_).any()


def test_plain_skops_files_are_read(tmp_path):
    model = linear_model.Ridge().fit(X, NUMBER)
    skops_io.dump(model, tmp_path / "plain.skops")

    loaded = load_model(tmp_path / "plain.skops")
    card = inspect_model(tmp_path / "plain.skops")

    assert_same_answers(loaded, model, X)
    assert card.estimator == "sklearn.linear_model._ridge.Ridge"
    assert card.sklearn_version == sklearn.__version__
    assert card.dfml_version is None


def test_save_returns_the_path_and_replaces(model, tmp_path):
    path = save_model(linear_model.Ridge().fit(X, NUMBER), str(tmp_path / "m.skops"))
    again = save_model(model, path)

    assert path == again == tmp_path / "m.skops"
    assert isinstance(load_model(str(path)), Incremental)
    assert os.listdir(tmp_path) == ["m.skops"]


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letters.txt", "kept")


@pytest.mark.parametrize(
    "make",
    [lambda path: path.write_text("SELECT 1"), zipped, lambda path: path.mkdir()],
)
def test_other_files_are_not_replaced(make, tmp_path):
    path = tmp_path / "model.skops"
    make(path)
    before = path.is_file() and path.read_bytes()

    with pytest.raises(ModelFileError, match=r"model\.skops, a f"):
        save_model(linear_model.Ridge().fit(X, NUMBER), path)

    assert before == (path.is_file() and path.read_bytes())
    assert os.listdir(tmp_path) == ["model.skops"]


def test_an_empty_file_and_a_plain_skops_file_are_replaced(tmp_path):
    model = linear_model.Ridge().fit(X, NUMBER)
    empty, plain = tmp_path / "empty", tmp_path / "plain"
    empty.touch()
    skops_io.dump(model, plain)
    for path in (empty, plain):
        assert inspect_model(save_model(model, path)).dfml_version is not None


# What cannot be saved


def test_unfitted_models_are_refused(tmp_path):
    with pytest.raises(NotFittedError):
        save_model(Incremental(linear_model.SGDClassifier()), tmp_path / "m.skops")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("thing", [{"coef": 1}, linear_model.Ridge])
def test_what_is_no_estimator_is_refused(thing, tmp_path):
    with pytest.raises(EstimatorTypeError, match="fitted estimator"):
        save_model(thing, tmp_path / "m.skops")


def lock_inside():
    model = linear_model.Ridge().fit(X, NUMBER)
    model.stream_ = io.TextIOWrapper(io.BytesIO())
    return model


def encoder_of_objects():
    values = pd.Series([pd.Timestamp("2020"), pd.Timestamp("2021")], dtype=object)
    return preprocessing.OrdinalEncoder().fit(values.to_frame("at"))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: cluster.Birch(threshold=0.1).fit(X), "Birch"),
        (lambda: preprocessing.FunctionTransformer(lambda x: x).fit(X), "<lambda>"),
        (lock_inside, "TextIOWrapper"),
        (encoder_of_objects, "OrdinalEncoder with parts that cannot be read again"),
    ],
)
def test_what_cannot_be_stored_is_named(make, name, tmp_path):
    old = save_model(linear_model.Ridge().fit(X, NUMBER), tmp_path / "m.skops")
    before = old.read_bytes()

    with pytest.raises(ModelFileError, match=name):
        save_model(make(), old)

    assert old.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.skops"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(step, model, path, monkeypatch):
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    owner = os if step == "fsync" else Path
    monkeypatch.setattr(owner, step, fail)

    with pytest.raises(OSError, match="disk full"):
        save_model(linear_model.Ridge().fit(X, NUMBER), path)

    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


# Damage


def test_a_missing_file_is_missing(tmp_path):
    for read in (load_model, inspect_model):
        with pytest.raises(FileNotFoundError, match=r"none\.skops"):
            read(tmp_path / "none.skops")


@pytest.mark.parametrize("read", [load_model, inspect_model])
@pytest.mark.parametrize("part", range(20))
def test_truncated_files_are_refused(part, read, path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * part // 20 if part < 19 else -1])

    with pytest.raises(ModelFileError, match=r"model\.skops") as caught:
        read(path)

    assert not isinstance(caught.value, UntrustedTypeError)


def test_every_flipped_bit_is_found(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    tail = range(len(whole) - 100, len(whole))
    for position in [*rng.integers(0, len(whole), 300).tolist(), *tail]:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ModelFileError):
            load_model(path)


def test_damage_in_a_plain_skops_file_does_not_change_the_model(tmp_path):
    model = linear_model.Ridge().fit(X, NUMBER)
    whole, path = skops_io.dumps(model), tmp_path / "plain.skops"
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 300).tolist():
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            loaded = load_model(path)
        except ModelFileError:
            continue
        np.testing.assert_array_equal(loaded.coef_, model.coef_)


def test_what_is_no_model_file_is_refused(path, tmp_path):
    without_schema = tmp_path / "other.zip"
    with zipfile.ZipFile(without_schema, "w") as archive:
        archive.writestr("readme.txt", "hello")
    text = tmp_path / "text.skops"
    text.write_text("hello")
    for other in (tmp_path, without_schema, text):
        for read in (load_model, inspect_model):
            with pytest.raises(ModelFileError, match=other.name):
                read(other)


@pytest.mark.parametrize("schema", ["[]", "{}", "no json", '{"__module__": 1}'])
def test_a_broken_schema_is_refused(schema, path):
    rewritten(path, schema_json=schema)
    for read in (load_model, inspect_model):
        with pytest.raises(ModelFileError, match=r"model\.skops") as caught:
            read(path)
        assert caught.value.__cause__ is not None


# Trust


class Mean(linear_model.LinearRegression):
    """Known to nobody but this file."""

    loaded = 0

    def __setstate__(self, state):
        type(self).loaded += 1
        super().__setstate__(state)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, Mean.__module__, sys.modules[__name__])
    model = ParallelPostFit(Mean().fit(X, NUMBER))
    path = save_model(model, tmp_path / "foreign.skops")  # which tries to load it
    monkeypatch.setattr(Mean, "loaded", 0)
    return path


def test_unknown_types_are_refused_before_anything_is_made(foreign):
    name = f"{Mean.__module__}.Mean"

    with pytest.raises(UntrustedTypeError) as caught:
        load_model(foreign)

    assert Mean.loaded == 0
    assert str(foreign) in str(caught.value)
    assert f"load_model(path, trusted=['{name}'])" in str(caught.value)
    assert inspect_model(foreign).untrusted_types == [name]
    assert Mean.loaded == 0


@pytest.mark.parametrize("kind", [list, tuple, set, "".join])
def test_named_types_are_trusted(kind, foreign):
    loaded = load_model(foreign, trusted=kind([f"{Mean.__module__}.Mean"]))

    assert type(loaded.estimator).__name__ == "Mean"


@pytest.mark.parametrize("trusted", [True, [Mean]])
def test_trusted_takes_names(trusted, foreign):
    with pytest.raises(InputTypeError, match="type names"):
        load_model(foreign, trusted=trusted)


def test_other_names_do_not_help(foreign):
    with pytest.raises(UntrustedTypeError):
        load_model(foreign, trusted=["os.system", "test_models"])


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_reduce_never_runs(tmp_path):
    mark = tmp_path / "ran"
    model = linear_model.Ridge().fit(X, NUMBER)
    model.extra_ = Evil(f"touch {mark}")
    path = tmp_path / "evil.skops"
    skops_io.dump(model, path)

    (name,) = inspect_model(path).untrusted_types
    assert name.endswith(".Evil")
    with pytest.raises(UntrustedTypeError, match="Evil"):
        load_model(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("loader", "module", "name", "content"),
    [
        ("FunctionNode", "os", "system", {}),
        ("TypeNode", "subprocess", "Popen", {}),
        ("ConstructorFromReduceNode", "os", "system", ["touch"]),
        ("FunctionNode", "numpy", "dtype", {}),
        ("ConstructorFromReduceNode", "numpy", "dtype", ["O"]),
        ("ObjectNode", "dfml.iid.os", "system", {}),
        ("ObjectNode", "sklearn.evil", "Estimator", {}),
        ("ObjectNode", "dfml.evil", "Model", {}),
    ],
)
def test_crafted_schemas_are_refused(loader, module, name, content, path):
    state = {"__module__": module, "__class__": name, "__loader__": loader}
    if content:
        state["content"] = {
            "__module__": "builtins",
            "__class__": "str",
            "__loader__": "JsonNode",
            "content": json.dumps(content),
        }
    rewritten(path, schema_json=json.dumps({**state, "protocol": 2}))

    with pytest.raises(UntrustedTypeError, match=f"{module}.{name}"):
        load_model(path)


def chosen_step(function, tmp_path):
    step = preprocessing.FunctionTransformer(function).fit(X)
    return save_model(step, tmp_path / "step.skops")


@pytest.mark.parametrize(
    "function", [feature_selection.chi2, np.exp, preprocessing.scale, print]
)
def test_a_partial_is_trusted_of_one_function_only(function, tmp_path):
    path = chosen_step(functools.partial(function), tmp_path)

    assert "functools.partial" in inspect_model(path).untrusted_types
    with pytest.raises(UntrustedTypeError, match=r"functools\.partial"):
        load_model(path)


def test_a_partial_is_what_it_says_it_is(tmp_path):
    """skops takes what has an identifier for the first thing that had it."""
    check = functools.partial(check_array, dtype="float32")
    steps = pipeline.make_pipeline(
        feature_selection.SelectKBest(feature_selection.chi2, k=1),
        preprocessing.FunctionTransformer(check),
    )
    path = save_model(steps.fit(X, LABEL), tmp_path / "steps.skops")
    assert inspect_model(path).untrusted_types == []
    assert load_model(path).steps[1][1].func.func is check_array

    schema = json.loads(zipfile.ZipFile(path).read("schema.json"))
    states = {state["__class__"]: state for state in walk_states(schema)}
    states["check_array"]["__id__"] = states["chi2"]["__id__"]
    rewritten(path, schema_json=json.dumps(schema))

    with pytest.raises(UntrustedTypeError, match=r"functools\.partial"):
        load_model(path)


@pytest.mark.parametrize("gone", ["module", "class"])
def test_a_class_that_cannot_be_imported_is_no_broken_file(gone, tmp_path, monkeypatch):
    module = ModuleType("models_of_others")
    module.Slow = type("Slow", (Mean,), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    path = save_model(module.Slow().fit(X, NUMBER), tmp_path / "slow.skops")
    if gone == "module":
        monkeypatch.delitem(sys.modules, module.__name__)
    else:
        del module.Slow

    with pytest.raises(ModelFileError, match="can be imported here") as caught:
        load_model(path, trusted=["models_of_others.Slow"])
    assert "models_of_others" in str(caught.value)
    assert "PYTHONPATH" in str(caught.value)


def test_a_pickle_is_not_a_model_file(tmp_path):
    mark = tmp_path / "ran"
    path = tmp_path / "evil.skops"
    path.write_bytes(pickle.dumps(Evil(f"touch {mark}")))

    with pytest.raises(ModelFileError, match=r"evil\.skops"):
        load_model(path)
    assert not mark.exists()


def test_a_card_that_tells_another_class_is_refused(path):
    card = json.dumps({"estimator": "sklearn.linear_model._ridge.Ridge"})
    rewritten(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("dfml.json", card)
        archive.comment = b"dfml sha256 " + b"0" * 64
    content = path.read_bytes()[:-64]
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())

    for read in (load_model, inspect_model):
        with pytest.raises(ModelFileError, match="the card says"):
            read(path)


def test_trusted_names_exist_and_are_scikit_learns_or_ours():
    for name in TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert module.split(".")[0] in ("dfml", "sklearn")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute)
    assert "dfml.iid.linear_model.LogisticRegression" in iid_types()
    assert "dfml.iid.feature_extraction.text.CountVectorizer" in iid_types()


# The card


def test_the_card_describes_the_model(model, path):
    card = inspect_model(path)

    assert isinstance(card, ModelCard)
    assert card.estimator == "dfml.estimators._incremental.Incremental"
    assert card.inner_estimator.endswith(".SGDClassifier")
    assert (card.n_features, card.feature_names) == (3, FEATURES)
    assert card.feature_kinds == ["number"] * 3
    assert (card.target, card.classes) == ("late", ["no", "yes"])
    assert card.parameters["epochs"] == 2
    assert card.parameters["estimator__loss"] == "log_loss"
    assert card.sklearn_version == sklearn.__version__
    assert card.python_version == sys.version.split()[0]
    assert card.dfml_version
    assert card.file_size == path.stat().st_size
    assert json.loads(json.dumps(card.to_dict(), allow_nan=False)) == card.to_dict()


def test_the_card_shows_what_is_not_plain_data(tmp_path):
    encoder = preprocessing.OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan
    )
    model = pipeline.make_pipeline(encoder, ensemble.RandomForestClassifier(3))
    model.fit(X, BOTH.gt(0.5).to_numpy())

    card = inspect_model(save_model(model, tmp_path / "m.skops"))

    assert card.parameters["ordinalencoder__dtype"] == "numpy.float64"
    assert card.parameters["ordinalencoder__unknown_value"] == "nan"
    assert card.parameters["steps"][1][1].endswith(".RandomForestClassifier")
    assert card.inner_estimator is None
    assert card.classes == [[False, True], [False, True]]
    json.dumps(card.to_dict(), allow_nan=False)


def test_inspecting_makes_nothing(path):
    program = (
        "import sys\n"
        "from dfml.models import inspect_model\n"
        "from skops.io import _audit\n"
        "def stop(self): raise SystemExit('an object was made')\n"
        "_audit.Node.construct = stop\n"
        "print(inspect_model(sys.argv[1]).target)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "late"


# Versions


@pytest.mark.parametrize("name", ["forest", "wrapped", "plain skops"])
def test_another_version_of_scikit_learn_is_said_once(name, tmp_path, monkeypatch):
    import sklearn.base

    model = ensemble.RandomForestClassifier(3).fit(X, LABEL)
    if name == "wrapped":
        model = ParallelPostFit(model)
    path = tmp_path / "m.skops"
    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "1.2.3")
        patch.setattr(sklearn, "__version__", "1.2.3")
        skops_io.dump(model, path) if name == "plain skops" else save_model(model, path)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_model(path)

    (warning,) = caught
    assert warning.category is DfmlWarning
    assert "1.2.3" in str(warning.message)
    assert sklearn.__version__ in str(warning.message)
    assert warning.filename == __file__
    assert inspect_model(path).sklearn_version == "1.2.3"
