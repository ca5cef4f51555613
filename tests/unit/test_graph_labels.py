"""Units and names of axes, from the fields of a source to results."""

from __future__ import annotations

import pytest

from ami.graph.execution.bind import bind
from ami.graph.execution.labels import labels
from ami.graph.language.text import graph_of
from ami.values import Label

UNITS = {"camera": "ADU", "energy": "mJ", "loss": "mJ", "delay": "ps", "laser": ""}


@pytest.mark.parametrize(
    ("definition", "label"),
    [
        ("mean_events(sum(roi(camera, rows=0:2)))", Label("ADU")),
        ("last(energy where laser == 1)", Label("mJ")),
        ("moments(energy - loss)", Label("mJ")),
        ("sum_events(-energy + 3)", Label("mJ")),
        ("max_events(energy - delay)", Label()),
        ("mean_events(energy / loss)", Label()),
        ("mean_events(energy * 2)", Label()),
        ("count(energy)", Label()),
        ("max_events(timestamp)", Label("ns")),
        ("histogram(energy, 10, 0, 1)", Label("", (("energy", "mJ"),))),
        ("histogram(energy - loss, 10, 0, 1)", Label("", (("", "mJ"),))),
        ("histogram2d(delay, energy, 2, 0, 1, 2, 0, 1)", Label("", (("delay", "ps"), ("energy", "mJ")))),
        ("mean_vs(energy, key=delay)", Label("mJ", (("delay", "ps"),))),
        ('mean_vs(energy, key=delay, window="5 events")', Label("mJ", (("delay", "ps"),))),
        ("mean_vs(energy, delay) - mean_vs(loss, delay)", Label("mJ", (("delay", "ps"),))),
        ("mean_vs(energy, delay) / mean_vs(loss, delay)", Label("", (("delay", "ps"),))),
        ("pick(energy, loss, count=3)", Label("mJ")),
        ("pick(energy, delay, count=3)", Label()),
    ],
)
def test_what_passes_values_on_keeps_their_unit_and_what_may_change_it_drops_it(
    definition: str, label: Label
) -> None:
    graph = graph_of(f"results: {{r: '{definition}'}}")
    assert labels(graph, bind(graph), UNITS)["r"] == label
