from __future__ import annotations

import pytest
from sklearn.linear_model import SGDClassifier

from dfml import Incremental
from dfml.exceptions import InputTypeError
from tests.conftest import FEATURES

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from dfml.plotting import plot_history  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("prequential", [False, True])
@pytest.mark.parametrize("validated", [False, True])
def test_lines_are_the_history(frame, table, prequential, validated):
    data = frame[[*FEATURES, "late"]]
    validation = (table[FEATURES], table["late"]) if validated else None
    clf = Incremental(SGDClassifier(random_state=0), epochs=2, prequential=prequential)
    clf.fit(data, "late", validation=validation)
    seconds, scores = plot_history(clf)
    assert [len(line.get_ydata()) for line in seconds.lines] == [12, 12, 12]
    assert len(scores.lines) == prequential + validated
    if validated:
        assert scores.lines[-1].get_ydata().tolist() == clf.validation_scores_
    if not (prequential or validated):
        assert "prequential=True" in scores.texts[0].get_text()


def test_into_given_axes(frame):
    _, axes = matplotlib.pyplot.subplots(1, 2)
    clf = Incremental(SGDClassifier()).fit(frame[[*FEATURES, "late"]], "late")
    assert list(plot_history(clf, axes=axes)) == list(axes)


def test_into_one_axes_alone(frame):
    _, ax = matplotlib.pyplot.subplots()
    clf = Incremental(SGDClassifier()).fit(frame[[*FEATURES, "late"]], "late")
    with pytest.raises(InputTypeError, match=r"a pair of matplotlib Axes\. Got 1"):
        plot_history(clf, axes=ax)


def test_of_the_estimator_inside(frame):
    clf = Incremental(SGDClassifier()).fit(frame[[*FEATURES, "late"]], "late")
    with pytest.raises(InputTypeError, match="Got SGDClassifier"):
        plot_history(clf.estimator_)
