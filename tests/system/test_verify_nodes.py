"""`ami verify --nodes 3`: shares of a recording on three nodes beside each other, and one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami.graph.language.text import parse
from ami.lab.verify import verify
from tests.system.test_recordings import PHOTONS

pytestmark = pytest.mark.system


def test_three_nodes_give_what_one_process_gives_to_the_last_bit(recordings: Path) -> None:
    said: list[str] = []
    uri = f"hdf5://{recordings}/m82_photons.h5"
    found = verify(parse(PHOTONS), uri, nodes=3, workers=1, say=said.append)
    assert [(one.difference, one.deviation) for one in found] == [("", 0.0)] * 3
    assert {len(one.node.nodes) for one in found if one.node is not None} == {3}
    assert said[-1] == "through 3 nodes, each with a share of the events and with 1 workers"
