"""The right to act, for a while, with a token that ascends from holder to holder (fencing).

The lease is a key that expires: ``TOKEN OWNER``. A holder that sleeps through its time finds the key
gone or another's, and :meth:`Store.commit` looks at it in the same step in which it writes, so nothing can be
written by who lost the lease without noticing.
"""

from __future__ import annotations

from uuid import uuid4

from ami.errors import Conflict
from ami.stores import keys
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


class Lease:
    """The right to act, for a while. Of all who ask for the same lease, at most one has it.

    ``token`` ascends with each new holder; it is 0 while this one is not the holder.
    """

    def __init__(self, link: Link, key: str, ttl_s: float, place: str) -> None:
        self._link = link
        self.key = key
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._owner = f"{place} {uuid4().hex}"
        self._predecessor = f"{place} " if place else ""
        self.token = 0

    @property
    def held(self) -> str:
        """What the lease's key says while it is ours; what it never says when it is not."""
        return f"{self.token} {self._owner}"

    def acquire(self) -> bool:
        """Take the lease if nobody has it; True, also when we have it already (for ``ttl_s`` anew)."""
        names = [self.key, keys.token(self.key)]
        arguments: list[Part] = [self._owner, self._ttl_ms, self._predecessor]
        self.token = int(self._link.script(_ACQUIRE, names, arguments, repeat=True))
        self._predecessor = ""
        return self.token > 0

    def renew(self) -> None:
        """Keep it for ``ttl_s`` from now.

        Raises:
            Conflict: we do not have it any more.
        """
        if not self._link.script(_RENEW, [self.key], [self.held, self._ttl_ms], repeat=True):
            token, self.token = self.token, 0
            raise Conflict(f"the lease {self.key} with token {token} is not ours any more")

    def release(self) -> None:
        """Give it up, if we have it."""
        self._link.script(_RELEASE, [self.key], [self.held], repeat=True)
        self.token = 0
