from __future__ import annotations

import pickle

from sklearn.feature_extraction.text import TfidfVectorizer

from dfml._digest import content_digest


def test_a_vectorizer_is_the_same_after_use_and_reload():
    texts = ["late again", "on time", "late late"]
    model = TfidfVectorizer(stop_words=["on"]).fit(texts)
    before = content_digest(model)
    model.transform(texts)
    assert content_digest(model) == before
    assert content_digest(pickle.loads(pickle.dumps(model))) == before
    assert content_digest(TfidfVectorizer().fit(texts)) != before
