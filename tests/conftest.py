from __future__ import annotations

import dask
import pytest


@pytest.fixture(autouse=True)
def synchronous_scheduler():
    """Run on the synchronous scheduler unless a test asks for another."""
    with dask.config.set(scheduler="synchronous"):
        yield
