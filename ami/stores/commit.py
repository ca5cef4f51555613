"""Make sure, in the step that writes, that a lease and expected values are what they should be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Final

from ami.errors import Conflict
from ami.stores import codec
from ami.stores.codec import Value
from ami.stores.link import Link, Script


class Absent(Enum):
    """The type of :data:`ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""What :meth:`Store.compare_and_set` and :meth:`Store.commit` expect of a name that must not exist."""

# A script's arguments are copied twice before they are stored (16 MiB: 30 ms in which the server does nothing
# else), so a large value comes before it under a name of its own, which expires, and is renamed.
# KEYS: index, lease if any, each expected, each value, each stream, each that is to go, each large value that
#       has arrived.
# ARGV: what the lease must be ('' without one), counts of expected, values, streams, entries to keep, count
#       of what is to go; of each expected the SHA-1 of its bytes ('' if it must be absent); of each value
#       name and bytes, or '' if it is the next of those that have arrived; of each stream its entry; names
#       to go.
COMMIT = Script("""
local key = 1
if ARGV[1] ~= '' then
  key = 2
  if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'lease' end
end
local place = 6
for i = 1, tonumber(ARGV[2]) do
  key, place = key + 1, place + 1
  local kind = redis.call('TYPE', KEYS[key])['ok']
  if ARGV[place] == '' then
    if kind ~= 'none' then return KEYS[key] end
  elseif kind ~= 'string' or redis.sha1hex(redis.call('GET', KEYS[key])) ~= ARGV[place] then
    return KEYS[key]
  end
end
local arrived = key + tonumber(ARGV[3]) + tonumber(ARGV[4]) + tonumber(ARGV[6])
for i = arrived + 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return redis.error_reply('ERR a value did not arrive') end
end
for i = 1, tonumber(ARGV[3]) do
  key, place = key + 1, place + 2
  if ARGV[place] == '' then
    arrived = arrived + 1
    redis.call('PERSIST', KEYS[arrived])
    redis.call('RENAME', KEYS[arrived], KEYS[key])
  else
    redis.call('SET', KEYS[key], ARGV[place])
  end
  redis.call('ZADD', KEYS[1], '+inf', ARGV[place - 1])
end
for i = 1, tonumber(ARGV[4]) do
  key, place = key + 1, place + 1
  redis.call('XADD', KEYS[key], 'MAXLEN', '~', ARGV[5], '*', 'v', ARGV[place])
end
for i = 1, tonumber(ARGV[6]) do
  key, place = key + 1, place + 1
  redis.call('UNLINK', KEYS[key])
  redis.call('ZREM', KEYS[1], ARGV[place])
end
return ''
""")


def digests(link: Link, head: str, expected: Mapping[str, Value | Absent]) -> dict[str, str]:
    """Return the SHA-1 of what is there now ("" for nothing), where it equals what is expected.

    Equal values can have different bytes, so they are compared here; the script then makes sure that
    the bytes are still the ones that were compared.
    """
    if not expected:
        return {}
    names = [head + name for name in expected]
    found = {}
    raws = link.call(names[0], [("MGET", *names)], repeat=True)[0]
    for (name, wanted), raw in zip(expected.items(), raws, strict=True):
        if raw is None or wanted is ABSENT:
            stands = raw is None and wanted is ABSENT
        else:
            stands = codec.equal(codec.decode(raw), wanted)
        if not stands:
            raise Conflict(f"{head}{name} is not what was expected")
        found[name] = "" if raw is None else hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    return found
