"""The stores under contract: of both tiers, and of a cluster of several nodes."""

from __future__ import annotations

import pytest

from ami.stores import Store


@pytest.fixture(params=["local_store", "global_store", "three_masters_store"])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store."""
    real: Store = request.getfixturevalue(request.param)
    return real
