"""What tests of dealing share: a sender that is played by hand, and nodes that are no more than a ring."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ami.daemons.source.feeder import Feeder
from ami.daq.book import FileBook, MemoryBook
from ami.daq.dealer import Dealer
from ami.daq.player import Player, load_from
from ami.daq.sender import Sender
from ami.graph.graph import Graph
from ami.ring import RingReader, RingWriter
from ami.sources import intervals, open_source
from tests.waiting import PATIENCE_S
from tests.zmq_rig import free_port

LEASE_S = 1.0


class Deal:
    """A sender of one source, stepped by hand. ``die`` lets go of what the kernel takes from a killed one."""

    def __init__(self, uri: str, folder: Path, *, port: int = 0, **how: Any) -> None:
        self.port = port or free_port()
        self.source = open_source(uri)
        self.dealer = Dealer(MemoryBook())
        told = {"interval_s": intervals.choose(self.source, 0.05) / 1e9, "interval_fixed": True, "speed": 1.0}
        load = None if self.source.live else lambda block: load_from(self.source, block)
        self.sender = Sender(
            f"127.0.0.1:{self.port}", self.source.schema, self.dealer, told=told,
            lease_s=how.pop("lease_s", LEASE_S), load=load,
        )  # fmt: skip
        self.book = FileBook(folder / "book", self.source.identity)
        event_bytes = self.source.schema.event_bytes
        self.book.open(self.dealer, event_bytes=event_bytes, replays=not self.source.live)
        settings = {"keep_bytes": 64 << 20, "barrier_s": None, "drop": False} | how
        self.player = Player(self.source, self.sender, self.book, **settings)

    def die(self) -> None:
        self.sender._socket.setsockopt(17, 0)  # LINGER: what is in its buffers is gone
        self.sender.close()
        self.book.close()
        self.source.close()


class Stored:
    """The global store, as far as it goes here: of each ring the events (time, run) that it has."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self.positions: dict[tuple[str, int], int] = {}
        self.void: dict[str, int] = {}

    def put(self, node: str, ring: int, events: list[tuple[int, int]], position: int) -> bool:
        """Take what a ring's reducer has; False: the ring is void."""
        if ring <= self.void.get(node, 0):
            return False
        self.events.setdefault((node, ring), []).extend(events)
        self.positions[node, ring] = position
        return True

    def find_position(self, node: str, ring: int) -> int:
        return self.positions.get((node, ring), 0)

    def fence(self, node: str, ring: int) -> int:
        self.void[node] = max(ring, self.void.get(node, 0))
        return self.find_position(node, ring)

    def all(self) -> list[tuple[int, int]]:
        return sorted(event for events in self.events.values() for event in events)


class Node:
    """A node's source and its ring, from which :meth:`store` brings events into the store."""

    def __init__(self, name: str, ring: str, port: int, graph: Graph, stored: Stored, **how: Any) -> None:
        self.node = name
        self._stored = stored
        options = "".join(f"?{key}={value}" for key, value in how.items())
        self.source: Any = open_source(f"daq://127.0.0.1:{port}{options}")
        self._name, self._graph = ring, graph
        self.feeder: Feeder | None = None
        self.ring = 0
        self.runs: list[int] = []
        self.left = 0  # rings that were taken from it

    # the home

    @property
    def position(self) -> int:
        return self.writer.cursor.position

    def find_safe(self) -> int:
        return self._stored.find_position(self.node, self.ring)

    @property
    def last_run(self) -> int:
        return max(self.runs, default=0)

    def fence(self, node: str, ring: int) -> int:
        return self._stored.fence(node, ring)

    # the source

    def begin(self) -> bool:
        if not self.source.ready(0.002):
            return False
        self.writer = RingWriter.create(
            self._name, self.source.schema, source_id=self.source.identity, bytes=8 << 20, max_slots=1 << 16,
            entries=512, interval_ns=intervals.choose(self.source, 0.05), policy="wait",
        )  # fmt: skip
        self.ring = self.writer.ring_id
        self.source.join(self)
        self.feeder = Feeder(
            self.source, self.writer, interval_ns=self.writer.interval_ns, drop=False,
            graph=lambda: self._graph, nap=lambda s: time.sleep(min(s, 0.001)), new_run=self._new_run,
        )  # fmt: skip
        return True

    def _new_run(self, given: int) -> int:
        self.runs.append(given)
        return given

    def step(self) -> None:
        if self.feeder is None and not self.begin():
            return
        assert self.feeder is not None
        self.source.tend()
        if self.source.was_taken:
            self.leave()
            return
        self.feeder.step()

    def leave(self) -> None:
        """Let go of the ring, and of what is in it."""
        if self.feeder is not None:
            self.writer.close(unlink=True)
            self.left += 1
        self.feeder = None

    def store(self, limit: int = 1 << 16) -> None:
        """Bring some of what is in the ring into the store; leave the ring if that is refused."""
        if self.feeder is None:
            return
        with RingReader(self._name, 0) as reader:
            while (block := reader.claim(limit)) is not None:
                events = [(time_ns, block.entry.run) for time_ns in block.slots.timestamps.tolist()]
                end, cursor = block.sequence + block.count, self.writer.cursor
                # What was dropped is before its last event.
                position = cursor.position if end == cursor.published else end
                if not self._stored.put(self.node, self.ring, events, position):
                    break
                reader.commit([(block.sequence, block.count)])
                return
            else:
                return
        self.leave()

    def die(self) -> None:
        """Let go of what the kernel takes from a killed process."""
        dealt = self.source._dealt
        if dealt._socket is not None:
            dealt._socket.close(0)
            dealt._context.term()
        if self.feeder is not None:
            self.writer.close()
        self.feeder = None


def until(so: Callable[[], object], *steps: Callable[[], object], what: str) -> None:
    """Step all of them in turn until something is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < end_s, f"waited in vain: {what}"
        for step in steps:
            step()
