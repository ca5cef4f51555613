"""Decide which node gets which block, and what is dealt again; knows no socket, no file and no clock.

A node is dealt to as long as it has credit: less than so many bytes are on their way to it. Its events are
numbered from where it said that it was, without gaps, but for those that are lost. What it has not said to be
safe is kept. A node that stays away loses it to the others, from the event on that whoever fenced it names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ami.daq.block import Block, Border, Phase
from ami.event import Transition


class Place(NamedTuple):
    """A node, and the ring of it in which the events are: with another ring it begins anew."""

    node: str
    ring: int


@dataclass(slots=True, eq=False)
class Dealt:
    """A block, but for its first ``skip`` events, as a node's events from ``at`` on, the ``lost`` ones before
    which are missing for good."""

    block: Block
    skip: int
    at: int
    lost: int = 0

    @property
    def end(self) -> int:
        return self.at + self.block.count - self.skip


@dataclass(slots=True, eq=False)
class Said:
    """A border, as a node hears it before its event ``at``."""

    border: Border
    at: int


Item = Dealt | Said


def _end(item: Item) -> int:
    """Return the position from which on a node has heard of an item."""
    return item.end if isinstance(item, Dealt) else item.at + 1


def _is_gone(item: Item) -> bool:
    return isinstance(item, Dealt) and item.block.gone


class Part(NamedTuple):
    """A block, or what is left of it without its first ``skip`` events, that is to be dealt."""

    block: Block
    skip: int = 0


@dataclass(slots=True, eq=False)
class Member:
    """What is known of one place: ``next`` event to be dealt to it, ``last`` that it has in its ring, up to
    where they are ``safe``; what is ``kept`` for it, in the order in which it is sent.

    line: the connection; None: it is away. turn: the number that it gave this connection. reached: the event
    up to which all that there still is was sent over it. condemned_s: when its fencing was asked for.
    """

    place: Place
    next: int
    last: int
    safe: int
    credit: int = 0
    turn: int = 0
    line: bytes | None = None
    heard_s: float = 0.0
    reached: int = 0
    condemned_s: float | None = None
    kept: deque[Item] = field(default_factory=deque)
    flying: deque[Dealt] = field(default_factory=deque)
    flying_bytes: int = 0

    def fly(self, dealt: Dealt) -> None:
        self.flying.append(dealt)
        self.flying_bytes += dealt.block.bytes

    def land(self) -> None:
        while self.flying and self.flying[0].end <= self.last:
            self.flying_bytes -= self.flying.popleft().block.bytes

    def send(self, item: Item) -> int:
        """Count an item as sent; return the event up to which the node must have all before it."""
        after = self.reached
        self.reached = item.end if isinstance(item, Dealt) else max(after, item.at)
        return after

    def has_room(self, block: Block) -> bool:
        return not self.flying or self.flying_bytes + block.bytes <= self.credit


class Book(Protocol):
    """Where is written what must outlive the sender, before it happens.

    It is called before anything is said to a node, and in that order played again.
    """

    def deal(self, place: Place, dealt: Dealt) -> None: ...
    def meet(self, place: Place, at: int) -> None: ...
    def let_go(self, place: Place, safe: int) -> None: ...
    def take(self, place: Place, safe: int) -> None: ...
    def border(self, border: Border) -> None: ...
    def lose(self, count: int) -> None: ...


class Dealer:
    """The blocks that are dealt and not safe yet, and whose they are.

    Attributes:
        book: where it writes what it does.
        pool: what was taken from nodes, to be dealt before anything new.
        owed: events that are lost, of which no node has been told yet.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self._members: dict[Place, Member] = {}
        self._taken: dict[Place, None] = {}
        self._turn = 0
        self.pool: deque[Part] = deque()
        self.owed = 0
        self.unknown = 0  # events of which nobody knows any more whether a node has them
        self.phase = Phase(0)
        self.is_in_step = False
        self.kept_bytes = 0
        self.dealt = self.again = self.lost = self.safe = 0  # events

    # --- nodes ----------------------------------------------------------------------------------

    def at(self, place: Place) -> Member:
        return self._members[place]

    def find(self, line: bytes) -> Member | None:
        return next((one for one in self._members.values() if one.line == line), None)

    def list_members(self) -> list[Member]:
        return list(self._members.values())

    @property
    def present(self) -> list[Member]:
        return [one for one in self._members.values() if one.line is not None]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is kept for anybody: each event that was dealt is safe, or was lost."""
        return not self.pool and not any(
            isinstance(item, Dealt) for one in self._members.values() for item in one.kept
        )

    def list_taken(self) -> list[Place]:
        """Return the places of which events were dealt to others, those of the newest ring of each node."""
        newest = {place.node: place for place in sorted(self._taken)}
        return list(newest.values())

    def note_taken(self, place: Place) -> None:
        self._taken[place] = None

    def was_taken(self, place: Place) -> bool:
        """Whether the events of a place were dealt to others, so that it must begin anew."""
        return place in self._taken

    def join(
        self, place: Place, line: bytes, *, turn: int, last: int, safe: int, credit: int, now_s: float
    ) -> list[Item] | None:
        """Take up a node that says where it is; return what it is to be sent, in order.

        None: it is about to be fenced, and cannot come back any more.
        """
        self.hang_up(line)  # it may have had another ring
        member = self._members.get(place)
        if member is not None and member.condemned_s is not None:
            return None
        if member is None or not member.safe <= last <= member.next:
            member = self.meet(place, last)
        member.line, member.turn, member.credit, member.heard_s = line, turn, credit, now_s
        member.last = member.reached = last
        self.note_safe(member, min(safe, last))
        member.flying.clear()
        member.flying_bytes = 0
        for item in [one for one in member.kept if _is_gone(one) and _end(one) > last]:
            member.kept.remove(item)
            self.lost += _end(item) - max(last, item.at)
        unsent = [item for item in member.kept if _end(item) > last]
        for item in unsent:
            if isinstance(item, Dealt):
                member.fly(item)
        return unsent

    def meet(self, place: Place, last: int, *, knows: bool = False) -> Member:
        """Take up a place that is new; or whose events are of another sender, or of one that lost its book.

        ``knows``: where the experiment is.
        """
        earlier = self._members.get(place)
        if earlier is not None:
            self.kept_bytes -= sum(i.block.bytes for i in earlier.kept if isinstance(i, Dealt))
            self.unknown += sum(i.end - i.at for i in earlier.kept if isinstance(i, Dealt))
        member = self._members[place] = Member(place, last, last, last)
        self.book.meet(place, last)
        if not knows:
            self._introduce(member)
        return member

    def hint(self, place: Place, said: Said) -> None:
        """Let a place know of a border, before its event ``said.at``."""
        self._members[place].kept.append(said)

    def _introduce(self, member: Member) -> None:
        """Let a new one know where the experiment is."""
        run, step, value = self.phase
        if run:
            member.kept.append(Said(Border(Transition.BEGIN_RUN, Phase(run)), member.next))
        if run and self.is_in_step:
            member.kept.append(Said(Border(Transition.BEGIN_STEP, Phase(run, step, value)), member.next))

    def hear(self, line: bytes, turn: int, last: int, safe: int, now_s: float) -> bool:
        """Take up how far a node is; False: it is not known."""
        member = self.find(line)
        if member is None or member.turn != turn:
            return False
        member.heard_s = now_s
        member.last = max(member.last, min(last, member.next))
        member.land()
        self.note_safe(member, min(safe, member.last))
        return True

    def note_safe(self, member: Member, safe: int) -> None:
        """Let go of what is kept for a member up to ``safe``."""
        if safe <= member.safe:
            return
        self.safe += safe - member.safe
        member.safe = safe
        self.book.let_go(member.place, safe)
        kept = member.kept
        while kept and _end(kept[0]) <= safe:
            self._forget(kept.popleft())

    def _forget(self, item: Item) -> None:
        if isinstance(item, Dealt):
            self.kept_bytes -= item.block.bytes
            item.block.packed = None

    def hang_up(self, line: bytes) -> None:
        """Deal nothing more to a node that cannot be reached, until it comes again."""
        member = self.find(line)
        if member is not None:
            member.line = None

    def look(self, now_s: float, lease_s: float, again_s: float) -> list[Member]:
        """Return the members that are to be fenced: nodes that stayed away, or have another ring now."""
        newest = {one.place.node: one.place.ring for one in self.present}
        late = []
        for member in self._members.values():
            if now_s - member.heard_s > lease_s:
                member.line = None
            elif member.line is not None or newest.get(member.place.node, 0) <= member.place.ring:
                continue
            waits = member.condemned_s is not None and now_s - member.condemned_s < again_s
            if member.next > member.safe and not waits:
                late.append(member)
        return late

    def take(self, place: Place, safe: int) -> int:
        """Take from a fenced node what is not safe, to deal it to others; return how many events that are."""
        member = self._members.get(place)
        if member is None or member.condemned_s is None:
            return 0  # this was done before
        safe = min(max(safe, member.safe), member.next)
        self.note_safe(member, safe)
        self.book.take(place, safe)
        parts = []
        for item in member.kept:
            if not isinstance(item, Dealt):
                continue
            part = Part(item.block, item.skip + max(0, safe - item.at))
            self.owed += min(item.lost, max(0, item.at - safe))
            self.kept_bytes -= item.block.bytes
            if item.block.gone:
                self.lose(part.block.count - part.skip)
            else:
                parts.append(part)
        self.pool.extendleft(reversed(parts))
        self._members.pop(place)
        self._taken[place] = None
        taken = sum(part.block.count - part.skip for part in parts)
        self.again += taken
        return taken

    def leave(self, line: bytes, last: int, safe: int, now_s: float) -> bool:
        """Let a node go that has brought home what it had; what was on its way to it is dealt again.

        Returns whether it was let go; one that has not brought all home is only away.
        """
        member = self.find(line)
        if member is None:
            return False
        self.hear(line, member.turn, last, safe, now_s)
        member.line = None
        if safe < last or member.last != last:
            return False
        member.condemned_s = now_s
        self.take(member.place, safe)
        return True

    # --- blocks ---------------------------------------------------------------------------------

    def deal(self, part: Part) -> tuple[Member, Dealt] | None:
        """Give a block to the next node in turn that has room; None: none has."""
        members = list(self._members.values())
        for step in range(len(members)):
            member = members[(self._turn + step) % len(members)]
            if member.line is not None and member.has_room(part.block):
                self._turn = (self._turn + step + 1) % len(members)
                return member, self.give(member, part)
        return None

    def give(self, member: Member, part: Part) -> Dealt:
        """Give a block to a member, and have it told of what is owed."""
        lost, self.owed = self.owed, 0
        dealt = Dealt(part.block, part.skip, member.next + lost, lost)
        self.book.deal(member.place, dealt)
        member.next = dealt.end
        member.kept.append(dealt)
        member.fly(dealt)
        self.kept_bytes += part.block.bytes
        self.dealt += part.block.count - part.skip
        return dealt

    def lose(self, count: int) -> None:
        """Have the next node told that ``count`` events are missing for good."""
        self.book.lose(count)
        self.owed += count
        self.lost += count

    def announce(self, border: Border) -> list[tuple[Member, Said]]:
        """Tell every node of a border; those that are away hear of it when they come."""
        self.book.border(border)
        self.phase = border.phase
        self.is_in_step = border.transition == Transition.BEGIN_STEP
        if border.transition == Transition.END_RUN:
            self.phase = Phase(0)
        told = []
        for member in self._members.values():
            said = Said(border, member.next)
            member.kept.append(said)
            if member.line is not None:
                told.append((member, said))
        return told

    def list_kept(self) -> Iterator[Dealt]:
        """Yield what is dealt and not safe."""
        for member in self._members.values():
            yield from (item for item in member.kept if isinstance(item, Dealt))
