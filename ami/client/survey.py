"""Gather what says how a cluster is: heartbeats, the graph's version, this host's ring."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ami.client.costs import list_failing, list_signs, list_warnings
from ami.client.status import (
    ClusterStatus,
    MemoryStatus,
    ProcessStatus,
    RingStatus,
    judge_cluster,
    judge_host,
    judge_process,
)
from ami.cluster import memory, whose
from ami.cluster.supervisor import Program, is_there, list_programs
from ami.config import Config
from ami.errors import GraphError, RingError, StoreError, Undecodable
from ami.messages.heartbeat import Heartbeat
from ami.stores import Store, keys
from ami.stores.membership import Members
from ami.stores.opened import Stores

if TYPE_CHECKING:
    from ami.graph.graph import Graph


GLOBAL = "the global store"
SKEW_S = 2.0  # a slow answer may look like a part of a second
SKEW = "clock_ahead_s"  # among the counters of each process: how far its host's clock is ahead of the store's


def survey(config: Config, stores: Stores) -> ClusterStatus:
    """Return the state of the cluster that ``stores`` belong to.

    Raises:
        StoreUnavailable
    """
    beats = heartbeats(stores)
    status = judge(config, stores, beats, list_programs(config.monitor.supervisor_socket))
    status = replace(status, warnings=(*status.warnings, *list_failing(beats.values())))
    if not list_signs(status):
        return status
    from ami.client.load import judge_load

    graph = read_graph(stores.cluster("graph-manager"), status.graph_version)
    results = judge_load(status, beats, graph=graph).results
    return replace(status, warnings=(*status.warnings, *list_warnings(status, results)))


def survey_host(config: Config, problem: str) -> ClusterStatus | None:
    """Return how this host's node is while the global store does not answer; None where there is none."""
    programs = list_programs(config.monitor.supervisor_socket)
    if not programs:
        return None
    more = memory.disk_problem(config.node)
    problem = f"{problem}; {more}" if more else problem
    return judge_host(config.node.cluster, config.node.host, programs, problem, _memory(config))


def read_graph(manager: Store, version: int | None) -> Graph | None:
    """Return a version of the graph; None where there is none.

    Raises:
        StoreUnavailable
    """
    from ami.graph.graph import Graph

    plain = manager.get(keys.graph(version)) if version else None
    try:
        return None if plain is None else Graph.from_plain(plain)
    except GraphError:
        return None  # then nobody's owners are known; the costs are shown all the same


def judge(
    config: Config, stores: Stores, beats: Mapping[str, object], here: tuple[Program, ...]
) -> ClusterStatus:
    """Return the same from what is known already: every heartbeat, and supervisord's programs on this host.

    Raises:
        StoreUnavailable
    """
    now_ns = stores.cluster("graph-manager").time_ns()
    own_s = (time.time_ns() - now_ns) / 1e9
    troubles = _troubles(config, stores, here)
    # A beat may be late by its own period before anybody speaks of silence.
    patience_s = config.monitor.hang_s + config.monitor.heartbeat_s
    if any(GLOBAL in trouble for trouble in troubles):
        patience_s = math.inf  # nobody's heartbeat can be stored
    processes = [judge_process(p, b, now_ns=now_ns, patience_s=patience_s) for p, b in beats.items()]
    skews = find_skews(processes)
    if here:
        skews.setdefault(config.node.host, own_s)
    members = Members.read(stores.cluster("global-reducer"))
    gone = members.gone - {config.node.host}  # of this host it is known what runs
    status = judge_cluster(
        config.node.cluster,
        [one for one in processes if one.host not in gone],
        this_host=config.node.host,
        hosts=members.expected - gone,
        graph=stores.cluster("graph-manager").get(keys.CURRENT),
        ring=_ring(config),
        memory=_memory(config),
        programs=(*here, *unstarted_exports(config, here)),
        more=[*troubles, *map(_tell_gone, sorted(gone))],
    )
    return replace(status, clocks=skews, warnings=(*status.warnings, *list_skewed(skews)))


def find_skews(processes: Iterable[ProcessStatus]) -> dict[str, float]:
    """Return by host how far its clock is ahead of the store's, s.

    A heartbeat that was stored late looks as if its clock were behind: so the most that a process says.
    """
    told: dict[str, float] = {}
    for one in processes:
        if one.counters and SKEW in one.counters:
            told[one.host] = max(told.get(one.host, -math.inf), one.counters[SKEW])
    return dict(sorted(told.items()))


def list_skewed(skews: Mapping[str, float]) -> list[str]:
    """Return a line for each host whose clock is wrong."""
    return [
        f"the clock of {host} is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the store's: "
        f"times in its logs, and ages that it shows, are wrong by that; set it (chrony)"
        for host, ahead_s in skews.items()
        if abs(ahead_s) > SKEW_S
    ]


def _tell_gone(host: str) -> str:
    return (
        f"{host} is gone: no process of it says that it lives; `ami cluster remove {host}` if it stays away"
    )


def _troubles(config: Config, stores: Stores, here: tuple[Program, ...]) -> list[str]:
    """Return what is wrong with the stores, and with this host's disk if a node is here."""
    found = [f"{GLOBAL} {problem}" for problem in stores.cluster("graph-manager").troubles()]
    if here:
        with suppress(StoreError):  # that it is away is said by its process
            found += [f"the local store {problem}" for problem in stores.local("worker").troubles()]
        found += filter(None, [memory.disk_problem(config.node)])
    if not here and (path := config.monitor.supervisor_socket).exists() and not is_there(path):
        found.append("the supervisord of this node was killed: what dies stays dead; `ami up` starts it anew")
    return found


def unstarted_exports(config: Config, here: tuple[Program, ...]) -> list[Program]:
    """Return the exports that are asked for and for which supervisord has no process."""
    started = {program.number for program in here if program.type == "export"}
    state = "no such process: export.uris was changed since the node was started"
    wanted = range(len(config.export.uris)) if started else ()  # a node without exports wants none
    return [
        Program("export", number, f"export:{number}", state, pid=0, exit_code=0)
        for number in wanted
        if number not in started
    ]


def heartbeats(stores: Stores) -> dict[str, object]:
    """Return every heartbeat there is, by its owner's prefix."""
    store = stores.cluster("graph-manager")
    found: dict[str, object] = {}
    scanned, now_ns = list(store.scan(f"*:{keys.HEARTBEAT}")), store.time_ns()
    for facts in scanned:
        try:
            beat = store.view(facts.prefix).get(keys.HEARTBEAT)
        except Undecodable as error:
            found[facts.prefix] = f"undecodable: {error}"
            continue
        if beat is not None:  # stopped since the scan
            found[facts.prefix] = by_store_clock(beat, facts.ttl_s, now_ns)
    return found


def by_store_clock(beat: object, ttl_s: float | None, now_ns: int) -> object:
    """Return a heartbeat with its times by the store's clock, and how far the node's own is ahead of that.

    When it was stored the store knows itself, for it lets it expire. So a clock that is wrong makes nobody
    silent, nor alive who is not.

    Args:
        ttl_s: for how long the store will have it, at ``now_ns`` of its clock.
    """
    if not isinstance(beat, Heartbeat) or ttl_s is None:
        return beat
    stored_ns = now_ns - round((keys.HEARTBEAT_EXPIRE_S - ttl_s) * 1e9)
    ahead_ns = beat.beat_ns - stored_ns
    return replace(
        beat, beat_ns=stored_ns, started_ns=beat.started_ns - ahead_ns,
        counters={**beat.counters, SKEW: ahead_ns / 1e9},
    )  # fmt: skip


def _memory(config: Config) -> MemoryStatus | None:
    """Return what the node on this host has of its shared memory; None where it has nothing."""
    ring = memory.ring_bytes(config.ring.name)
    taken = {tier: memory.used_bytes(memory.folder_of(config.node, tier)) for tier in memory.TIERS}
    if not (ring or any(taken.values())):
        return None
    return MemoryStatus(
        ring=ring,
        local_store=taken["local"],
        global_store=taken["global"] + taken["replica"],
        free=memory.free_bytes(),
    )


def _ring(config: Config) -> RingStatus | None:
    """Return the state of this node's ring; None where there is none."""
    from ami.ring.observer import RingObserver

    try:
        with RingObserver(config.ring.name) as ring:
            if not whose.is_ours(config, ring.source_id):
                return None  # its source says whose it is, and waits
            cursor = ring.cursor
            held_by = {number: place.owned for number, place in ring.workers().items()}
            # What is published and not committed: claimed by a worker, or still by none.
            held = sum(held_by.values()) + cursor.published - ring.claimed
            return RingStatus(
                published=cursor.published,
                dropped=cursor.dropped,
                slot_count=ring.depth,
                held=max(0, held),
                policy=ring.policy,
                writer_alive=ring.writer_alive,
                interval_ns=ring.interval_ns,
                held_by=held_by,
            )
    except RingError:
        return None
