"""Where rows go: tables on disk that appear as a whole or not at all."""

from __future__ import annotations
