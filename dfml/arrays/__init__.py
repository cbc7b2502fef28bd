"""Rows as arrays: what an estimator is given, and its answers as labelled frames."""

from __future__ import annotations
