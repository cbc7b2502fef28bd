"""The sequence of ``partial_fit``: its steps, and where they run."""

from __future__ import annotations
