"""Sender and nodes die, freeze, and come back, in any order; in the end the store has each event once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from ami.daemons.source import feeder
from ami.daq import player
from ami.graph.language.text import graph_of
from ami.sources import open_source
from ami.sources.live import dealt
from tests.daq_rig import Deal, Node, Stored, until
from tests.ring_rig import ring_name

GRAPH = graph_of("results: {sum: sum_events(delay), lit: count(laser)}").at_version(1)
EVENTS = 6000
URI = f"sim://scalars?rate=max&stop={EVENTS}"


def times(uri: str) -> list[int]:
    source = open_source(uri)
    span = source.span(0, EVENTS)
    found: list[int] = span.timestamps.tolist()  # type: ignore[union-attr]
    return found


class World:
    """A sender and its nodes, of which any may be dead or frozen."""

    def __init__(self, stack: ExitStack, folder: Path, nodes: int, uri: str = URI, **how: object) -> None:
        self.folder, self._uri, self._how = folder, uri, how
        self.stored = Stored()
        self.rings = [stack.enter_context(ring_name()) for _ in range(nodes)]
        self.deal: Deal | None = Deal(uri, folder, **how)
        self.port = self.deal.port
        self.nodes: list[Node | None] = [self._node(n) for n in range(nodes)]
        self.frozen: set[int] = set()
        stack.callback(self.close)

    def _node(self, number: int) -> Node:
        return Node(f"node{number}", self.rings[number], self.port, GRAPH, self.stored)

    def kill_sender(self) -> None:
        if self.deal is not None and not self.is_done():  # who has finished would begin again
            self.deal.die()
            self.deal = None

    def start_sender(self) -> None:
        self.deal = self.deal or Deal(self._uri, self.folder, port=self.port, **self._how)

    def kill(self, number: int, *, ring: bool = False) -> None:
        """Kill a node's source; with its ``ring``, as a machine that burns."""
        node = self.nodes[number]
        if node is None:
            return
        if ring:
            node.leave()
        node.die()
        self.nodes[number] = None

    def start(self, number: int) -> None:
        self.nodes[number] = self.nodes[number] or self._node(number)
        self.frozen.discard(number)

    def step(self) -> None:
        if self.deal is not None:
            self.deal.player.step()
        for number, node in enumerate(self.nodes):
            if node is not None and number not in self.frozen:
                node.step()
                node.store(200)

    def is_done(self) -> bool:
        return self.deal is not None and self.deal.player.finished

    def close(self) -> None:
        if self.deal is not None:
            self.deal.die()
        for number in range(len(self.nodes)):
            self.kill(number, ring=True)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(feeder, "WAIT_S", 0.002)
    monkeypatch.setattr(player, "WAIT_S", 0.002)
    monkeypatch.setattr(player, "BLOCK_EVENTS", 100)
    with ExitStack() as opened:
        yield opened


def check(world: World) -> None:
    assert world.deal is not None
    figures = world.deal.player.figures()
    assert (figures["lost"], figures["unknown"], figures["kept_bytes"]) == (0, 0, 0)
    assert [time_ns for time_ns, _ in world.stored.all()] == times(world._uri)
    assert len({run for _, run in world.stored.all()}) == 1, "all of one run"


@pytest.mark.parametrize("seed", range(6))
def test_each_event_is_in_the_store_once_whatever_dies(stack: ExitStack, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    world = World(stack, tmp_path, nodes=3, lease_s=0.3)
    for _ in range(14):
        for _ in range(draw.choice([1, 5, 20, 60])):
            world.step()
        number = draw.randrange(3)
        draw.choice([
            world.kill_sender,
            world.start_sender,
            lambda n=number: world.kill(n),
            lambda n=number: world.kill(n, ring=True),
            lambda n=number: world.frozen.add(n),
            lambda n=number: world.start(n),
            lambda n=number: world.start(n),
        ])()  # fmt: skip
    world.start_sender()
    for number in range(2):  # the third stays as it is: dead, frozen, or well
        world.start(number)
    until(world.is_done, world.step, what=f"the end, of seed {seed}")
    check(world)


def test_a_frozen_node_loses_its_events_to_the_others_and_begins_anew(
    stack: ExitStack, tmp_path: Path
) -> None:
    world = World(stack, tmp_path, nodes=2, lease_s=0.3)
    until(lambda: len(world.stored.events) == 2, world.step, what="both have some")
    world.frozen.add(1)
    until(world.is_done, world.step, what="the end without it")
    check(world)
    world.frozen.clear()
    assert world.nodes[1] is not None
    until(lambda: world.nodes[1].left == 1, world.step, what="it hears of it")  # type: ignore[union-attr]
    check(world)


def test_a_node_that_is_back_within_its_lease_goes_on_where_it_was(stack: ExitStack, tmp_path: Path) -> None:
    world = World(stack, tmp_path, nodes=2, lease_s=60)
    until(lambda: len(world.stored.events) == 2, world.step, what="both have some")
    world.kill(0)
    for _ in range(50):
        world.step()
    world.start(0)
    until(world.is_done, world.step, what="the end")
    check(world)
    assert world.deal is not None
    assert world.deal.player.figures()["again"] == 0
    assert world.stored.void == {}


def test_a_node_with_another_ring_is_fenced_by_itself_and_gets_the_events_again(
    stack: ExitStack, tmp_path: Path
) -> None:
    world = World(stack, tmp_path, nodes=1, lease_s=60)
    until(lambda: world.stored.events, world.step, what="it has some")
    assert world.deal is not None
    for _ in range(20):
        world.deal.player.step()
        world.nodes[0].step()  # type: ignore[union-attr]  # nothing of this comes into the store
    world.kill(0, ring=True)
    world.start(0)
    until(world.is_done, world.step, what="the end")
    check(world)
    assert world.deal.player.figures()["again"] > 0


def test_a_slow_node_gets_less_and_holds_nobody_up(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dealt, "CREDIT_BYTES", 20_000)  # of events of 56 bytes
    world = World(stack, tmp_path, nodes=2, lease_s=60)
    slow, quick = world.nodes
    assert slow is not None
    assert quick is not None
    until(lambda: len(world.stored.events) == 2, world.step, what="both have some")
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        assert world.deal is not None
        world.deal.player.step()
        quick.step()
        quick.store()
        if steps % 10 == 0:
            slow.step()
            slow.store(50)

    until(world.is_done, step, what="the end")
    check(world)
    shares = {node: len(events) for (node, _), events in world.stored.events.items()}
    assert shares[slow.node] < shares[quick.node]


def test_what_finds_no_room_is_dropped_and_counted_where_the_source_does_not_wait(
    stack: ExitStack, tmp_path: Path
) -> None:
    world = World(stack, tmp_path, nodes=1, drop=True, keep_bytes=50_000)
    node = world.nodes[0]
    assert node is not None
    assert world.deal is not None
    until(lambda: node.feeder is not None, world.step, what="it is there")
    until(lambda: world.deal.player._is_over, world.deal.player.step, node.step, what="all is read")  # type: ignore[union-attr]
    until(world.is_done, world.step, what="the end")
    lost, cursor = world.deal.player.figures()["lost"], node.writer.cursor
    assert lost > 0
    assert cursor.published + lost == EVENTS
    assert cursor.dropped + world.deal.dealer.owed == lost, "what is behind the last event nobody was told"
    assert [t for t, _ in world.stored.all()] == sorted({t for t, _ in world.stored.all()})
    assert np.isin([t for t, _ in world.stored.all()], times(URI)).all()
