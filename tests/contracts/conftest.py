"""The stores under contract: the double, and the real ones of both tiers."""

from __future__ import annotations

import pytest

from ami.stores import MemoryStore, Store
from tests.conftest import PREFIX

KINDS = [
    "memory",
    pytest.param("local_store", marks=pytest.mark.integration),
    pytest.param("global_store", marks=pytest.mark.integration),
    pytest.param("three_masters_store", marks=pytest.mark.integration),
]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store."""
    if request.param == "memory":
        return MemoryStore(PREFIX)
    real: Store = request.getfixturevalue(request.param)
    return real
