"""Append numbered records exactly once, and read and remove them.

A record is an entry of a Redis stream whose ID is its number (``N-0``), so that Redis itself refuses a
number that is not higher than every one before, however late a repeated command arrives; it remembers
the highest also when every record is gone. The payload lies in a key of its own: in the stream it
would be copied into a listpack.

The payload is sent under another name first (which expires), and renamed by the script that adds the
entry. A repeated append so cannot bring back the payload of a record that was removed, nor touch
that of one that is still there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ami.errors import Undecodable
from ami.stores import codec, keys, streams
from ami.stores.codec import Buffer, Value
from ami.stores.lease import Lease
from ami.stores.link import ARRIVING_MS, Command, Link, Part, Script

BATCH = 1000  # records removed at once by trim
# Payloads of one journal that are read at once, apart from one that is larger. A reader that takes a backlog
# of gigabytes in one answer looks like one that hangs, is killed, and meets the same backlog again.
READ_BYTES = 1 << 26

# KEYS: stream, arriving payload, payload, index, names of `also` …
# ARGV: id, expiry of the payload in ms or 0, then of each `also` its name and its bytes
_APPEND = Script("""
if redis.call('EXISTS', KEYS[2]) == 0 then
  return redis.error_reply('ERR the payload did not arrive')
end
local added = redis.pcall('XADD', KEYS[1], ARGV[1], 'n', '')
if added['err'] then
  redis.call('DEL', KEYS[2])
  if string.find(added['err'], 'equal or smaller', 1, true) then return 0 end
  return added
end
redis.call('RENAME', KEYS[2], KEYS[3])
if ARGV[2] == '0' then redis.call('PERSIST', KEYS[3]) else redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
for i = 5, #KEYS do
  redis.call('SET', KEYS[i], ARGV[2 * i - 6])
  redis.call('ZADD', KEYS[4], '+inf', ARGV[2 * i - 7])
end
return 1
""")

# KEYS: stream, and, if there are any, index and names of `also` …
# ARGV: the last number there may be, or nothing, then of each `also` its name and its bytes
_FENCE = Script("""
local last = '0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then last = string.match(facts[i + 1], '^%d+') end
  end
end
if ARGV[1] ~= '' and tonumber(ARGV[1]) ~= tonumber(last) then return 0 end
local id = string.format('%.0f-0', tonumber(last) + 1)
redis.call('XADD', KEYS[1], id, 'n', '')
redis.call('XDEL', KEYS[1], id)
for i = 3, #KEYS do
  redis.call('SET', KEYS[i], ARGV[2 * i - 3])
  redis.call('ZADD', KEYS[2], '+inf', ARGV[2 * i - 4])
end
return tonumber(last) + 1
""")


@dataclass(frozen=True, slots=True)
class Record:
    """A journal's record."""

    number: int
    value: Value


class BadRecord(Undecodable):
    """A record whose payload cannot be decoded; ``journal`` is its key."""

    def __init__(self, journal: str, number: int, reason: str) -> None:
        super().__init__(f"record {number} of {journal}: {reason}")
        self.journal = journal
        self.number = number


class Journal:
    """Records with ascending numbers, given by the one writer; each is appended at most once.

    ``key`` is its key, which no other journal of this tier has.
    """

    def __init__(self, link: Link, head: str, name: str) -> None:
        self._link = link
        self._head = head
        self.key = head + name

    def append(
        self,
        number: int,
        value: Value,
        *,
        also: Mapping[str, Value] | None = None,
        expire_s: float | None = None,
    ) -> bool:
        """Append record ``number`` (from 1) and set the values ``also``, all of it or nothing.

        Returns False, and changes nothing, when this number or a higher one was appended before,
        even if it was removed since. So an append may be repeated whenever its answer was lost.
        ``expire_s``: the payload disappears after this time if nobody removes the record.
        """
        if number < 1:
            raise ValueError(f"records are numbered from 1, got {number}")
        also = also or {}
        arriving = keys.arriving(self.key, number)
        names = [self.key, arriving, keys.payload(self.key, number), self._head + keys.INDEX]
        names += [self._head + name for name in also]
        arguments: list[Part] = [f"{number}-0", 0 if expire_s is None else max(1, int(expire_s * 1000))]
        for name, one in also.items():
            arguments += [name, codec.encode(one)]
        first = ("SET", arriving, codec.encode(value), "PX", ARRIVING_MS)
        # Repeating is safe: the number decides, whichever of the two arrives first.
        return bool(self._link.script(_APPEND, names, arguments, before=[first], repeat=True, copied=True))

    def replace(self, number: int, raw: Buffer) -> None:
        """Give a record that is still there another payload, as :func:`ami.stores.codec.encode` makes it."""
        command: Command = ("SET", keys.payload(self.key, number), codec.Chunks([raw]), "XX", "KEEPTTL")
        self._link.call(self.key, [command], repeat=True)

    def numbers(self) -> list[int]:
        """Return the numbers of all records."""
        return _numbers(self._link.one(self.key, "XRANGE", "-", "+", repeat=True))

    def read(self, after: int = 0, limit: int = 100) -> list[Record]:
        """Return the first records beyond number ``after``: ``limit`` of them, or what is read at once.

        Raises:
            BadRecord: a payload cannot be decoded; ``number`` says which, so that it can be removed.
        """
        entries = self._link.one(self.key, "XRANGE", f"({after}-0", "+", "COUNT", limit, repeat=True)
        return self.records(_numbers(entries))

    def records(self, numbers: list[int], known: Mapping[int, Buffer | None] | None = None) -> list[Record]:
        """Return the records of ``numbers``; one that was removed or expired meanwhile is left out.

        Only the first that there are, where all together are more than is read at once. ``known``: payloads
        that were read already.
        """
        there = {number: one for number, one in (known or {}).items() if one is not None}
        records: list[Record] = []
        while numbers and not records:
            part = numbers[: self._portion(numbers)]
            numbers = numbers[len(part) :]
            if missing := [number for number in part if number not in there]:
                read = self._link.call(self.key, [("MGET", *self._payloads(missing))], repeat=True)[0]
                there |= zip(missing, read, strict=True)
            for number in part:
                if (payload := there.get(number)) is None:
                    continue
                try:
                    records.append(Record(number, codec.decode(payload)))
                except Undecodable as error:
                    if records:  # these first; the bad one is met again
                        return records
                    raise BadRecord(self.key, number, str(error)) from error
        return records

    def _portion(self, numbers: list[int]) -> int:
        """Return how many of these records are read at once: those that fit, and at least one."""
        if len(numbers) == 1:
            return 1  # so of what comes now and then no size is asked
        return max(1, sum(total <= READ_BYTES for total in accumulate(self._sizes(numbers))))

    def _sizes(self, numbers: list[int]) -> list[int]:
        commands: list[Command] = [("STRLEN", name) for name in self._payloads(numbers)]
        return self._link.call(self.key, commands, repeat=True) if commands else []

    def _payloads(self, numbers: list[int]) -> list[str]:
        return [keys.payload(self.key, number) for number in numbers]

    def remove(
        self, numbers: Iterable[int], lease: Lease | None = None, others: Iterable[Removal] = ()
    ) -> int:
        """Remove records and their payloads; return how many there were.

        ``others``: of this tier (and, there, of this prefix), what of them is removed in the same step.

        Raises:
            Conflict: a ``lease`` is given, and is not held any more.
        """
        commands: list[Command] = []
        touched: list[str] = []
        for journal, some in ((self, numbers), *others):
            if wanted := list(some):
                payloads = journal._payloads(wanted)
                commands.append(("XDEL", journal.key, *(f"{number}-0" for number in wanted)))
                commands.append(("UNLINK", *payloads))
                touched += [journal.key, *payloads]
        if not commands:
            return 0
        if lease is not None:
            replies = lease.atomic(touched, commands, repeat=True)
        else:
            replies = self._link.atomic(self.key, commands, repeat=True)
        return sum(map(int, replies[::2]))

    def trim(self, upto: int, lease: Lease | None = None) -> int:
        """Remove every record up to number ``upto``, this included, as :meth:`remove` does."""
        removed = 0
        while entries := self._link.one(self.key, "XRANGE", "-", f"{upto}-0", "COUNT", BATCH, repeat=True):
            removed += self.remove(_numbers(entries), lease)
        return removed

    def fence(self, *, last: int | None = None, also: Mapping[str, Value] | None = None) -> int:
        """Take the next number and leave it empty; return it.

        For a writer that follows a dead one: an append that the dead one has sent, and that the store
        has not come to yet, is refused from now on. So what is read after this stays true.

        Args:
            last: do so only if this is the highest number that was taken; else nothing is changed: 0.
            also: values to set in the same step.
        """
        also = also or {}
        # One key alone, where that is enough: while a slot moves, several may lie on two nodes.
        names = [self.key, *([self._head + keys.INDEX] if also else []), *(self._head + one for one in also)]
        arguments: list[Part] = ["" if last is None else last]
        for name, one in also.items():
            arguments += [name, codec.encode(one)]
        # Repeating is safe: without `last` it takes two numbers, and with it the second time takes none.
        return int(self._link.script(_FENCE, names, arguments, repeat=True, copied=True))

    def measure(self) -> int:
        """Return how many bytes the payloads of all records have."""
        return sum(self._sizes(self.numbers()))

    def pending(self) -> int:
        """Return how many records there are."""
        return int(self._link.one(self.key, "XLEN", repeat=True))


@dataclass(slots=True)
class Bell:
    """Journals that somebody else reads: who waits for records of his own is told of theirs.

    Attributes:
        after: by journal, beyond which number.
        rings: whether there is a record.
    """

    after: Mapping[Journal, int]
    rings: bool = False


Removal = tuple[Journal, Iterable[int]]  # records of a journal, by number


def read_many(
    link: Link, journals: Mapping[str, Journal], after: Mapping[str, int], timeout_s: float, limit: int,
    bell: Bell | None = None,
) -> list[tuple[str, Record]]:  # fmt: skip
    """See :meth:`ami.stores.store.Store.read_journals`."""
    names = {journal.key: name for name, journal in journals.items()}
    places = {key: f"{after.get(name, 0)}-0" for key, name in names.items()}
    others = {journal.key: f"{number}-0" for journal, number in bell.after.items()} if bell else {}
    deadline = time.monotonic() + timeout_s
    while places:
        # As a rule it is the next number that comes, of each: so its payload comes in the same round trip.
        nexts = {key: int(place.partition("-")[0]) + 1 for key, place in places.items()}
        guess: Command = ("MGET", *map(keys.payload, nexts.keys(), nexts.values()))
        left_s = deadline - time.monotonic()
        found, payloads = streams.read_with(link, places | others, left_s, limit, guess)
        guessed = dict(zip(nexts, payloads or (), strict=bool(payloads)))
        records = []
        for key, entries in found:
            if (name := names.get(key)) is None:
                assert bell is not None
                bell.rings = True
                continue
            there = {nexts[key]: guessed.get(key)}
            records += [(name, one) for one in journals[name].records(_numbers(entries), there)]
            # Should they be removed just now, or their payloads have expired, the next ones lie beyond.
            places[key] = entries[-1][0].decode()
        if records or not found or (bell is not None and bell.rings):
            return records
    return []


def _numbers(entries: list[Any]) -> list[int]:
    return [int(entry[0].partition(b"-")[0]) for entry in entries]
