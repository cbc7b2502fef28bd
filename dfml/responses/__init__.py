"""The response methods: predict, transform and others, made from one table."""

from __future__ import annotations
