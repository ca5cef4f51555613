"""The right to act, for a while, with a token that ascends from holder to holder (fencing).

The lease is a key that expires: ``TOKEN OWNER``. A holder that sleeps through its time finds the key
gone or another's, and :data:`COMMIT` looks at it in the same step in which it writes, so nothing can be
written by who lost the lease without noticing.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from ami.errors import Conflict
from ami.stores import codec, keys
from ami.stores.codec import Value
from ami.stores.link import Link, Part, Script

# KEYS: lease, counter of tokens. ARGV: owner, ms, what the owner's name begins with from whom it may
# be taken, or ''
_ACQUIRE = Script("""
local held = redis.call('GET', KEYS[1])
if held then
  local token, owner = string.match(held, '^(%d+) (.*)$')
  if owner == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return tonumber(token)
  end
  if ARGV[3] == '' or string.sub(owner, 1, #ARGV[3]) ~= ARGV[3] then return 0 end
end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token .. ' ' .. ARGV[1], 'PX', ARGV[2])
return token
""")
_RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
_RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

# KEYS: index, lease if any, each expected, each value, each stream.
# ARGV: what the lease must be ('' without one), counts of expected, values, streams, entries to keep;
#       of each expected the SHA-1 of its bytes ('' if it must be absent); of each value name and bytes;
#       of each stream its entry.
COMMIT = Script("""
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


class RedisLease:
    """See :class:`ami.stores.store.Lease`."""

    def __init__(self, link: Link, prefix: str, name: str, ttl_s: float, place: str) -> None:
        self._link = link
        self.key = keys.full(prefix, name, tagged=link.tagged)
        self._counter = keys.full(prefix, keys.token(name), tagged=link.tagged)
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._owner = f"{place} {uuid4().hex}"
        self._predecessor = f"{place} " if place else ""
        self.token = 0

    @property
    def held(self) -> str:
        """What the lease's key says while it is ours; what it never says when it is not."""
        return f"{self.token} {self._owner}"

    def acquire(self) -> bool:
        names = [self.key, self._counter]
        arguments: list[Part] = [self._owner, self._ttl_ms, self._predecessor]
        self.token = int(self._link.script(_ACQUIRE, names, arguments, repeat=True))
        self._predecessor = ""
        return self.token > 0

    def renew(self) -> None:
        if not self._link.script(_RENEW, [self.key], [self.held, self._ttl_ms], repeat=True):
            token, self.token = self.token, 0
            raise Conflict(f"the lease {self.key} with token {token} is not ours any more")

    def release(self) -> None:
        self._link.script(_RELEASE, [self.key], [self.held], repeat=True)
        self.token = 0


def commit(
    link: Link,
    prefix: str,
    lease: RedisLease | None,
    values: Mapping[str, Value],
    digests: Mapping[str, str],
    notify: Mapping[str, Value],
    keep: int,
) -> None:
    """Run :data:`COMMIT`; ``digests`` has the SHA-1 of each expected value's bytes, "" for absent ones.

    Raises:
        Conflict: nothing was written.
    """

    def full(name: str) -> str:
        return keys.full(prefix, name, tagged=link.tagged)

    names = [full(keys.INDEX), *([lease.key] if lease else [])]
    names += [full(name) for name in (*digests, *values, *notify)]
    arguments: list[Part] = [lease.held if lease else "", len(digests), len(values), len(notify), keep]
    arguments += digests.values()
    for name, value in values.items():
        arguments += [name, codec.encode(value)]
    arguments += [codec.encode(value) for value in notify.values()]
    answer = link.script(COMMIT, names, arguments, repeat=False)
    if answer == b"lease" and lease is not None:
        raise Conflict(f"the lease {lease.key} with token {lease.token} is not ours any more")
    if answer:
        raise Conflict(f"{answer.decode('utf-8', 'replace')} is not what was expected any more")
