"""What a cluster is read as, and who is to have which slots."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.cluster import topology
from ami.cluster.topology import SLOTS, Server, Topology
from ami.errors import StoreError

IDS = [letter * 40 for letter in "abcdef"]
SAID = f"""\
{IDS[0]} 10.0.0.1:7379@17379,node1 myself,master - 0 0 1 connected 0-100 200 [300->-{IDS[1]}]
{IDS[1]} 10.0.0.2:7379@17379 master,fail? - 0 1795757268209 2 disconnected 101-199
{IDS[2]} 10.0.0.3:7380@17380 slave {IDS[0]} 0 1795757268209 2 connected
{IDS[3]} :0@0 handshake - 1795757268209 0 0 connected
"""


def primary(number: int, *slots: tuple[int, int], host: str = "") -> Server:
    return Server(
        id=IDS[number], host=host or f"10.0.0.{number}", port=7379, flags=frozenset({"master"}), primary="",
        linked=True, slots=slots,
    )  # fmt: skip


def replica(number: int, of: Server, host: str) -> Server:
    return replace(primary(number, host=host), flags=frozenset({"slave"}), primary=of.id, port=7380)


def test_what_a_server_says_is_read() -> None:
    seen = topology.read(SAID)
    assert seen.me.id == IDS[0]
    assert seen.me.slots == ((0, 100), (200, 200))
    assert seen.me.moving == (f"[300->-{IDS[1]}]",)
    assert [server.id for server in seen.primaries] == IDS[:2]
    assert seen[IDS[1]].is_silent
    assert not seen[IDS[1]].is_failed
    assert seen.replicas_of(seen.me) == (seen[IDS[2]],)
    assert seen[IDS[3]].is_strange
    assert seen.missing() == [(201, SLOTS - 1)]
    assert seen.at(("10.0.0.3", 7380)) == seen[IDS[2]]


@pytest.mark.parametrize(
    "text", ["", "no such form", SAID.replace("myself,", ""), SAID.replace("7379@", "x@")]
)
def test_what_is_no_such_answer_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="CLUSTER NODES"):
        topology.read(text)


@given(cuts=st.sets(st.integers(1, SLOTS - 1), max_size=12), count=st.integers(1, 5), leaves=st.booleans())
def test_after_the_moves_all_have_their_share_and_no_slot_is_lost(
    cuts: set[int], count: int, leaves: bool
) -> None:
    bounds = [0, *sorted(cuts), SLOTS]
    owned: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for number, (first, end) in enumerate(pairwise(bounds)):
        owned[number % count].append((first, end - 1))
    servers = tuple(primary(number, *slots) for number, slots in enumerate(owned))
    without = {IDS[0]} if leaves and count > 1 else set()
    moves = topology.balance(Topology(IDS[0], servers), without)
    has = {server.id: set(topology.each(server.slots)) for server in servers}
    for move in moves:
        moving = set(range(move.first, move.last + 1))
        assert moving <= has[move.source]
        has[move.source] -= moving
        has[move.target] |= moving
    assert sum(map(len, has.values())) == len(set().union(*has.values())) == SLOTS
    shares = [len(slots) for server, slots in has.items() if server not in without]
    assert all(not has[server] for server in without)
    assert max(shares) - min(shares) <= 2 * topology.EVEN
    after = tuple(replace(server, slots=tuple(topology.stretches(has[server.id]))) for server in servers)
    assert topology.balance(Topology(IDS[0], after), without) == []


def test_three_machines_that_each_ask_for_a_replica_hold_each_others() -> None:
    servers = [primary(n, (n * 100, n * 100 + 99)) for n in range(3)]
    for number in range(3):
        host = servers[number].host
        chosen = topology.choose_primary(Topology(IDS[0], tuple(servers)), host)
        assert chosen is not None
        assert chosen.host != host
        assert not any(one.primary == chosen.id for one in servers)
        servers.append(replica(number + 3, chosen, host))


def test_alone_there_is_nobody_to_copy_and_two_primaries_of_a_host_are_seen() -> None:
    one, other = primary(0, (0, 99)), primary(1, (100, SLOTS - 1), host="10.0.0.0")
    assert topology.choose_primary(Topology(IDS[0], (one,)), one.host) is None
    assert topology.crowded(Topology(IDS[0], (one, other))) == {"10.0.0.0": [one, other]}
