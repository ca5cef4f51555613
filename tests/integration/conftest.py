"""Fixtures of the tests that put parts together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ami.config import GlobalStoreConfig, LocalStoreConfig
from tests.large_rig import Links, open_links
from tests.ring_rig import let_arenas_be_small


@pytest.fixture
def links(
    local_redis: LocalStoreConfig, cluster: GlobalStoreConfig, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Links]:
    let_arenas_be_small(monkeypatch)
    with open_links(local_redis, cluster) as opened:
        yield opened
