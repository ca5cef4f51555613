"""Judge from heartbeats, the ring and the reducers' totals how a cluster is.

Pure: what was read comes in as plain values, so every case can be tested without a process. A
heartbeat is what another process wrote; one that cannot be understood is reported, not believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ami.cluster.memory import FOLDER, ROOM_BYTES
from ami.cluster.supervisor import MANY, Program
from ami.errors import Undecodable
from ami.messages.heartbeat import BEGINNING, Heartbeat
from ami.messages.message import expect
from ami.processes import DAEMONS, IN_A_CLUSTER, ON_A_NODE, SERVERS

TROUBLE = ("failed", "running, but", "waiting: no room")  # how states begin that somebody should see
UNKNOWN = "runs; what it does is not known without the global store"
STOPPED = "was stopped by somebody"
LAG_S = 0.1  # a source that is less behind its pace, or a reducer by one interval, just works


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process. ``age_s`` is that of its last heartbeat, None when there is none."""

    host: str
    type: str
    number: int
    alive: bool
    state: str
    age_s: float | None = None
    pid: int | None = None
    up_s: float | None = None
    rate_hz: float | None = None
    lag: str = ""
    dropped: int = 0
    set_aside: int = 0
    counters: Mapping[str, float] | None = None

    @property
    def name(self) -> str:
        return f"{self.host}:{self.type}:{self.number}"

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        return {"name": self.name, **asdict(self), "counters": dict(self.counters or {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Published = reduced + dropped + set aside, of the current run, as the global reducer counts."""

    published: int
    reduced: int
    dropped: int
    set_aside: int

    @property
    def under_way(self) -> int:
        """Events that no tier has accounted for yet; 0 when the identity is exact."""
        return self.published - self.reduced - self.dropped - self.set_aside


@dataclass(frozen=True, slots=True, kw_only=True)
class RingStatus:
    """This host's event ring: totals of its life, and how full it is now.

    ``held_by``: by worker, the slots that it has claimed and not committed.
    """

    published: int
    dropped: int
    slot_count: int
    held: int
    policy: str
    writer_alive: bool
    interval_ns: int
    held_by: Mapping[int, int] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it: the totals."""
        return {name: value for name, value in asdict(self).items() if name != "held_by"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatus:
    """Bytes of this host's shared memory: what its node has of it, and what is left."""

    ring: int
    local_store: int
    global_store: int
    free: int

    @property
    def problem(self) -> str:
        """Say what stands still when there is too little left; "" when there is enough."""
        if self.free >= ROOM_BYTES:
            return ""
        return (
            f"shared memory: {self.free >> 20} MiB left in {FOLDER}; when it is full, stores take nothing "
            f"more and events wait: make room there, or set append_to of the stores to 'disk'"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """How a cluster is. ``problems`` has a line for each thing that should be otherwise.

    ``warnings``: that a node falls behind, and what costs it most. It is well all the same. ``clocks``: by
    host, how far its clock is ahead of the store's, s.
    """

    cluster: str
    processes: tuple[ProcessStatus, ...]
    graph_version: int | None
    graph_hash: str | None
    identity: Identity | None
    ring: RingStatus | None
    problems: tuple[str, ...]
    memory: MemoryStatus | None = None
    warnings: tuple[str, ...] = ()
    clocks: Mapping[str, float] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        return not self.problems

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        events = self.identity
        return {
            "cluster": self.cluster,
            "well": self.well,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "clocks_ahead_s": {host: round(ahead_s, 3) for host, ahead_s in self.clocks.items()},
            "processes": [process.to_plain() for process in self.processes],
            "graph_version": self.graph_version,
            "graph_hash": self.graph_hash,
            "events": None if events is None else {**asdict(events), "under_way": events.under_way},
            "ring": None if self.ring is None else self.ring.to_plain(),
            "shared_memory_bytes": None if self.memory is None else asdict(self.memory),
        }


def judge_process(prefix: str, beat: object, *, now_ns: int, patience_s: float) -> ProcessStatus:
    """Return what a heartbeat says; ``patience_s`` without one, or without a step, is not alive."""
    host, kind, number = split_prefix(prefix)
    try:
        beat = expect(Heartbeat, beat)
        counters = {str(k): float(v) for k, v in beat.counters.items()}
    except (Undecodable, TypeError, ValueError) as error:
        text = f"its heartbeat cannot be read: {error}"
        return ProcessStatus(host=host, type=kind, number=number, alive=False, state=text[:200])
    age_s, state = (now_ns - beat.beat_ns) / 1e9, beat.state
    silent = age_s > patience_s
    hanging = beat.step_age_s > patience_s and not state.startswith(BEGINNING)
    if silent:
        state = f"no heartbeat for {age_s:.0f} s (was: {state})"
    elif hanging:
        state = f"hangs: no step for {beat.step_age_s + age_s:.0f} s (was: {state})"
    return ProcessStatus(
        host=host,
        type=kind,
        number=number,
        alive=not (silent or hanging),
        state=state,
        age_s=age_s,
        pid=beat.pid,
        up_s=(now_ns - beat.started_ns) / 1e9,
        rate_hz=counters.get("rate_hz"),
        lag=_lag(counters),
        dropped=_count(counters.get("dropped")),
        set_aside=_count(counters.get("set_aside")),
        counters=counters,
    )


def judge_cluster(
    cluster: str,
    processes: Iterable[ProcessStatus],
    *,
    this_host: str,
    hosts: Iterable[str] = (),
    graph: object = None,
    ring: RingStatus | None = None,
    memory: MemoryStatus | None = None,
    programs: Iterable[Program] = (),
    more: Iterable[str] = (),
) -> ClusterStatus:
    """Return the state of a cluster whose ``hosts`` are known to have sent events.

    ``programs`` are supervisord's of this host, ``more`` the problems of stores and disks.
    """
    here = tuple(programs)
    beating = {p.name: p for p in processes}
    beginning = {f"{this_host}:{p.name}": _begins(this_host, p) for p in here if p.is_starting}
    there = sorted({**beginning, **beating}.values(), key=_place)
    nodes = {p.host for p in there if p.type in ON_A_NODE} | set(hosts) or {this_host}
    loops = {f"{this_host}:{p.name}": p for p in here if p.deaths >= MANY}
    problems = [f"{name} died {p.deaths} times within a minute{_because(p)}" for name, p in loops.items()]
    problems += [f"{this_host}:{p.name} is {p.reason}" for p in here if p.waits]
    problems += [f"{p.name}: {p.state}" for p in there if not p.alive]
    problems += [f"{p.name} {p.state}" for p in there if p.alive and p.state.startswith(TROUBLE)]
    stopped = [_stopped(this_host, p) for p in here if p.is_stopped]
    missing = [*stopped, *_missing(this_host, nodes, [*there, *stopped], here)]
    missed = [p for p in missing if p.name not in loops and (p not in stopped or _is_alone(p, there))]
    problems += [f"{p.name} {p.state}" for p in missed]
    problems += [memory.problem] if memory is not None and memory.problem else []
    warnings = [f"{p.name} {p.state}" for p in stopped if p not in missed]
    warnings += [f"{p.name} is {p.state}" for p in there if p.type == "source" and _waits(p)]
    version, graph_hash = None, None
    if isinstance(graph, Mapping):
        version, graph_hash = graph.get("version"), graph.get("hash")
    return ClusterStatus(
        cluster=cluster,
        processes=tuple(sorted([*there, *missing], key=_place)),
        graph_version=version if isinstance(version, int) else None,
        graph_hash=str(graph_hash) if graph_hash is not None else None,
        identity=_identity(there),
        ring=ring,
        problems=(*more, *problems),
        memory=memory,
        warnings=tuple(warnings),
    )


def judge_host(
    cluster: str, this_host: str, programs: Iterable[Program], problem: str, memory: MemoryStatus | None
) -> ClusterStatus:
    """Return what is known of this host while the global store, where the rest is, does not answer."""
    here = tuple(programs)
    seen = [
        ProcessStatus(
            host=this_host,
            type=p.type,
            number=p.number,
            alive=p.runs and not p.waits,
            state=_state(p) if p.is_in_trouble or p.is_stopped else UNKNOWN,
            pid=p.pid or None,
        )
        for p in here
        if not p.is_done
    ]
    dead = [f"{this_host}:{p.name} {_state(p)}" for p in here if p.is_in_trouble]
    stopped = [f"{this_host}:{p.name} {_state(p)}" for p in here if p.is_stopped]
    return ClusterStatus(
        cluster=cluster,
        processes=tuple(sorted(seen, key=_place)),
        graph_version=None,
        graph_hash=None,
        identity=None,
        ring=None,
        problems=(problem, *dead, *([memory.problem] if memory is not None and memory.problem else ())),
        memory=memory,
        warnings=tuple(stopped),
    )


def _because(program: Program) -> str:
    return f": {program.reason}" if program.reason else ""


def _state(program: Program) -> str:
    """Return why a program does not run, or dies again and again."""
    if program.is_stopped:
        return f"{STOPPED} (`supervisorctl start {program.address}`)"
    if program.waits:
        return f"is {program.reason}"
    if program.deaths >= MANY:
        return f"died {program.deaths} times within a minute{_because(program)}"
    return f"does not run (supervisord: {program.state}){_because(program)}"


def _stopped(this_host: str, program: Program) -> ProcessStatus:
    return _absent(this_host, program.type, program.number, _state(program))


def _begins(this_host: str, program: Program) -> ProcessStatus:
    return ProcessStatus(
        host=this_host,
        type=program.type,
        number=program.number,
        alive=True,
        state="starting",
        up_s=program.up_s,
    )


def _is_alone(stopped: ProcessStatus, there: Iterable[ProcessStatus]) -> bool:
    """Return whether nobody does the work of a process that somebody stopped."""
    needed = stopped.type in (*SERVERS, *ON_A_NODE, *IN_A_CLUSTER)
    return needed and not any(p.alive and (p.host, p.type) == (stopped.host, stopped.type) for p in there)


def _waits(process: ProcessStatus) -> bool:
    waiting = process.state.startswith("waiting") or "no events for" in process.state
    return process.alive and waiting and not process.state.startswith(TROUBLE)


def _missing(
    this_host: str, nodes: Iterable[str], there: Iterable[ProcessStatus], programs: Iterable[Program]
) -> list[ProcessStatus]:
    """Return the processes that should be there and give no sign."""
    missing = []
    seen = {(p.host, p.type, p.number) for p in there}
    for program in programs:
        if not program.should_run:
            continue
        silent = not program.runs if program.type in SERVERS else True
        if silent and (this_host, program.type, program.number) not in seen:
            state = "runs, but has no heartbeat" if program.runs else _state(program)
            missing.append(_absent(this_host, program.type, program.number, state))
    kinds = {(p.host, p.type) for p in (*there, *missing)}
    missing += [
        _absent(host, kind) for host in sorted(nodes) for kind in ON_A_NODE if (host, kind) not in kinds
    ]
    anywhere = {kind for _, kind in kinds}
    return missing + [_absent(this_host, kind) for kind in IN_A_CLUSTER if kind not in anywhere]


def _absent(host: str, kind: str, number: int = 0, state: str = "does not run") -> ProcessStatus:
    return ProcessStatus(host=host, type=kind, number=number, alive=False, state=state)


def _identity(processes: Iterable[ProcessStatus]) -> Identity | None:
    reducers = [p for p in processes if p.type == "global-reducer" and p.alive and p.counters]
    counting = [p.counters for p in reducers if p.counters and "expected" in p.counters]
    if not counting:
        return None
    # Of several global reducers one acts and the others stand by, with nothing counted.
    acting = max(counting, key=lambda counters: counters["expected"])
    names = {"published": "expected", "reduced": "reduced", "dropped": "dropped", "set_aside": "set_aside"}
    return Identity(**{ours: _count(acting.get(theirs)) for ours, theirs in names.items()})


def _lag(counters: Mapping[str, float]) -> str:
    """Return how far behind a process is, with its unit."""
    seconds, intervals = counters.get("lag_s", 0.0), counters.get("lag_intervals", 0.0)
    if seconds >= LAG_S:
        return f"{seconds:.1f} s"
    return f"{intervals:.0f} intervals" if intervals > 1 else ""


def _count(value: float | None) -> int:
    return int(value) if value is not None and math.isfinite(value) else 0


def split_prefix(prefix: str) -> tuple[str, str, int]:
    """Return host, process type and number of ``HOST:TYPE:ID``; foreign text as it is, numbered 0."""
    parts = prefix.strip("{}").split(":")
    if len(parts) != 3 or not parts[2].isdecimal():
        return prefix, "?", 0
    return parts[0], parts[1], int(parts[2])


def _place(process: ProcessStatus) -> tuple[str, int, str, int]:
    known = DAEMONS.index(process.type) if process.type in DAEMONS else len(DAEMONS)
    return process.host, known, process.type, process.number
