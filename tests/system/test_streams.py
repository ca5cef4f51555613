"""A stream through a whole node: what was sent is reduced or counted, whoever dies or falls silent."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ami.client.status import ProcessStatus
from tests.system.conftest import Experiment, StartNode
from tests.waiting import wait_until
from tests.zmq_rig import Sender

pytestmark = pytest.mark.system

RATE_HZ = 2000
GRAPH = """
results:
  events: count(x)
  each: histogram(x, 100000, 0, 100000)
"""


class Beam(threading.Thread):
    """Sends events at a rate, ``x`` of each its number, while it is on."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(daemon=True)
        self.sender = sender
        self.on = threading.Event()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            if not self.on.wait(0.05):
                continue
            began = time.monotonic()
            for _ in range(RATE_HZ // 100):
                self.sender.send(time.time_ns(), x=float(self.sender.sequence))
            time.sleep(max(0.0, began + 0.01 - time.monotonic()))

    def send(self, count: int) -> None:
        """Send so many more events, and rest."""
        upto = self.sender.sequence + count
        self.on.set()
        wait_until(lambda: self.sender.sequence >= upto, what="events that are sent")
        self.rest()

    def rest(self) -> None:
        self.on.clear()
        sent = -1
        while sent != self.sender.sequence:  # until the last bunch is out
            sent = self.sender.sequence
            time.sleep(0.1)

    def stop(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def beam() -> Iterator[Beam]:
    with Sender() as sender:
        made = Beam(sender)
        made.start()
        try:
            yield made
        finally:
            made.stop()


def source_of(experiment: Experiment) -> ProcessStatus:
    found = [p for p in experiment.client.status().processes if p.type == "source"]
    assert found
    return found[0]


def quiet_s(experiment: Experiment) -> int:
    said = re.fullmatch(r"waiting: no events for (\d+) s from zmq://.*", source_of(experiment).state)
    return int(said[1]) if said else 0


def position(experiment: Experiment) -> float:
    return (source_of(experiment).counters or {}).get("position", -1)


def wait_for_source(experiment: Experiment, words: str) -> None:
    wait_until(lambda: words in source_of(experiment).state, what=f"a source that says {words!r}")


def has_all(experiment: Experiment, beam: Beam) -> bool:
    """Whether the source has passed all that was sent; what it never heard is told by one more event."""
    if position(experiment) == beam.sender.sequence:
        return True
    beam.sender.send(time.time_ns(), x=float(beam.sender.sequence))
    return False


def test_what_is_sent_is_reduced_or_counted_while_the_source_dies_and_the_sender_rests(
    start_node: StartNode,
) -> None:
    with beam() as on:
        experiment = start_node(f"zmq://127.0.0.1:{on.sender.port}")
        wait_for_source(experiment, "waiting: for the first event of zmq://")
        on.sender.wait_for()
        on.send(1)  # the fields are learned from the first event
        wait_until(lambda: position(experiment) == on.sender.sequence, what="the first events")
        experiment.client.set(GRAPH)
        wait_until(lambda: counts(experiment, on), what="the graph at the source")
        wait_until(lambda: settled(experiment, on.sender.sequence), what="the first events' account")
        before = on.sender.sequence - expected(experiment)  # events before the source heard of the graph
        on.on.set()
        for _ in range(2):
            at = on.sender.sequence
            wait_until(lambda at=at: position(experiment) > at + RATE_HZ, what="events")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            experiment.node.kill("source")
        at = on.sender.sequence
        wait_until(lambda: position(experiment) > at + RATE_HZ, what="events after both deaths")
        on.rest()

        wait_until(lambda: quiet_s(experiment) >= 4, what="a source that says how quiet it is")
        status = experiment.client.status()
        assert status.problems == ()
        quiet = source_of(experiment).pid
        on.send(RATE_HZ)
        wait_until(lambda: has_all(experiment, on), what="the last event")
        assert source_of(experiment).pid == quiet

        sent = on.sender.sequence
        wait_until(lambda: settled(experiment, sent), what="every event in its account")
        identity = experiment.client.status().identity
        assert identity is not None
        assert 0 < identity.dropped < sent
        wait_until(lambda: expected(experiment) >= sent - before, what="the last event's result")
        each = experiment.client.get("each")
        assert each.value.counts.max() == 1
        assert each.value.counts.sum() == each.events.used
        assert each.events.used + each.events.dropped == each.events.expected


def counts(experiment: Experiment, beam: Beam) -> bool:
    """Send one more event; whether some was counted in the result."""
    beam.send(1)
    return expected(experiment) > 0


def expected(experiment: Experiment) -> int:
    result = experiment.client.results().get("each")
    return 0 if result is None else result.events.expected


def settled(experiment: Experiment, sent: int) -> bool:
    identity = experiment.client.status().identity
    return identity is not None and identity.under_way == 0 and identity.published == sent


def test_a_sender_that_begins_anew_is_heard_again(start_node: StartNode) -> None:
    with Sender(session="one") as first:
        port = first.port
        experiment = start_node(f"zmq://127.0.0.1:{port}")
        first.wait_for()
        for _ in range(100):
            first.send(time.time_ns(), x=1.0)
        wait_until(lambda: position(experiment) == 100, what="the first sender's events")
    with Sender(port, session="two") as second:
        second.sequence = 7  # seven came before anybody heard it
        second.wait_for()
        for _ in range(40):
            second.send(time.time_ns(), x=2.0)
        wait_until(lambda: position(experiment) == 47, what="the second sender's events")
        wait_until(lambda: settled(experiment, 147), what="every event in its account")
        counters = source_of(experiment).counters or {}
        assert (counters["published"], counters["dropped"], counters["lost"]) == (140, 7, 7)
