"""A node was away and others got its events: what of them is in the store stays, and no more comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.daemons.process.fencing import give_up
from ami.daemons.reduction.assembly import Assembly
from ami.daemons.reduction.local_reducer import LocalReducerStage
from ami.daemons.source.home import RingHome
from ami.event import Transition
from ami.messages.batch import Batch, Mark
from ami.messages.large import LargeBatch, LargeMark, SpanEnd
from ami.messages.message import expect
from ami.stores import keys
from ami.stores.membership import Members
from tests.daemons_rig import GRAPH, Shift, publish_graph, setup, steps
from tests.integration.test_daemons_local_reducer import Hands, Node, total
from tests.ring_rig import ring_name

pytestmark = pytest.mark.integration


@pytest.fixture
def node(local_redis: LocalStoreConfig, cluster: GlobalStoreConfig) -> Iterator[Node]:
    publish_graph(cluster, GRAPH)
    with ring_name() as name:
        node = Node(local_redis, cluster, name)
        yield node
        node.close()


def fence(node: Node, ring_id: int = 0) -> int:
    """Fence the node as another one does; return up to which position the store has its events."""
    other = RingHome(setup(node.config, local=node.local, cluster=node.cluster), node.shift.ring)
    return other.fence(node.host, ring_id or node.shift.ring.ring_id)


def bring(node: Node, stage: LocalReducerStage, hands: Hands, events: int) -> None:
    """Have some events reduced."""
    before = len(node.batches())
    node.shift.interval(events)
    assert hands.work() == events
    steps(stage, lambda: len(node.batches()) > before)


def begin_anew(node: Node) -> Hands:
    """Leave the ring for a new one, as the source does."""
    node.shift.close()
    node.shift = Shift(node.config.ring.name)
    return node.hands()


def test_what_a_node_has_not_brought_home_when_it_is_fenced_it_brings_no_more(node: Node) -> None:
    stage, hands = node.stage(), node.hands()
    bring(node, stage, hands, 5)
    node.shift.interval(7)
    assert hands.work() == 7
    assert fence(node) == 5
    steps(stage, lambda: node.shift.ring.taken)
    assert total(node.batches()) == sum(range(5))
    hands.reader.close()
    hands = begin_anew(node)
    bring(node, stage, hands, 3)
    assert total(node.batches()) == sum(range(5)) + sum(range(3))
    assert node.flushes_left() == 0
    stage.close()
    hands.reader.close()


def test_who_follows_a_fenced_reducer_knows_of_it(node: Node) -> None:
    stage, hands = node.stage(), node.hands()
    bring(node, stage, hands, 5)
    stage.close()
    node.shift.interval(7)
    assert hands.work() == 7
    assert fence(node) == 5
    stage = node.stage()
    steps(stage, lambda: node.shift.ring.taken)
    hands.reader.close()
    hands = begin_anew(node)
    bring(node, stage, hands, 3)
    assert total(node.batches()) == sum(range(5)) + sum(range(3))
    assert node.flushes_left() == 0
    stage.close()
    hands.reader.close()


def test_a_node_that_has_left_its_ring_before_it_hears_that_it_was_fenced_brings_nothing_of_it(
    node: Node,
) -> None:
    stage, hands = node.stage(), node.hands()
    bring(node, stage, hands, 5)
    node.shift.interval(7)
    assert hands.work() == 7
    assert fence(node) == 5
    hands.reader.close()
    hands = begin_anew(node)
    bring(node, stage, hands, 3)
    assert total(node.batches()) == sum(range(5)) + sum(range(3))
    assert node.flushes_left() == 0
    stage.close()
    hands.reader.close()


def test_a_fence_that_comes_late_takes_nothing_from_the_ring_after(node: Node) -> None:
    stage, hands = node.stage(), node.hands()
    bring(node, stage, hands, 5)
    earlier = node.shift.ring.ring_id
    hands.reader.close()
    hands = begin_anew(node)
    node.shift.interval(3)
    assert hands.work() == 3
    assert fence(node, earlier) == 5
    steps(stage, lambda: total(node.batches()) == sum(range(5)) + sum(range(3)))
    assert not node.shift.ring.taken
    stage.close()
    hands.reader.close()


def test_what_the_large_lane_lacks_of_a_fenced_node_is_counted_as_dropped_once(node: Node) -> None:
    ring = node.shift.ring.ring_id
    mark = Mark(batch=0, ring=ring, next_entry=9, late=(), flushes={}, positions={ring: 100})
    end = SpanEnd(position=70, interval=7, interval_ns=50, run=3, graph_version=1)
    node.reducer.put(keys.mark(node.host), mark)
    node.reducer.put(keys.large_mark(node.host), LargeMark(batch=0, places={ring: (5, 0)}, ends={ring: end}))
    assert fence(node) == 100
    assert fence(node) == 100, "the first answer was lost"
    (record,) = node.reducer.journal(keys.large_inbox(node.host)).read()
    batch = expect(LargeBatch, record.value)
    (part,) = batch.intervals
    assert (part.interval, part.expected, part.dropped, batch.run) == (7, 30, 30, 3)
    assert batch.complete


def test_a_node_that_never_brought_anything_has_nothing_in_the_store(node: Node) -> None:
    hands = node.hands()
    node.shift.interval(7)
    assert hands.work() == 7
    assert fence(node) == 0
    stage = node.stage()
    steps(stage, lambda: node.shift.ring.taken)
    assert node.batches() == []
    stage.close()
    hands.reader.close()


def test_what_a_machine_had_not_delivered_is_given_up_once_and_counted(node: Node) -> None:
    """Its results say how many events they lack; and should it come back, it brings none of them."""
    stage, hands = node.stage(), node.hands()
    node.shift.transition(Transition.BEGIN_RUN)
    bring(node, stage, hands, 5)
    node.shift.interval(7)
    assert hands.work() == 7
    assembly = Assembly(lambda _version: GRAPH)
    take_in(node, assembly)
    node.reducer.put(keys.CHECKPOINT, assembly.to_checkpoint())
    assert give_up(node.reducer, node.host, 12) == 7
    assert give_up(node.reducer, node.host, 12) == 0
    take_in(node, assembly)
    steps(stage, lambda: node.shift.ring.taken)
    take_in(node, assembly)
    (shots,) = [one for one in assembly.results(Members(here=frozenset({node.host}))) if one.name == "shots"]
    assert (shots.events.expected, shots.events.used, shots.events.dropped) == (12, 5, 7)
    stage.close()
    hands.reader.close()


def take_in(node: Node, assembly: Assembly) -> None:
    """Merge what is in the node's inbox beyond what was merged."""
    for record in node.inbox.read(assembly.applied.get(node.host, 0)):
        assembly.apply(node.host, record.number, expect(Batch, record.value))
