"""A queue of requests on a Redis list. Whoever takes an item has it in a second list until it is done.

Items are JSON, never pickles: they come from clients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ami.errors import StoreFull, StoreUnavailable, Undecodable
from ami.stores import keys
from ami.stores.lease import Lease
from ami.stores.link import Command, Link, Part, Reply, Script

# KEYS and ARGV begin as :meth:`ami.stores.lease.Lease.run` says, without a lease with any key and ''.
_HELD = "if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end\n"

# KEYS: taken, queue
_RECOVER = Script(
    _HELD
    + """
local count = redis.call('LLEN', KEYS[2])
for _ = 1, count do redis.call('LMOVE', KEYS[2], KEYS[3], 'RIGHT', 'LEFT') end
return count
"""
)

# Each item is put behind who sent it: `requests` says by whom, and no text of theirs can say so.
# KEYS: queue, others. ARGV: items of each, bytes of one, names of the others
_GATHER = Script("""
local moved = 0
for i = 2, #KEYS do
  for _ = 1, tonumber(ARGV[1]) do
    local item = redis.call('LINDEX', KEYS[i], 0)
    if not item then break end
    if #item <= tonumber(ARGV[2]) then
      redis.call('RPUSH', KEYS[1], ARGV[i + 1] .. ' ' .. item)
      moved = moved + 1
    end
    redis.call('LPOP', KEYS[i])
  end
end
return moved
""")

# What is taken at once of a backlog, and how large an item may be: a larger one is none.
SOME_ITEMS = 1000
SOME_BYTES = 4 << 20
ITEM_BYTES = 8 << 20
GATHER_ITEMS = 100

# What is too large leaves the store without being sent, and first: a full store moves nothing.
# KEYS: queue, taken. ARGV: items, bytes of all of them, bytes of one
_TAKE = Script(
    _HELD
    + """
local found, bytes = {0}, 0
for _ = 1, tonumber(ARGV[2]) do
  local item = redis.call('LINDEX', KEYS[2], 0)
  if not item then break end
  if #item > tonumber(ARGV[4]) then
    redis.call('LPOP', KEYS[2])
    found[1] = found[1] + 1
  else
    bytes = bytes + #item
    if #found > 1 and bytes > tonumber(ARGV[3]) then break end
    local moved = redis.pcall('LMOVE', KEYS[2], KEYS[3], 'LEFT', 'RIGHT')
    if type(moved) == 'table' then
      if #found == 1 and found[1] == 0 then return moved end
      break
    end
    found[#found + 1] = item
  end
end
return found
"""
)


@dataclass(frozen=True, slots=True)
class Item:
    """A queue's item: plain data, the id that it was put under, and from whose queue it was gathered."""

    id: str
    value: Any
    raw: bytes = field(repr=False, compare=False, default=b"")
    sender: str = ""


def to_item(value: Any, identifier: str) -> bytes:
    """Return the bytes of an item.

    Raises:
        TypeError: JSON cannot say ``value``, or it is too large.
    """
    try:
        text = json.dumps({"id": identifier, "value": value}, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise TypeError(f"this is no plain data: {error}") from error
    if len(text) > ITEM_BYTES:
        raise TypeError(
            f"this has {len(text) / (1 << 20):.1f} MiB; at most {ITEM_BYTES >> 20} can be put into a queue"
        )
    return text.encode()


def from_item(raw: bytes) -> Item:
    """Return the item of ``raw``.

    Raises:
        Undecodable: the bytes are not those of an item.
    """
    try:
        if len(raw) > ITEM_BYTES:
            raise ValueError(f"{len(raw)} bytes; at most {ITEM_BYTES} are taken")
        # What was gathered begins with a name, which has no blank; all else with a brace.
        sender, _, text = (b"", b"", raw) if raw.startswith(b"{") else raw.partition(b" ")
        item = json.loads(text)
        identifier, value = item["id"], item["value"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Undecodable(f"an item of a queue is broken: {raw[:60]!r}: {error!r:.100}") from error
    if not isinstance(identifier, str):
        raise Undecodable(f"an item of a queue has the id {identifier!r:.60}, which is no text")
    return Item(identifier, value, raw, sender.decode("ascii", "replace"))


class Queue:
    """A list of requests: whoever takes one has it until it is done.

    An item may arrive twice (a consumer died before it was done), so whoever carries it out must know
    it by its id.

    Under a ``lease`` items are taken, answered, let go of and put back only while it is held: what one would
    take who stood still and does not know yet that another leads, nobody would look for. Those methods then
    raise Conflict.
    """

    def __init__(self, link: Link, key: str, head: str = "", lease: Lease | None = None) -> None:
        self._link = link
        self._lease = lease
        self._key = key
        self._head = head  # of the keys of whoever this queue belongs to
        self._taken = keys.taken(key)
        self._held: set[bytes] = set()
        # Whether the answer to a take was lost: then an item may lie in `taken` that we never saw.
        self._doubtful = False
        self._backlog = False  # whether more may be there than was taken last

    def put(self, value: Any, *, surely: bool = False) -> str:
        """Append an item of plain data; return its id.

        Args:
            surely: tried again when the connection breaks, and appended once all the same: a mark, which
                stays for some minutes, tells what was carried out.

        Raises:
            TypeError: not what JSON can say, or too large.
            StoreUnavailable: it is not known whether the item was appended, if the connection broke.
        """
        identifier = uuid4().hex
        item = to_item(value, identifier)
        if surely:
            mark = keys.put_mark(self._key, identifier)
            milliseconds = int(1e3 * keys.MARK_EXPIRE_S)
            puts: list[Command] = [("SET", mark, "", "PX", milliseconds), ("RPUSH", self._key, item)]
            # No script: who may only ask must not run any, because an endless one holds up the server.
            self._link.changed(mark, [("EXISTS", mark)], lambda seen: None if seen[0] else puts, again=True)
        else:
            self._link.one(self._key, "RPUSH", item, repeat=False)
        return identifier

    def gather(self, others: Mapping[str, str]) -> int:
        """Move what is in other queues of this owner to the end of this one; return how many items.

        ``others``: names of queues by the name of who alone puts into each, which is from then on in
        ``sender`` of its items. No more than some of each at once; what is too large is dropped.
        """
        if not others:
            return 0
        names = [self._key, *(self._head + name for name in others.values())]
        return int(self._link.script(_GATHER, names, [GATHER_ITEMS, ITEM_BYTES, *others], repeat=True))

    def take(self, timeout_s: float) -> Item | None:
        """Return the oldest item, or None when there is none within ``timeout_s``.

        Raises:
            Undecodable: it was no item; it has been removed.
        """
        if self._doubtful:
            for raw in self._link.one(self._taken, "LRANGE", 0, -1, repeat=True):
                if bytes(raw) not in self._held:
                    return self._receive(bytes(raw))
            self._doubtful = False
        for wait_s in self._link.waits(timeout_s):
            # A block of 0 would be one without end.
            word, block = ("BLMOVE", (f"{max(wait_s, 0.001):.3f}",)) if wait_s else ("LMOVE", ())
            try:
                raw = self._link.one(self._key, word, self._taken, "LEFT", "RIGHT", *block, repeat=False)
            except StoreUnavailable:
                self._doubtful = True
                raise
            if raw is not None:
                return self._receive(bytes(raw))  # a large one came as a view
        return None

    def _receive(self, raw: bytes) -> Item:
        try:
            item = from_item(raw)
        except Undecodable:
            self._link.one(self._taken, "LREM", 1, raw, repeat=False)
            raise
        self._held.add(raw)
        return item

    def take_some(self, timeout_s: float) -> tuple[list[Item], list[Undecodable]]:
        """Return the oldest items, as many as there are and can be had at once, and why others were none.

        Those others have been removed. Nothing within ``timeout_s`` is two empty lists.
        """
        raws, broken = self._take_backlog() if self._backlog or self._doubtful else ([], [])
        if not raws and not broken and self._lease is not None:
            raws, broken = self._take_backlog() if self._await_item(timeout_s) else ([], [])
        elif not raws and not broken:
            try:
                item = self.take(timeout_s)
            except Undecodable as error:
                self._backlog = True
                return [], [error]
            except StoreFull:
                # Perhaps of what is in this queue, and too large to be taken.
                raws, broken = self._take_backlog()
            else:
                self._backlog = item is not None
                return ([] if item is None else [item]), []
        items, junk = [], []
        for raw in raws:
            try:
                items.append(from_item(raw))
            except Undecodable as error:
                junk.append(raw)
                broken.append(error)
        self._held.update(item.raw for item in items)
        if junk:
            self._call([self._taken], [("LREM", self._taken, 1, raw) for raw in junk], repeat=False)
        return items, broken

    def _run(self, script: Script, names: list[str], arguments: list[Part], *, repeat: bool) -> Reply:
        if self._lease is not None:
            return self._lease.run(script, names, arguments, repeat=repeat)
        return self._link.script(script, [names[0], *names], ["", *arguments], repeat=repeat)

    def _call(self, names: list[str], commands: list[Command], *, repeat: bool) -> None:
        if self._lease is not None:
            self._lease.atomic(names, commands, repeat=repeat)
        else:
            self._link.call(names[0], commands, repeat=repeat)

    def _await_item(self, timeout_s: float) -> bool:
        """Wait until there is an item, and leave it there; return whether there is one."""
        for wait_s in self._link.waits(timeout_s):
            if not wait_s:
                return bool(len(self))
            try:
                # To where it is already: of several who wait, each gets to know.
                block = f"{max(wait_s, 0.001):.3f}"
                found = self._link.one(self._key, "BLMOVE", self._key, "LEFT", "LEFT", block, repeat=True)
            except StoreFull:  # a full store moves nothing, and it may be the items that fill it
                return True
            if found is not None:
                return True
        return False

    def _take_backlog(self) -> tuple[list[bytes], list[Undecodable]]:
        if self._doubtful:
            there = self._link.one(self._taken, "LRANGE", 0, -1, repeat=True)
            self._doubtful, self._backlog = False, True
            if raws := [bytes(raw) for raw in there if bytes(raw) not in self._held]:
                return raws, []
        try:
            large, *raws = self._run(
                _TAKE, [self._key, self._taken], [SOME_ITEMS, SOME_BYTES, ITEM_BYTES], repeat=False
            )
        except StoreUnavailable:
            self._doubtful = True
            raise
        self._backlog = bool(raws or large)
        text = f"an item of a queue has more than {ITEM_BYTES >> 20} MiB"
        return [bytes(raw) for raw in raws], [Undecodable(text)] * int(large)

    def done(self, *items: Item) -> None:
        """Remove items that were taken."""
        self._call([self._taken], [("LREM", self._taken, 1, item.raw) for item in items], repeat=True)
        self._held.difference_update(item.raw for item in items)

    def put_beside(self, values: Mapping[str, Any], *, expire_s: float) -> None:
        """Append an item to each queue of these names, all of one owner with this one, in one round trip.

        Those queues then live for ``expire_s``.

        Raises:
            StoreUnavailable: it is not known which items were appended, if the connection broke.
        """
        commands: list[Command] = []
        for name, value in values.items():
            key = self._head + name
            commands.append(("RPUSH", key, to_item(value, uuid4().hex)))
            commands.append(("PEXPIRE", key, max(1, int(1e3 * expire_s))))
        if commands:
            self._call([self._head + name for name in values], commands, repeat=False)

    def recover(self) -> int:
        """Put back, in order, what was taken and not done; only when no other consumer lives."""
        count = int(self._run(_RECOVER, [self._taken, self._key], [], repeat=True))
        self._held.clear()
        return count

    def __len__(self) -> int:
        """Return how many items wait to be taken."""
        return int(self._link.one(self._key, "LLEN", repeat=True))
