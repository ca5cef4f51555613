"""Say what every process and every operation costs: the figures of `ami top`.

Pure: what was read comes in as plain values. :mod:`ami.client.meter` reads it. What a heartbeat says was
written by another process; numbers in it that are none count as absent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ami.client.costs import ResultLoad, judge_results
from ami.client.status import ClusterStatus, ProcessStatus
from ami.graph.operation import definition_of
from ami.messages.heartbeat import Heartbeat

if TYPE_CHECKING:
    from ami.graph.graph import Graph

# What has no owner in the graph that runs: a graph from before there were owners, or an older version's.
NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """What waits on its way, None where it cannot be seen from here.

    ``inbox``: batches of all nodes that are in no checkpoint of the global reducer yet; ``requests``: for the
    graph manager; ``flushes``: of this host's workers, which the local reducer has not sent on.
    """

    inbox: int | None = None
    requests: int | None = None
    flushes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLoad(ProcessStatus):
    """One process. ``share`` is that of a core, 1.0 being one, from ``share_from`` ("/proc" or "busy").

    ``traffic``: bytes a second by where they go: "shared" memory, "local" and "global" store, "disk".
    """

    share: float | None = None
    share_from: str = ""
    resident_bytes: int | None = None
    queue: Mapping[str, int] = field(default_factory=dict)
    traffic: Mapping[str, float] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        counters = self.counters or {}
        return ProcessStatus.to_plain(self) | {lag: counters.get(lag) for lag in ("lag_intervals", "lag_s")}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLoad:
    """One operation on all workers together.

    ``names`` are all under which the graph has it, ``shown`` these as people know them; ``events_hz`` those
    events that have its inputs; ``us_per_event`` is by the clock, waiting included; ``share`` is that of a
    core, and may be more than 1.0 when several workers run it.
    """

    name: str
    names: tuple[str, ...]
    shown: tuple[str, ...]
    kind: str
    owners: tuple[str, ...]
    per_event: bool
    events_hz: float
    us_per_event: float
    share: float
    errors: int
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLoad:
    """One owner's operations; of what several own, each has an equal part, so the shares add up."""

    owner: str
    operations: int
    share: float
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What everything costs now.

    ``timed`` is the share of the events whose operations were timed; ``untold`` the share of a core of
    operations that are too cheap to be told one by one; ``besides`` that of what workers do
    besides them: claim, read fields, store, commit, listen.
    """

    status: ClusterStatus
    processes: tuple[ProcessLoad, ...]
    operations: tuple[OperationLoad, ...]
    owners: tuple[OwnerLoad, ...]
    results: tuple[ResultLoad, ...]
    queues: Queues
    timed: float | None
    untold: float
    besides: float | None

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        status = self.status
        return {
            "cluster": status.cluster,
            "graph_version": status.graph_version,
            "problems": list(status.problems),
            "shared_memory_bytes": None if status.memory is None else asdict(status.memory),
            "processes": [process.to_plain() for process in self.processes],
            "operations": [asdict(operation) for operation in self.operations],
            "owners": [asdict(owner) for owner in self.owners],
            "results": [{**asdict(result), "cores": result.cores} for result in self.results],
            "warnings": list(status.warnings),
            "queues": asdict(self.queues) | {"ring": None if status.ring is None else status.ring.to_plain()},
            "timed": self.timed,
            "untold": self.untold,
            "besides": self.besides,
        }


def judge_load(
    status: ClusterStatus,
    beats: Mapping[str, object],
    *,
    graph: Graph | None = None,
    queues: Queues | None = None,
    shares: Mapping[str, float] | None = None,
    resident: Mapping[str, int] | None = None,
    servers: Iterable[ProcessStatus] = (),
    written: Mapping[str, float] | None = None,
) -> Load:
    """Return the load of a cluster.

    Args:
        beats: heartbeats by the prefix of their process.
        graph: the one that runs, which knows owners.
        shares: by process, what it took of a core since the last look, as /proc says.
        resident: by process of this host, its memory in bytes, as /proc says now.
        servers: more processes of this host, which have no heartbeat.
        written: what they wrote to the disk since the last look, bytes a second.
    """
    waiting, shares, resident = queues or Queues(), shares or {}, resident or {}
    held = {} if status.ring is None else status.ring.held_by
    traffic = _traffic(beats, written or {})
    processes = tuple(
        _process(
            process,
            shares.get(process.name),
            resident.get(process.name),
            _waiting(process, waiting, held, here=process.name in resident),
            traffic.get(process.name, {}),
        )
        for process in (*status.processes, *servers)
    )
    told = _told(status, beats)
    operations = _operations(told, graph)
    timings = [beat.timing for beat in told]
    everything = sum(_number(timing.get("share_of_core")) for timing in timings)
    busy = [p.share for p in processes if p.type == "worker" and p.alive and p.share is not None]
    return Load(
        status=status,
        processes=processes,
        operations=operations,
        owners=_owners(operations),
        results=judge_results(graph, told, {one.names[0]: one.share for one in operations}),
        queues=waiting,
        timed=_average_timed(timings),
        untold=max(0.0, everything - sum(operation.share for operation in operations)),
        besides=max(0.0, sum(busy) - everything) if busy else None,
    )


def _told(status: ClusterStatus, beats: Mapping[str, object]) -> list[Heartbeat]:
    """Return the heartbeats of those who live."""
    alive = {process.name for process in status.processes if process.alive}
    return [beat for at, beat in beats.items() if at.strip("{}") in alive and isinstance(beat, Heartbeat)]


def _traffic(beats: Mapping[str, object], written: Mapping[str, float]) -> Mapping[str, Mapping[str, float]]:
    """Return by process its bytes a second, by where they go."""
    traffic = {name: {"disk": per_s} for name, per_s in written.items()}
    for prefix, beat in beats.items():
        if isinstance(beat, Heartbeat):
            traffic[prefix.strip("{}")] = {str(to): _number(per_s) for to, per_s in beat.traffic.items()}
    return traffic


def _average_timed(timings: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the share of the events that were timed, of all workers by what their operations take."""
    weights = [(_number(t.get("timed")), _number(t.get("share_of_core"))) for t in timings]
    whole = sum(weight for _, weight in weights)
    return sum(timed * weight for timed, weight in weights) / whole if whole else None


def _process(
    process: ProcessStatus, share: float | None, resident: int | None, queue: Mapping[str, int],
    traffic: Mapping[str, float],
) -> ProcessLoad:  # fmt: skip
    busy = (process.counters or {}).get("busy")
    return ProcessLoad(
        **{name: getattr(process, name) for name in ProcessStatus.__slots__},
        share=busy if share is None else share,
        share_from="/proc" if share is not None else "busy" if busy is not None else "",
        resident_bytes=resident,
        queue=queue,
        traffic=traffic,
    )


def _waiting(
    process: ProcessStatus, queues: Queues, held: Mapping[int, int], *, here: bool
) -> dict[str, int]:
    """Return what waits for a process, by what it is; flushes and slots are known of this host only."""
    waits: dict[str, tuple[str, int | None]] = {
        "worker": ("slots", held.get(process.number) if here else None),
        "local-reducer": ("flushes", queues.flushes if here else None),
        "global-reducer": ("batches", queues.inbox),
        "graph-manager": ("requests", queues.requests),
    }
    what, count = waits.get(process.type, ("", None))
    return {} if count is None else {what: count}


def _operations(beats: Iterable[Heartbeat], graph: Graph | None) -> tuple[OperationLoad, ...]:
    """Return the operations of all workers' heartbeats, the most expensive one first."""
    by_what: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for beat in beats:
        mine: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for name, cost in beat.operations.items():
            if isinstance(cost, Mapping):
                # Equal operations of several clients run as one, under the first name; an error
                # is told under each.
                what = graph.fingerprint(name) if graph is not None and name in graph else str(name)
                mine.setdefault(what, (str(name), cost))
        for what, entry in mine.items():
            by_what.setdefault(what, []).append(entry)
    names: dict[str, list[str]] = {}
    if graph is not None:
        for operation in graph.operations:
            names.setdefault(graph.fingerprint(operation.name), []).append(operation.name)
    found = [_operation(costs, names.get(what, []), graph) for what, costs in by_what.items()]
    return tuple(sorted(found, key=lambda operation: (-operation.share, operation.name)))


def _operation(
    costs: list[tuple[str, Mapping[str, Any]]], names: list[str], graph: Graph | None
) -> OperationLoad:
    shares = [_number(cost.get("share_of_core")) for _, cost in costs]
    events = [_number(cost.get("events_hz")) for _, cost in costs]
    us = [_number(cost.get("us_per_event")) for _, cost in costs]
    rate_hz = sum(events)
    # While no events flow there is still what they cost when they did.
    mean_us = sum(e * u for e, u in zip(events, us, strict=True)) / rate_hz if rate_hz else max(us)
    known = [] if graph is None else [graph[name] for name in names]
    return OperationLoad(
        name=costs[0][0],
        names=tuple(names) or (costs[0][0],),
        shown=tuple(dict.fromkeys(_show(name, graph) for name in names or [costs[0][0]])),
        kind=known[0].kind if known else "",
        owners=tuple(sorted({owner for operation in known for owner in operation.owners})),
        per_event=any(cost.get("per_event") is True for _, cost in costs),
        events_hz=rate_hz,
        us_per_event=mean_us,
        share=sum(shares),
        errors=int(sum(_number(cost.get("errors")) for _, cost in costs)),
        workers=sum(e > 0 for e in events),
    )


def _show(name: str, graph: Graph | None) -> str:
    """Return a definition's name; of a part, which has none that people know, its definition and its text."""
    if graph is None or name not in graph or (base := definition_of(name, graph)) == name:
        return name
    return f"{base}: {graph[name].text}"


def _owners(operations: Iterable[OperationLoad]) -> tuple[OwnerLoad, ...]:
    owned: dict[str, list[OperationLoad]] = {}
    for operation in operations:
        for owner in operation.owners or (NOBODY,):
            owned.setdefault(owner, []).append(operation)
    found = [
        OwnerLoad(
            owner=owner,
            operations=len(mine),
            share=sum(operation.share / max(1, len(operation.owners)) for operation in mine),
            errors=sum(operation.errors for operation in mine),
        )
        for owner, mine in owned.items()
    ]
    return tuple(sorted(found, key=lambda owner: (-owner.share, owner.owner)))


def _number(value: object) -> float:
    """Return a number that is one, 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0
