"""`ami verify --nodes 3`: three nodes beside each other, by shares or dealt to, and one process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ami.graph.language.text import parse
from ami.lab.verify import verify
from tests.system.test_recordings import PHOTONS

pytestmark = pytest.mark.system

DETECTORS = {
    "number": {"dtype": "Scalar", "range": [0, 100], "integer": True},
    "peaks": {"dtype": "Waveform", "length": 40, "variable": True},
}
DEALT = """
results:
  shots: count(number)
  heights: histogram(peaks, 50, -5, 5)
  tallest: histogram(max(peaks), 50, -5, 5)
  sums: mean_vs(sum(peaks), key=number)
"""


def test_three_nodes_give_what_one_process_gives_to_the_last_bit(recordings: Path) -> None:
    said: list[str] = []
    uri = f"hdf5://{recordings}/m82_photons.h5"
    found = verify(parse(PHOTONS), uri, nodes=3, workers=1, say=said.append)
    assert [(one.difference, one.deviation) for one in found] == [("", 0.0)] * 3
    assert {len(one.node.nodes) for one in found if one.node is not None} == {3}
    assert said[-1] == "through 3 nodes, each with a share of the events, and with 1 workers"


def test_a_sender_deals_fields_of_variable_length_to_three_nodes_exactly(tmp_path: Path) -> None:
    path = tmp_path / "detectors.json"
    path.write_text(json.dumps({"interval": 0.01, "config": DETECTORS}))
    found = verify(
        parse(DEALT),
        f"sim://{path}?stop=2000&rate=max",
        nodes=3,
        deal=True,
        workers=1,
        say=lambda _text: None,
    )
    assert [one.difference for one in found] == [""] * 4
    assert {one.node.events.expected for one in found if one.node is not None} == {2000}
