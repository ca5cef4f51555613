"""Look whether the servers of a cluster are as they should be: all slots, copies, clocks, settings, ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ami.cluster import topology
from ami.cluster.checks import SKEW_S, clock_skew_s, version_of
from ami.cluster.findings import Finding, problem, warning
from ami.cluster.forming import Forming, reachable
from ami.cluster.servers import NODE_TIMEOUT_MS
from ami.cluster.topology import SLOTS, Server, Topology
from ami.config import GlobalStoreConfig
from ami.errors import StoreError

LAG_BYTES: Final = 64 << 20
SETTINGS: Final = {
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "cluster-node-timeout": str(NODE_TIMEOUT_MS),
}


def examine(config: GlobalStoreConfig, forming: Forming) -> list[Finding]:
    """Return what is not as it should be in the cluster."""
    try:
        seen = forming.known()
    except StoreError as error:
        return [problem("cluster", str(error), "`ami up`, or `ami cluster create` or `join`")]
    found = [*_slots(seen), *_layout(seen), *_seeds(config, seen)]
    versions = {}
    for server in seen.servers:
        if server.is_silent:
            found.append(
                problem(
                    "server",
                    f"{server} does not answer",
                    f"start its node; if it is gone for good: `ami cluster remove {server.host}`",
                )
            )
            continue
        try:
            versions[str(server)] = version_of(forming.link(server.address))
            found += _one(forming, seen, server)
        except StoreError as error:
            found.append(problem("server", str(error), f"look at its log on {server.host}"))
    if len({version.split(".")[0] for version in versions.values()}) > 1:
        listed = ", ".join(f"{address} {version}" for address, version in versions.items())
        found.append(warning("versions", f"they differ: {listed}", "install the same on all machines"))
    if not any(finding.severity == "problem" for finding in found):
        try:
            difference = forming.disagreement(set())
        except StoreError as error:
            difference = str(error)
        if difference:
            found.append(problem("agreement", difference, "wait some seconds; then `ami cluster status`"))
    return found


def _slots(seen: Topology) -> Iterator[Finding]:
    if seen.slot_count != SLOTS:
        missing = ", ".join(f"{first}-{last}" for first, last in seen.missing()[:5])
        yield problem(
            "slots",
            f"{seen.slot_count} of {SLOTS} are dealt; nobody has {missing}",
            "`ami cluster create` with all hosts; of one that is gone: `ami cluster remove HOST --lose`",
        )
    for server in seen.servers:
        if server.moving:
            yield warning(
                "slots",
                f"{len(server.moving)} are on their way at {server}",
                "call again what was moving them",
            )


def _layout(seen: Topology) -> Iterator[Finding]:
    for host, servers in topology.crowded(seen).items():
        yield warning(
            "primaries",
            f"{host} has {len(servers)} with slots: with this machine more than one share goes",
            "start the other machines, then `ami cluster balance`",
        )
    with_slots = [server for server in seen.primaries if server.slots]
    hosts = {server.host for server in seen.servers if server.is_primary}
    if len(hosts) == 2:
        yield warning(
            "majority",
            "two machines have none: when one dies, the other may not take over",
            "a third machine: `ami cluster join`",
        )
    if len({server.host for server in seen.servers}) > 1:
        for server in with_slots:
            copies = [one for one in seen.replicas_of(server) if not one.is_silent]
            if not copies:
                yield warning(
                    "copies",
                    f"nobody has a copy of {server}: when its machine dies, the cluster stands still",
                    "`ami cluster add-replica` on another machine",
                )
            elif all(copy.host == server.host for copy in copies):
                yield warning(
                    "copies",
                    f"the only copy of {server} is on its own machine",
                    f"`ami cluster add-replica --of {server.host}` on another machine",
                )


def _seeds(config: GlobalStoreConfig, seen: Topology) -> Iterator[Finding]:
    listed = set(config.start_nodes)
    if not listed and len(seen.servers) > 1:
        yield problem(
            "start_nodes",
            "it is empty, and the cluster has several servers: a process that starts here waits for this one",
            "`ami cluster join` of any other machine writes the list",
        )
    strange = sorted(listed - {str(server) for server in seen.servers})
    if strange and len(seen.servers) > 1 and all(one[:1].isdecimal() for one in strange):
        yield warning(
            "start_nodes",
            f"it lists {', '.join(strange)}, which the cluster does not have (any more)",
            "`ami cluster join` of any other machine writes the list anew",
        )
    primaries = {str(server) for server in seen.primaries}
    if listed and len(primaries) > 1 and len(listed & {str(server) for server in seen.servers}) < 2:
        yield warning(
            "start_nodes",
            f"it lists {', '.join(sorted(listed))} only: while that is away, no process starts here",
            "`ami cluster join` of any other machine writes the list anew",
        )


def _one(forming: Forming, seen: Topology, server: Server) -> Iterator[Finding]:
    link = forming.link(server.address)
    skew_s = clock_skew_s(link)
    if abs(skew_s) > SKEW_S:
        yield problem("clock", f"that of {server} is {skew_s:+.1f} s beside this machine's", "chrony on both")
    for port, said in reachable(server.address).items():
        yield problem(
            "ports", f"{server.host} port {port} cannot be reached: {said}", "open it between machines"
        )
    for name, wanted in SETTINGS.items():
        reply = [bytes(word).decode() for word in link.ask("CONFIG", "GET", name)]
        if reply[1:] != [wanted]:
            yield warning(
                "settings", f"{name} of {server} is {' '.join(reply[1:])}, not {wanted}", "restart its node"
            )
    facts = link.facts("INFO", "replication")
    if facts.get("role") == "slave" and facts.get("master_link_status") != "up":
        yield problem(
            "copies", f"{server} has no connection to {seen[server.primary]}", "the secret, and the ports"
        )
    ahead = int(facts.get("master_repl_offset", 0))
    for name, text in facts.items():
        if name.startswith("slave") and "offset=" in text:
            told = dict(word.partition("=")[::2] for word in text.split(","))
            behind = ahead - int(told["offset"])
            if behind > LAG_BYTES:
                copy = f"{told['ip']}:{told['port']}"
                yield warning(
                    "copies", f"{copy} is {behind >> 20} MiB behind {server}", "look at the network"
                )
