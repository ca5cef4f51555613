"""Keep what a sender must not forget: which events were dealt to whom, and how far they are safe.

One file of msgpack records, each written before what it says is done; what a killed sender has written, the
kernel has. Its successor replays it. A record that was cut at the end never counted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgpack

from ami.daq.block import Block, Border, Phase
from ami.daq.dealer import Dealer, Dealt, Member, Part, Place, Said
from ami.event import Transition

logger = logging.getLogger(__name__)

FORMAT: Final = "ami-daq-1"
COMPACT_BYTES: Final = 4 << 20

Record = list[Any]


class MemoryBook:
    """A book of a sender that is not to outlive itself."""

    def deal(self, place: Place, dealt: Dealt) -> None: ...
    def meet(self, place: Place, at: int) -> None: ...
    def let_go(self, place: Place, safe: int) -> None: ...
    def take(self, place: Place, safe: int) -> None: ...
    def border(self, border: Border) -> None: ...
    def lose(self, count: int) -> None: ...


class FileBook:
    """The book of the sender of one input.

    Args:
        path: of its file; the folder is made.
        source: what the input is; a book of another one is put aside.
    """

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pack = msgpack.Packer().pack
        self._snapshot: Callable[[], Iterable[Record]] = lambda: ()
        self.position = 0  # of the input: the next event that nobody was dealt
        self.run = 0  # the last that was begun
        self.borders = 0  # that were said since an event was dealt for the first time
        found = self._read()
        is_mine = bool(found) and found[0][:3] == ["book", FORMAT, source]
        self._found = found[1:] if is_mine else []
        if not is_mine or found[-1] == ["end"]:
            # Another input, or the same once more: all that lasts is which runs there were, and who is out.
            self._found = [record for record in found if record[0] in ("run", "taken")]
            self._found += [["run", record[2]] for record in found if record[0] == "border"]
        self._fd = -1

    def _read(self) -> list[Record]:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return []
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(raw)
        records: list[Record] = []
        try:
            for record in unpacker:
                if not isinstance(record, list) or not record:
                    break
                records.append(record)
        except (ValueError, msgpack.UnpackException):
            logger.warning("%s: damaged behind record %d; what is before it counts", self._path, len(records))
        return records

    def open(self, dealer: Dealer, *, event_bytes: int, replays: bool) -> None:
        """Have ``dealer`` go on where a predecessor was, and write down what it does from now on.

        Args:
            event_bytes: of one event, about.
            replays: whether the input can be read again.
        """
        player = _Player(dealer, event_bytes)
        for record in self._found:
            player.play(record)
        self.position, self.run, self.borders = player.position, player.run, player.borders
        player.finish(replays=replays)
        dealer.book = self
        self._snapshot = lambda: _snapshot(dealer, self)
        self._compact()

    def _compact(self) -> None:
        """Write what is true now into a new file, which takes the place of the old one whole."""
        new = self._path.with_name(f".{self._path.name}.new")
        with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            for record in (["book", FORMAT, self._source], *self._snapshot()):
                file.write(self._pack(record))
            file.flush()
            os.fsync(file.fileno())
            self._bytes = file.tell()
        new.rename(self._path)
        self.close()
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._most = max(COMPACT_BYTES, 2 * self._bytes)

    def _write(self, *record: Any) -> None:
        packed = self._pack(record)
        os.write(self._fd, packed)
        self._bytes += len(packed)

    def look(self) -> None:
        """Write the file anew, now and then. Between two things that are done, never within one."""
        if self._bytes > self._most:
            self._compact()

    def deal(self, place: Place, dealt: Dealt) -> None:
        self._pass(dealt.block.first + dealt.block.count)
        self._write(*_deal(place, dealt))

    def meet(self, place: Place, at: int) -> None:
        self._write("meet", *place, at)

    def let_go(self, place: Place, safe: int) -> None:
        self._write("safe", *place, safe)

    def take(self, place: Place, safe: int) -> None:
        self._write("take", *place, safe)

    def pass_over(self, position: int) -> None:
        """Write down that events before ``position`` that nobody was dealt are lost, and counted."""
        self._pass(position)
        self._write("pass", position)

    def _pass(self, position: int) -> None:
        if position > self.position:
            self.position, self.borders = position, 0

    def border(self, border: Border) -> None:
        if border.transition == Transition.BEGIN_RUN:
            self.run = border.phase.run
        self.borders += 1
        self._write("border", int(border.transition), *border.phase)

    def lose(self, count: int) -> None:
        self._write("lose", count)

    def end(self) -> None:
        """Write down that all is done: who begins again begins from the beginning."""
        self._write("end")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Player:
    """Has a dealer do again what a book says that it did."""

    def __init__(self, dealer: Dealer, event_bytes: int) -> None:
        self._dealer = dealer
        self._event_bytes = event_bytes
        self._pool: dict[tuple[int, int], Part] = {}  # by the first event, and how many are skipped
        self.position = self.run = self.borders = 0

    def play(self, record: Record) -> None:
        kind, *facts = record
        getattr(self, f"_play_{kind}")(*facts)

    def _play_pass(self, position: int) -> None:
        if position > self.position:
            self.position, self.borders = position, 0

    def _play_since(self, borders: int) -> None:
        self.borders = borders

    def _play_run(self, run: int) -> None:
        self.run = max(self.run, run)

    def _play_taken(self, node: str, ring: int) -> None:
        self._dealer.note_taken(Place(node, ring))

    def _play_meet(self, node: str, ring: int, at: int) -> None:
        self._dealer.meet(Place(node, ring), at)

    def _play_member(self, node: str, ring: int, at: int) -> None:
        self._dealer.meet(Place(node, ring), at, knows=True)

    def _play_said(self, node: str, ring: int, at: int, transition: int, *phase: Any) -> None:
        border = Border(Transition(transition), Phase(*phase))
        self._dealer.hint(Place(node, ring), Said(border, at))

    def _play_lose(self, count: int) -> None:
        self._dealer.lose(count)

    def _play_part(self, skip: int, first: int, count: int, *phase: Any) -> None:
        self._pool[first, skip] = Part(self._block(first, count, *phase), skip)

    def _play_deal(
        self, node: str, ring: int, lost: int, skip: int, first: int, count: int, *phase: Any
    ) -> None:
        taken = self._pool.pop((first, skip), None)
        block = self._block(first, count, *phase) if taken is None else taken.block
        self._dealer.owed = lost
        self._dealer.give(self._dealer.at(Place(node, ring)), Part(block, skip))
        self._play_pass(first + count)

    def _block(self, first: int, count: int, *phase: Any) -> Block:
        return Block(first, count, Phase(*phase), count * self._event_bytes)

    def _play_safe(self, node: str, ring: int, safe: int) -> None:
        self._dealer.note_safe(self._dealer.at(Place(node, ring)), safe)

    def _play_take(self, node: str, ring: int, safe: int) -> None:
        place = Place(node, ring)
        self._dealer.at(place).condemned_s = 0.0
        self._dealer.take(place, safe)
        while self._dealer.pool:
            part = self._dealer.pool.popleft()
            self._pool[part.block.first, part.skip] = part

    def _play_border(self, transition: int, run: int, step: int, value: float) -> None:
        self.run = max(self.run, run)
        self.borders += 1
        self._dealer.announce(Border(Transition(transition), Phase(run, step, value)))

    def finish(self, *, replays: bool) -> None:
        """Have what was taken, and nobody was dealt since, dealt; what is gone with the sender is lost."""
        parts = sorted(self._pool.values(), key=lambda part: part.block.first)
        if replays:
            self._dealer.pool.extend(parts)
            return
        for dealt in self._dealer.list_kept():
            dealt.block.gone = True
        self._dealer.lose(sum(part.block.count - part.skip for part in parts))


def _snapshot(dealer: Dealer, book: FileBook) -> Iterator[Record]:
    yield ["run", book.run]
    yield ["pass", book.position]
    for place in dealer.list_taken():
        yield ["taken", *place]
    phase = dealer.phase
    if phase.run:
        yield ["border", int(Transition.BEGIN_RUN), phase.run, 0, 0.0]
        if phase.step:
            inside = Transition.BEGIN_STEP if dealer.is_in_step else Transition.END_STEP
            yield ["border", int(inside), *phase]
    if dealer.owed:
        yield ["lose", dealer.owed]
    for part in dealer.pool:
        yield ["part", part.skip, part.block.first, part.block.count, *part.block.phase]
    for member in dealer.list_members():
        yield from _snapshot_member(member)
    yield ["since", book.borders]


def _snapshot_member(member: Member) -> Iterator[Record]:
    deals = [item for item in member.kept if isinstance(item, Dealt)]
    yield ["member", *member.place, deals[0].at - deals[0].lost if deals else member.next]
    for item in member.kept:
        if isinstance(item, Dealt):
            yield _deal(member.place, item)
        else:
            yield ["said", *member.place, item.at, int(item.border.transition), *item.border.phase]
    yield ["safe", *member.place, member.safe]


def _deal(place: Place, dealt: Dealt) -> Record:
    block = dealt.block
    return ["deal", *place, dealt.lost, dealt.skip, block.first, block.count, *block.phase]
