"""Estimators of sklearn.feature_extraction.image, fitted on the first partition."""

from __future__ import annotations

from dfml.iid._classes import iid_namespace

__getattr__, __dir__, __all__ = iid_namespace(
    "sklearn.feature_extraction.image", __name__
)
