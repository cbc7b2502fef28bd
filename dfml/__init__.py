"""Train and run scikit-learn models on tables larger than memory."""

from __future__ import annotations

__all__: list[str] = []
