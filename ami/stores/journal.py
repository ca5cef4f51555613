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
from typing import Any

from ami.errors import Undecodable
from ami.stores import codec, keys
from ami.stores.codec import Value
from ami.stores.link import Link, Part, Refused, Script
from ami.stores.store import Record

ARRIVING_MS = 60_000  # of a payload whose script never ran
BATCH = 1000  # records removed at once by trim

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

# KEYS: stream. ARGV: nothing
_FENCE = Script("""
local last = '0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then last = string.match(facts[i + 1], '^%d+') end
  end
end
local id = string.format('%.0f-0', tonumber(last) + 1)
redis.call('XADD', KEYS[1], id, 'n', '')
redis.call('XDEL', KEYS[1], id)
return tonumber(last) + 1
""")


class BadRecord(Undecodable):
    """A record whose payload cannot be decoded; ``journal`` is its key."""

    def __init__(self, journal: str, number: int, reason: str) -> None:
        super().__init__(f"record {number} of {journal}: {reason}")
        self.journal = journal
        self.number = number


class RedisJournal:
    """See :class:`ami.stores.store.Journal`."""

    def __init__(self, link: Link, prefix: str, name: str) -> None:
        self.link = link
        self._prefix = prefix
        self._name = name
        self.key = keys.full(prefix, name, tagged=link.tagged)

    def _key(self, name: str) -> str:
        return keys.full(self._prefix, name, tagged=self.link.tagged)

    def payload_key(self, number: int) -> str:
        return self._key(keys.payload(self._name, number))

    def append(
        self,
        number: int,
        value: Value,
        *,
        also: Mapping[str, Value] | None = None,
        expire_s: float | None = None,
    ) -> bool:
        if number < 1:
            raise ValueError(f"records are numbered from 1, got {number}")
        also = also or {}
        arriving = self._key(keys.arriving(self._name, number))
        names = [self.key, arriving, self.payload_key(number), self._key(keys.INDEX)]
        names += [self._key(name) for name in also]
        expire_ms = 0 if expire_s is None else max(1, int(expire_s * 1000))
        arguments: list[Part] = [f"{number}-0", expire_ms]
        for name, one in also.items():
            arguments += [name, codec.encode(one)]
        first = ("SET", arriving, codec.encode(value), "PX", ARRIVING_MS)
        # Repeating is safe: the number decides, whichever of the two arrives first.
        return bool(self.link.script(_APPEND, names, arguments, before=[first], repeat=True))

    def read(self, after: int = 0, limit: int = 100) -> list[Record]:
        entries = self.link.one(self.key, "XRANGE", f"({after}-0", "+", "COUNT", limit, repeat=True)
        return self.records(_numbers(entries))

    def records(self, numbers: list[int]) -> list[Record]:
        """Return the records of ``numbers``; one that was removed or expired meanwhile is left out."""
        if not numbers:
            return []
        payloads = self.link.call(self.key, [("MGET", *map(self.payload_key, numbers))], repeat=True)[0]
        records = []
        for number, payload in zip(numbers, payloads, strict=True):
            if payload is None:
                continue
            try:
                records.append(Record(number, codec.decode(payload)))
            except Undecodable as error:
                if records:  # these first; the bad one is met again
                    return records
                raise BadRecord(self.key, number, str(error)) from error
        return records

    def remove(self, numbers: Iterable[int]) -> int:
        wanted = list(numbers)
        if not wanted:
            return 0
        removed, _ = self.link.atomic(
            self.key,
            [
                ("XDEL", self.key, *[f"{number}-0" for number in wanted]),
                ("UNLINK", *map(self.payload_key, wanted)),
            ],
            repeat=True,
        )
        return int(removed)

    def trim(self, upto: int) -> int:
        removed = 0
        while True:
            entries = self.link.one(self.key, "XRANGE", "-", f"{upto}-0", "COUNT", BATCH, repeat=True)
            if not entries:
                return removed
            removed += self.remove(_numbers(entries))

    def last(self) -> int:
        try:
            facts = self.link.call(self.key, [("XINFO", "STREAM", self.key)], repeat=True)[0]
        except Refused as error:
            if "no such key" in str(error):
                return 0
            raise
        return _number(dict(zip(facts[::2], facts[1::2], strict=True))[b"last-generated-id"])

    def fence(self) -> int:
        # Repeating is safe: it takes two numbers.
        return int(self.link.script(_FENCE, [self.key], repeat=True))

    def pending(self) -> int:
        return int(self.link.one(self.key, "XLEN", repeat=True))


def _number(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _numbers(entries: list[Any]) -> list[int]:
    return [_number(entry[0]) for entry in entries]


def read_many(
    journals: Mapping[str, RedisJournal], after: Mapping[str, int], timeout_s: float, limit: int
) -> list[tuple[str, Record]]:
    """See :func:`ami.stores.store.read_journals`."""
    by_key = {journal.key: name for name, journal in journals.items()}
    link = next(iter(journals.values())).link
    places = [f"{after.get(by_key[key], 0)}-0" for key in by_key]
    deadline = time.monotonic() + timeout_s
    while True:
        rest_s = min(deadline - time.monotonic(), link.block_s)
        block: tuple[Part, ...] = ("BLOCK", max(1, int(rest_s * 1000))) if rest_s > 0 else ()
        command = ("XREAD", "COUNT", limit, *block, "STREAMS", *by_key, *places)
        found = link.call(next(iter(by_key)), [command], repeat=True)[0]
        records = []
        for key, entries in found or ():
            name = by_key[key.decode()]
            records += [(name, record) for record in journals[name].records(_numbers(entries))]
        if records or time.monotonic() >= deadline:
            return records
        if found:
            # Only records that are being removed, or whose payload expired: the next ones lie beyond.
            seen = {key.decode(): entries[-1][0].decode() for key, entries in found}
            places = [seen.get(key, place) for key, place in zip(by_key, places, strict=True)]
