"""Measure the global tier under made-up nodes: real servers, a real global reducer, every sum checked.

What the nodes would do on machines of their own is done here by processes that only send, so what counts is
CPU time of reducer and servers, bytes, and how old results are, as far as this machine is not the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ami.client import Client, connect
from ami.cluster import proc
from ami.cluster.node import Node
from ami.errors import AmiError
from ami.lab import bare
from ami.lab.arena import Arena, NotYet
from ami.lab.figures import Bench, Measured, percentile
from ami.lab.fleet import Fleet, Load, Sent, share_out
from ami.lab.machine import Busy
from ami.result import Result
from ami.stores import keys
from ami.stores.opened import Stores
from ami.stores.server import ServerLink

PROGRAMS = ("global-redis", "global-reducer")
SERVER, REDUCER = PROGRAMS
LEAD_S = 1.0  # until the first interval is over: the made-up nodes have begun by then
SENDS_A_PROCESS = 400.0  # batches a second
DRAIN_S = 60.0
LATE_S = 0.5  # of the nodes: then it is this machine that was measured
FIGURE = Load(nodes=16, results=200, rate_hz=20)

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a load took. Shares are of one core; ages from when an interval was over, at a client, ms.

    wrong: results that are not what they must be, or are incomplete; problems: why it does not count.
    """

    load: Load
    reducer: float
    server: float
    in_mb_s: float
    out_mb_s: float
    reducer_mb: float
    server_mb: float
    age_p50_ms: float
    age_p99_ms: float
    picture_age_ms: float
    updates: int
    nodes_late_ms: float
    drained_s: float
    wrong: tuple[str, ...]
    problems: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        return asdict(self)


def measure(load: Load, say: Say) -> Outcome:
    """Play a load on a private global tier, and return what that took and whether it was exact.

    Raises:
        AmiError: the servers, or the reducer, do not come up, or results do not come out.
    """
    say(f"{load.nodes} nodes, {load.results} results, {load.rate_hz:g} Hz, for {load.seconds:g} s")
    # The exact answer is compared at the end, so nothing that was sent may be trimmed unseen.
    with Node(programs=PROGRAMS, settings={"AMI_REDUCER_GRACE_S": "5"}) as node:
        _prepare(node, load)
        with connect(node.config, name="scale", timeout_s=30.0) as client:
            return _play(node, client, load)


def _prepare(node: Node, load: Load) -> None:
    """Write what a manager and the sources write before there are batches."""
    graph, stores = load.graph, Stores(node.config)
    try:
        stores.cluster("source").update({keys.SCHEMA: load.schema.to_json(), keys.INTERVAL: load.interval_ns})
        current = {"version": graph.version, "hash": graph.hash}
        stores.cluster("graph-manager").update(
            {keys.graph(graph.version): graph.to_plain(), keys.CURRENT: current}
        )
        members = stores.cluster("global-reducer").set(keys.NODES)
        members.update(load.hosts)
    finally:
        stores.close()


def _play(node: Node, client: Client, load: Load) -> Outcome:
    first = int((time.time() + LEAD_S) * load.rate_hz)
    processes = max(1, round(load.nodes * load.rate_hz / SENDS_A_PROCESS))
    fleets = list(share_out(node.config, load, int(first), processes))
    # To reduce the pictures may have taken a while; the first interval is still to come.
    first = int((time.time() + LEAD_S) * load.rate_hz)
    for fleet in fleets:
        fleet.first = first
    ages = Ages(client, load, first)
    with ServerLink(
        node.config.global_store, (node.config.global_store.host, node.config.global_store.port)
    ) as link:
        with _playing(fleets) as told:
            time.sleep(max(0.0, (first + 1) / load.rate_hz - time.time()))
            before, began = _look(link), time.monotonic()
            with Busy({name: node.pid(name) for name in (SERVER, REDUCER)}) as busy:
                ages.follow(load.seconds)
            after, lasted_s = _look(link), time.monotonic() - began
            sent = [_hear(one) for one in told]
        drain_began = time.monotonic()
        results = _drain(Arena(node, client), load)
        drained_s = time.monotonic() - drain_began
    late_s = max(one.late_s for one in sent)
    problems = [one.problem for one in sent if one.problem]
    if late_s > LATE_S:
        problems.append(f"the made-up nodes were {late_s:.1f} s late: this machine was the limit")
    return Outcome(
        load=load, reducer=busy.shares[REDUCER], server=busy.shares[SERVER],
        in_mb_s=(after["in"] - before["in"]) / lasted_s / 1e6,
        out_mb_s=(after["out"] - before["out"]) / lasted_s / 1e6,
        reducer_mb=proc.proportional_bytes(node.pid(REDUCER)) / 1e6, server_mb=after["memory"] / 1e6,
        age_p50_ms=ages.share(0.5), age_p99_ms=ages.share(0.99), picture_age_ms=ages.picture(),
        updates=len(ages.ms), nodes_late_ms=1000 * late_s, drained_s=drained_s,
        wrong=tuple(_compare(load, results)), problems=tuple(problems),
    )  # fmt: skip


@contextmanager
def _playing(fleets: list[Fleet]) -> Iterator[list[Connection]]:
    """Let processes play the fleets meanwhile; yield where each tells how it went."""
    with ExitStack() as stack:
        told = []
        for fleet in fleets:
            here, there = bare.fork.Pipe(duplex=False)
            stack.callback(here.close)
            stack.enter_context(bare.fork_off(partial(_play_and_tell, fleet, there)))
            there.close()
            told.append(here)
        yield told


def _play_and_tell(fleet: Fleet, there: Connection) -> None:
    try:
        there.send(fleet.play())
    except AmiError as error:
        there.send(Sent(problem=str(error)))


def _hear(told: Connection) -> Sent:
    if not told.poll(DRAIN_S):
        return Sent(problem=f"the made-up nodes are not through {DRAIN_S:g} s later")
    try:
        sent: Sent = told.recv()
    except EOFError:
        return Sent(problem="a process of made-up nodes died")
    return sent


def _look(link: ServerLink) -> dict[str, int]:
    stats, memory = link.facts("INFO", "stats"), link.facts("INFO", "memory")
    return {
        "in": int(stats["total_net_input_bytes"]), "out": int(stats["total_net_output_bytes"]),
        "memory": int(memory["used_memory"]),
    }  # fmt: skip


class Ages:
    """How old results are when a client has them, from the end of their interval on."""

    def __init__(self, client: Client, load: Load, first: int) -> None:
        self._updates = client.updates(["r0", *(["picture"] if load.image else [])])
        self._load = load
        self._first = first
        self.ms: list[float] = []
        self._pictures: list[float] = []

    def follow(self, seconds: float) -> None:
        end, seen = time.monotonic() + seconds, {"r0": 0, "picture": 0}
        while (left_s := end - time.monotonic()) > 0:
            for name, result in self._updates.take(min(left_s, 0.5)).items():
                if result.interval <= seen[name] or result.interval < self._first:
                    continue
                seen[name] = result.interval
                over_ns = (result.interval + 1) * self._load.interval_ns
                (self.ms if name == "r0" else self._pictures).append((time.time_ns() - over_ns) / 1e6)

    def share(self, share: float) -> float:
        return percentile(self.ms, share) if self.ms else float("nan")

    def picture(self) -> float:
        return percentile(self._pictures, 0.5) if self._pictures else float("nan")


def _drain(place: Arena, load: Load) -> Mapping[str, Result]:
    """Return the results when all that was sent is in them."""
    events = load.nodes * load.intervals * load.events

    def look() -> Mapping[str, Result]:
        found = place.client.results()
        if len(found) < len(load.graph.results):
            raise NotYet(f"{len(found)} of {len(load.graph.results)} results")
        least = min(found.values(), key=lambda one: one.events.expected)
        if least.events.expected < events or not least.complete:
            raise NotYet(f"{least.name} has {least.events.expected} of {events} events")
        return found

    return place.wait_for("all events in all results", look, DRAIN_S, look_s=0.1)


def _compare(load: Load, results: Mapping[str, Result]) -> Iterator[str]:
    events = load.nodes * load.intervals * load.events
    for name, wanted in load.truth().items():
        found = results[name]
        is_same = (
            np.array_equal(found.value, wanted)
            if name != "picture"
            else np.allclose(found.value, wanted, rtol=1e-12, atol=1e-12)
        )
        if not is_same or found.events.expected != events or not found.complete:
            yield f"{name}: {str(found.value)[:40]} of {found.events}, not {str(wanted)[:40]} of {events}"


def fleet_cores(bench: Bench) -> Mapping[str, Measured]:
    """Measure the global tier of 16 nodes that send 200 results 20 times a second."""
    found = measure(replace(FIGURE, seconds=bench.choose(20.0, 5.0)), bench.say)
    failures = (*found.wrong, *found.problems)
    return {
        "fleet_cores": Measured(
            value=found.reducer, failures=failures,
            busy={"global reducer": found.reducer, "global store": found.server},
            notes=(f"{found.in_mb_s:.1f} MB/s in, {found.out_mb_s:.1f} MB/s out of the store",),
        ),
        "fleet_age_p99": Measured(
            value=found.age_p99_ms, failures=failures,
            notes=(f"median {found.age_p50_ms:.0f} ms, {found.updates} updates",),
        ),
    }  # fmt: skip
