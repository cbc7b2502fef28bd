"""The (wrapper, estimator) pairs that every contract runs over.

Inner estimators are cheap and seeded inside, so that two runs of one check agree.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from sklearn.cluster import Birch, KMeans, MiniBatchKMeans
from sklearn.covariance import EllipticEnvelope
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import (
    PCA,
    IncrementalPCA,
    LatentDirichletAllocation,
    MiniBatchDictionaryLearning,
    MiniBatchNMF,
    TruncatedSVD,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    Ridge,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.mixture import GaussianMixture
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeRegressor
from sklearn.utils import get_tags

from dfml import IID, Incremental, ParallelPostFit
from dfml.testing import Table, example_table


@dataclass(frozen=True)
class Pair:
    """One estimator of dfml and the bare one that it must behave like."""

    wrapped: Any
    bare: Any

    def lazy_table(self) -> Table:
        """Make the table for the lazy checks; some tags do not say that y is needed."""
        needs_y = isinstance(self.bare, SelectKBest)
        return example_table(LogisticRegression() if needs_y else self.bare)

    @property
    def wrapper(self) -> str:
        """The class of dfml, or the package of those that are scikit-learn's."""
        outer = type(self.wrapped)
        is_iid = outer.__module__.startswith("dfml.iid")
        return "dfml.iid" if is_iid else outer.__name__

    def __str__(self) -> str:
        return f"{self.wrapper}({type(self.bare).__name__})"


def iid_class(estimator: Any) -> Any:
    """Make the estimator of ``dfml.iid`` with the same parameters."""
    parent = type(estimator)
    public = parent.__module__.split(".")[1]
    module = importlib.import_module(f"dfml.iid.{public}")
    return getattr(module, parent.__name__)(**estimator.get_params(deep=False))


WITH_PARTIAL_FIT = [
    SGDClassifier(random_state=0),
    SGDRegressor(random_state=0),
    Perceptron(random_state=0),
    SGDOneClassSVM(random_state=0),
    GaussianNB(),
    MultinomialNB(),
    BernoulliNB(),
    ComplementNB(),
    CategoricalNB(),
    MiniBatchKMeans(2, n_init=1, random_state=0),
    Birch(n_clusters=2),
    IncrementalPCA(1),
    MiniBatchDictionaryLearning(2, max_iter=3, random_state=0),
    MiniBatchNMF(2, max_iter=3, random_state=0),
    LatentDirichletAllocation(2, max_iter=2, random_state=0),
    StandardScaler(),
    MinMaxScaler(),
    MaxAbsScaler(),
    BernoulliRBM(2, n_iter=2, random_state=0),
    MLPClassifier((4,), max_iter=5, random_state=0),
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=5, random_state=0),
]
IN_MEMORY = [
    LogisticRegression(),
    Ridge(),
    DecisionTreeClassifier(random_state=0),
    KMeans(2, n_init=1, random_state=0),
    PCA(random_state=0),
    GaussianMixture(random_state=0),
    IsolationForest(n_estimators=5, random_state=0),
    LinearSVC(random_state=0),
    MinMaxScaler(),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
ON_A_SAMPLE = [
    LogisticRegression(),
    Ridge(),
    KNeighborsClassifier(),
    ExtraTreeRegressor(random_state=0),
    LinearDiscriminantAnalysis(),
    GaussianNB(),
    SelectKBest(),
    SimpleImputer(),
    HistGradientBoostingClassifier(max_iter=5, random_state=0),
    PLSRegression(1),
    EllipticEnvelope(random_state=0),
    MultiOutputRegressor(Ridge()),
    TruncatedSVD(1, random_state=0),
    DummyClassifier(),
    MiniBatchKMeans(2, n_init=1, random_state=0),
]
SAME_CLASS = [
    LogisticRegression(),
    SGDClassifier(random_state=0),
    KMeans(2, n_init=1, random_state=0),
    PCA(random_state=0),
    StandardScaler(),
    DecisionTreeClassifier(random_state=0),
    RandomForestRegressor(3, random_state=0),
    GaussianNB(),
    KNeighborsRegressor(),
    OneHotEncoder(),
    IsolationForest(n_estimators=5, random_state=0),
    MiniBatchNMF(2, max_iter=3, random_state=0),
]

PAIRS: list[Pair] = [
    *(Pair(Incremental(each), each) for each in WITH_PARTIAL_FIT),
    *(Pair(ParallelPostFit(each), each) for each in IN_MEMORY),
    *(Pair(IID(each), each) for each in ON_A_SAMPLE),
    *(Pair(iid_class(each), each) for each in SAME_CLASS),
]


def one_of_each(pairs: list[Pair]) -> list[Pair]:
    """Choose the first pair of each wrapper and type of estimator."""
    kinds = [(pair.wrapper, get_tags(pair.bare).estimator_type) for pair in pairs]
    return [pairs[kinds.index(kind)] for kind in dict.fromkeys(kinds)]
