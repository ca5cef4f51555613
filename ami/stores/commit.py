"""Write values and notices together, or nothing when a lease or an expected value is not as it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from ami.errors import Conflict
from ami.stores import codec, keys
from ami.stores.codec import Value
from ami.stores.lease import Lease
from ami.stores.link import Link, Part, Script


class Absent:
    """The type of :data:`ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""What :meth:`Store.compare_and_set` and :meth:`Store.commit` expect of a name that must not exist."""

# KEYS: index, lease if any, each expected, each value, each stream.
# ARGV: what the lease must be ('' without one), counts of expected, values, streams, entries to keep;
#       of each expected the SHA-1 of its bytes ('' if it must be absent); of each value name and bytes;
#       of each stream its entry.
_COMMIT = Script("""
local key = 1
if ARGV[1] ~= '' then
  key = 2
  if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lease' end
end
local place = 5
for i = 1, tonumber(ARGV[2]) do
  key, place = key + 1, place + 1
  local kind = redis.call('TYPE', KEYS[key])['ok']
  if ARGV[place] == '' then
    if kind ~= 'none' then return KEYS[key] end
  elseif kind ~= 'string' or redis.sha1hex(redis.call('GET', KEYS[key])) ~= ARGV[place] then
    return KEYS[key]
  end
end
for i = 1, tonumber(ARGV[3]) do
  key, place = key + 1, place + 2
  redis.call('SET', KEYS[key], ARGV[place])
  redis.call('ZADD', KEYS[1], '+inf', ARGV[place - 1])
end
for i = 1, tonumber(ARGV[4]) do
  key, place = key + 1, place + 1
  redis.call('XADD', KEYS[key], 'MAXLEN', '~', ARGV[5], '*', 'v', ARGV[place])
end
return ''
""")


def commit(
    link: Link,
    head: str,
    lease: Lease | None,
    values: Mapping[str, Value],
    expected: Mapping[str, Value | Absent],
    notify: Mapping[str, Value],
    keep: int,
) -> None:
    """See :meth:`ami.stores.store.Store.commit`; ``head`` is what stands before each name."""
    digests = _digests(link, head, expected)
    names = [head + keys.INDEX, *([lease.key] if lease else [])]
    names += [head + name for name in (*digests, *values, *notify)]
    arguments: list[Part] = [lease.held if lease else "", len(digests), len(values), len(notify), keep]
    arguments += digests.values()
    for name, value in values.items():
        arguments += [name, codec.encode(value)]
    arguments += [codec.encode(value) for value in notify.values()]
    answer = link.script(_COMMIT, names, arguments, repeat=False)
    if answer == b"lease" and lease is not None:
        raise Conflict(f"the lease {lease.key} with token {lease.token} is not ours any more")
    if answer:
        raise Conflict(f"{answer.decode('utf-8', 'replace')} is not what was expected any more")


def _digests(link: Link, head: str, expected: Mapping[str, Value | Absent]) -> dict[str, str]:
    """Return the SHA-1 of what is there now ("" for nothing), where it equals what is expected.

    Equal values can have different bytes, so they are compared here; the script then makes sure that
    the bytes are still the ones that were compared.
    """
    if not expected:
        return {}
    names = [head + name for name in expected]
    digests = {}
    raws = link.call(names[0], [("MGET", *names)], repeat=True)[0]
    for (name, wanted), raw in zip(expected.items(), raws, strict=True):
        if raw is None or wanted is ABSENT:
            stands = raw is None and wanted is ABSENT
        else:
            stands = codec.equal(codec.decode(raw), wanted)
        if not stands:
            raise Conflict(f"{head}{name} is not what was expected")
        digests[name] = "" if raw is None else hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    return digests
