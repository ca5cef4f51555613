"""What the tests of the daemons' stages share: sources that fill rings by hand, and stores that fail.

Stages are stepped in this process. A stage that *dies* here lets go of what the kernel takes from a
killed process, its locks and its connections, and of nothing else: it hands nothing on.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ami.config import Config, GlobalStoreConfig, LocalStoreConfig, NodeConfig, ReducerConfig, RingConfig
from ami.daemons.process import beside
from ami.daemons.process.stage import Setup, Stopping, Waits
from ami.daemons.reduction import global_reducer, large_lane
from ami.errors import StoreUnavailable
from ami.event import Field, Schema, Transition
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.ring import RingWriter
from ami.stores import Store, keys, open_global
from ami.stores.link import Command, Link, Reply
from ami.stores.opened import Stores
from tests.waiting import PATIENCE_S

_FOLDER = tempfile.TemporaryDirectory(prefix="ami-rig-")
SCHEMA = Schema.of([Field("x", np.dtype(np.int64)), Field("image", np.dtype(np.float32), (2, 3))])
INTERVAL_NS = 1000
TEXT = """
results:
  shots: count(x)
  total: sum_events(x)
  now: sum_events(x, window=interval)
"""
GRAPH = graph_of(TEXT).at_version(1)


def config(
    ring: str,
    local: LocalStoreConfig | None = None,
    cluster: GlobalStoreConfig | None = None,
    *,
    host: str = "here",
    cluster_name: str = "ami",
    **parts: Any,
) -> Config:
    """Return settings in which nothing waits for long."""
    return replace(
        Config(
            node=NodeConfig(cluster=cluster_name, host=host, run_dir=new_folder()),
            ring=RingConfig(name=ring, bytes=16 << 20),
            local_store=local or LocalStoreConfig(),
            global_store=cluster or GlobalStoreConfig(),
            reducer=ReducerConfig(grace_s=60, barrier_s=60, checkpoint_s=0.01),
        ),
        **parts,
    )


def new_folder() -> Path:
    """Return a folder for what must outlive the machine: another one for each test."""
    return Path(tempfile.mkdtemp(dir=_FOLDER.name))


class Shift:
    """Plays the source on a ring: events whose ``x`` is their position in the input."""

    def __init__(self, name: str, *, slots: int = 256, entries: int = 64, source_id: str = "rig") -> None:
        self.ring = RingWriter.create(
            name,
            SCHEMA,
            source_id=source_id,
            bytes=slots * SCHEMA.event_bytes,
            max_slots=slots,
            entries=entries,
            interval_ns=INTERVAL_NS,
            policy="wait",
        )
        while self.ring.open is None and not self.ring.configure(SCHEMA.names):
            pass
        self.run = 1
        self.large = False  # whether entries are in spans
        self._interval = 0

    def transition(self, transition: Transition) -> None:
        assert self._open(0, int(transition), 1)

    def interval(self, count: int, *, graph_version: int = 1, dropped: int = 0, closed: bool = True) -> None:
        """Publish the events of the next interval."""
        self._interval += 1
        assert self._open(self._interval, 0, graph_version)
        left = count
        while left:
            slots = self.ring.reserve(left)
            assert slots is not None, "the test's ring is too small"
            first = self.ring.cursor.position
            slots["x"][:] = np.arange(first, first + slots.count)
            slots["image"][:] = 1
            slots.timestamps[:] = self._interval * INTERVAL_NS + np.arange(slots.count)
            slots.set_valid(SCHEMA.names)
            self.ring.publish(slots.count, position=first + slots.count)
            left -= slots.count
        if dropped:
            self.ring.drop(dropped, position=self.ring.cursor.position + dropped)
        if closed:
            self.ring.close_entry()

    def _open(self, interval: int, transition: int, graph_version: int) -> bool:
        return self.ring.open_entry(
            interval=interval,
            run=self.run,
            step=0,
            step_value=0.0,
            graph_version=graph_version,
            transition=transition,
            large=self.large and not transition,
        )

    def close(self) -> None:
        self.ring.close(unlink=True)


def publish_graph(cluster: GlobalStoreConfig, graph: Graph) -> None:
    """Put a graph where the graph manager puts it."""
    store = open_global(cluster, keys.prefix("ami", "graph-manager", 0))
    put_graph(store, graph)
    store.close()


def put_graph(manager: Store, graph: Graph) -> None:
    current = {"version": graph.version, "hash": graph.hash}
    manager.update({keys.graph(graph.version): graph.to_plain(), keys.CURRENT: current})


class Faults:
    """Makes the n-th call on a store fail: before it is carried out, or when its answer is lost.

    The thread that waits for news of the graph hears none, but where ``hears``: a stage then reads each
    version by itself, and that is a call like the others.
    """

    def __init__(self, fails_at: int = 0, *, answer_lost: bool = False, lasts: int = 1) -> None:
        self.calls = 0
        self.down = False  # every call fails
        self.hears = False
        self._failing = range(fails_at, fails_at + lasts) if fails_at else range(0)
        self._answer_lost = answer_lost

    @property
    def met(self) -> bool:
        return bool(self._failing) and self.calls >= self._failing.start

    def around(self, call: Callable[[], Any]) -> Any:
        if threading.current_thread().name == "graph-watch":
            if self.hears:
                return call()
            raise StoreUnavailable("the test lets it hear nothing")
        self.calls += 1
        if self.calls not in self._failing and not self.down:
            return call()
        if self._answer_lost:
            call()
        raise StoreUnavailable("the test pulled the plug")


class FaultyLink(Link):
    """Connections to a real tier, on a bad day."""

    def __init__(self, link: Link, faults: Faults) -> None:
        self._link = link
        self._faults = faults
        self.tagged, self.block_s = link.tagged, link.block_s

    def call(
        self, key: str, commands: Sequence[Command], *, repeat: bool, copied: bool = False
    ) -> list[Reply]:
        return self._around(lambda: self._link.call(key, commands, repeat=repeat, copied=copied))

    def change(
        self,
        key: str,
        reads: Sequence[Command],
        decide: Callable[[list[Reply]], Sequence[Command] | None],
        *,
        again: bool = False,
    ) -> bool:
        return bool(self._around(lambda: self._link.change(key, reads, decide, again=again)))

    def everywhere(self, commands: Callable[[int], Sequence[Command]]) -> list[list[Reply]]:
        return self._around(lambda: self._link.everywhere(commands))

    def _around(self, call: Callable[[], Any]) -> Any:
        return self._faults.around(call)

    def close(self) -> None:
        """The tests have one link for all their stages, and close it themselves."""


class Soon(Stopping):
    """The wish to stop, of a test that waits for nothing: ``wait`` returns at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


SHORT = Waits(ring_s=0.002, rest_s=0.002, store_s=0.0, push_s=0.005, look_s=0.0, schema_s=0.05)


def setup(
    config: Config,
    *,
    local: Link | None = None,
    cluster: Link | None = None,
    number: int = 0,
    waits: Waits = SHORT,
) -> Setup:
    """Return what a stage is made from, whose stores are behind these links."""
    stores = Stores(config, local=local, cluster=cluster)
    return Setup(config=config, stores=stores, number=number, stopping=Soon(), waits=waits)


def steps(stage: Any, until: Callable[[], object], *, most: int | None = None) -> None:
    """Step until something is so; fail after ``most`` steps, or when patience is over."""
    deadline, taken = time.monotonic() + PATIENCE_S, 0
    while not until():
        if time.monotonic() > deadline if most is None else taken >= most:
            said = f"the stage says {stage.state!r}, {stage.counters}"
            raise AssertionError(f"not so after {taken} steps; {said}")
        stage.step()
        taken += 1


class Clock:
    """Time that goes on when somebody looks: what waits for a time waits for so many looks."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def monotonic(self) -> float:
        return 0.1 * next(self._looks)


def let_looks_be_time(patch: pytest.MonkeyPatch) -> None:
    """Let the global reducer's pauses take the same number of calls on a busy machine as on a quiet one."""
    clock = Clock()
    for module in (global_reducer, large_lane, beside):
        patch.setattr(module, "time", clock)


def die(stage: Any) -> None:
    """Let go of what the kernel takes from a killed process, and of nothing else."""
    for thread in ("_storing", "_beside"):
        if getattr(stage, thread, None) is not None:
            getattr(stage, thread).close()
    ring = getattr(stage, "_ring", None) or getattr(getattr(stage, "_claims", None), "ring", None)
    if ring is not None:
        ring.close()
    stage._graphs.close()
