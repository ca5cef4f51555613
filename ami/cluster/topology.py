"""Read what a server says of its cluster, and compute what is to be done about it. Pure: it asks nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ami.errors import StoreError
from ami.stores.held import Address

SLOTS: Final = 16_384
# Shares that differ by less are even enough: to move slots is not free.
EVEN: Final = SLOTS // 50
Stretch: TypeAlias = tuple[int, int]  # first and last slot


@dataclass(frozen=True, slots=True)
class Server:
    """A server as another one, or it itself, sees it.

    ``primary``: the id of the one that it is a replica of; "" of a primary. ``moving``: slots on their way,
    as the server says it. ``linked``: whether who says this has a connection to it.
    """

    id: str
    host: str
    port: int
    flags: frozenset[str]
    primary: str
    linked: bool
    slots: tuple[Stretch, ...]
    moving: tuple[str, ...] = ()

    @property
    def address(self) -> Address:
        return (self.host, self.port)

    @property
    def is_primary(self) -> bool:
        return "master" in self.flags

    @property
    def is_failed(self) -> bool:
        """Whether a majority says that it does not answer."""
        return "fail" in self.flags

    @property
    def is_silent(self) -> bool:
        """Whether it does not answer, as far as who says this knows."""
        return bool(self.flags & {"fail", "fail?", "noaddr"})

    @property
    def is_strange(self) -> bool:
        """Whether it was introduced and has not answered yet."""
        return "handshake" in self.flags

    @property
    def slot_count(self) -> int:
        return sum(last - first + 1 for first, last in self.slots)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Topology:
    """The cluster as one server sees it. ``own`` is that server's id."""

    own: str
    servers: tuple[Server, ...]

    @property
    def me(self) -> Server:
        return self[self.own]

    def __getitem__(self, server_id: str) -> Server:
        return next(server for server in self.servers if server.id == server_id)

    @property
    def primaries(self) -> tuple[Server, ...]:
        return tuple(server for server in self.servers if server.is_primary and not server.is_strange)

    def replicas_of(self, primary: Server) -> tuple[Server, ...]:
        return tuple(server for server in self.servers if server.primary == primary.id)

    def on(self, host: str) -> tuple[Server, ...]:
        """Return the servers on a host."""
        return tuple(server for server in self.servers if server.host == host)

    def at(self, address: Address) -> Server | None:
        """Return the server there."""
        return next((server for server in self.servers if server.address == address), None)

    @property
    def is_alone(self) -> bool:
        return len(self.servers) == 1

    @property
    def slot_count(self) -> int:
        return sum(server.slot_count for server in self.servers)

    def layout(self) -> frozenset[tuple[str, str, tuple[Stretch, ...]]]:
        """Return what all must agree on: who there is, whose replica each is, and who has which slots."""
        return frozenset((server.id, server.primary, server.slots) for server in self.servers)

    def missing(self) -> list[Stretch]:
        """Return the slots that nobody has."""
        return stretches(set(range(SLOTS)) - {slot for server in self.servers for slot in each(server.slots)})


def read(text: str) -> Topology:
    """Return what ``CLUSTER NODES`` says.

    Raises:
        StoreError: it is of another form.
    """
    servers, own = [], ""
    try:
        for line in text.splitlines():
            server_id, place, flags, primary, _, _, _, link, *rest = line.split()
            # ADDRESS:PORT@BUS, and of newer servers ",NAME" behind it.
            host, _, port = place.partition(",")[0].partition("@")[0].rpartition(":")
            kinds = frozenset(flags.split(","))
            if "myself" in kinds:
                own = server_id
            servers.append(
                Server(
                    id=server_id,
                    host=host,
                    port=int(port),
                    flags=kinds,
                    primary="" if primary == "-" else primary,
                    linked=link == "connected" or "myself" in kinds,
                    slots=tuple(_stretch(word) for word in rest if not word.startswith("[")),
                    moving=tuple(word for word in rest if word.startswith("[")),
                )
            )
    except ValueError as error:
        raise StoreError(f"CLUSTER NODES has another form than is known: {text[:200]!r}") from error
    if not own:
        raise StoreError(f"CLUSTER NODES says not who answers: {text[:200]!r}")
    return Topology(own, tuple(sorted(servers, key=lambda server: (server.host, server.port))))


def _stretch(word: str) -> Stretch:
    first, _, last = word.partition("-")
    return int(first), int(last or first)


def each(slots: Iterable[Stretch]) -> Iterable[int]:
    """Yield each slot of some stretches."""
    for first, last in slots:
        yield from range(first, last + 1)


def stretches(slots: Collection[int]) -> list[Stretch]:
    """Return slots as stretches."""
    found: list[Stretch] = []
    for slot in sorted(slots):
        if found and found[-1][1] == slot - 1:
            found[-1] = (found[-1][0], slot)
        else:
            found.append((slot, slot))
    return found


def share_out(count: int) -> list[Stretch]:
    """Return all slots in ``count`` stretches of equal length, as far as that goes."""
    bounds = [SLOTS * n // count for n in range(count + 1)]
    return [(bounds[n], bounds[n + 1] - 1) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Move:
    """Slots that are to go from one server to another, by their ids."""

    source: str
    target: str
    first: int
    last: int

    @property
    def slot_count(self) -> int:
        return self.last - self.first + 1


def plan(owned: Mapping[str, Sequence[Stretch]], wanted: Mapping[str, int]) -> list[Move]:
    """Return the moves after which each server has as many slots as wanted, in few stretches."""
    has = {server: stretches(list(each(slots))) for server, slots in owned.items()}
    short = {server: want - sum(b - a + 1 for a, b in has.get(server, [])) for server, want in wanted.items()}
    givers = [server for server in has if short.get(server, -SLOTS) < 0]
    takers = [server for server, lack in short.items() if lack > 0]
    moves: list[Move] = []
    for giver in givers:
        surplus = -short[giver] if giver in short else sum(b - a + 1 for a, b in has[giver])
        while surplus and takers:
            first, last = has[giver].pop()  # from the end, so that what stays is together
            count = min(surplus, short[takers[0]], last - first + 1)
            if last - first + 1 > count:
                has[giver].append((first, last - count))
            moves.append(Move(giver, takers[0], last - count + 1, last))
            surplus -= count
            short[takers[0]] -= count
            if not short[takers[0]]:
                takers.pop(0)
    return moves


def balance(topology: Topology, without: Collection[str] = ()) -> list[Move]:
    """Return the moves after which all primaries have equal shares, but those ``without``, who have none."""
    owned = {server.id: server.slots for server in topology.primaries}
    sharing = [server for server in topology.primaries if server.id not in without and not server.is_silent]
    if not sharing:
        return []
    shares = [last - first + 1 for first, last in share_out(len(sharing))]
    # The largest share to who has most, so that as little as possible moves.
    by_size = sorted(sharing, key=lambda server: -server.slot_count)
    wanted = {server.id: share for server, share in zip(by_size, sorted(shares, reverse=True), strict=True)}
    uneven = max(abs(server.slot_count - wanted[server.id]) for server in sharing)
    leaving = sum(topology[server].slot_count for server in without)
    return plan(owned, wanted) if uneven > EVEN or leaving else []


def choose_primary(topology: Topology, host: str) -> Server | None:
    """Return the primary that a new replica on ``host`` should have: on another host, with the fewest
    replicas.

    Of several, the next one after this host in the order of addresses: so that three machines that each ask
    for one hold each other's.
    """
    others = [server for server in topology.primaries if server.host != host and server.slots]
    after = [server for server in others if server.host > host] + [s for s in others if s.host < host]
    return min(after, key=lambda server: len(topology.replicas_of(server)), default=None)


def crowded(topology: Topology) -> dict[str, list[Server]]:
    """Return the hosts with more than one primary that has slots: with it more than one share goes."""
    counts = Counter(server.host for server in topology.primaries if server.slots)
    return {
        host: [server for server in topology.on(host) if server.is_primary and server.slots]
        for host, count in counts.items()
        if count > 1
    }
