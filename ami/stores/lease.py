"""The right to act, for a while, with a token that ascends from holder to holder (fencing).

The lease is a key that expires: ``TOKEN OWNER``. A holder that sleeps through its time finds the key
gone or another's, and :meth:`Store.commit` looks at it in the same step in which it writes, so nothing can be
written by who lost the lease without noticing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import uuid4

from ami.errors import Conflict
from ami.stores import keys
from ami.stores.link import Command, Link, Part, Reply, Script

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
  if ARGV[3] == '' or string.sub(owner, 1, #ARGV[3]) ~= ARGV[3] then
    -- A copy that took over has a clock of its own: to one that is a minute behind, the lease of who died
    -- with the other machine lasts a minute more. None lasts longer than it was given for.
    if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    return owner
  end
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
# KEYS: lease, and what the commands name. ARGV: what the lease must be, then of each command how many parts
# it has, and those
_UNDER = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local replies, at = {}, 2
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return replies
""")
MOST_PARTS = 2000  # of a command: Lua has room for 8000


class Lease:
    """The right to act, for a while. Of all who ask for the same lease, at most one has it.

    ``token`` ascends with each new holder; it is 0 while this one is not the holder. ``before`` is the place
    of who had it when it was last asked for in vain, "" if it never was.
    """

    def __init__(self, link: Link, key: str, ttl_s: float, place: str) -> None:
        self._link = link
        self.key = key
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._owner = f"{place} {uuid4().hex}"
        self._predecessor = f"{place} " if place else ""
        self.token = 0
        self.before = ""

    @property
    def held(self) -> str:
        """What the lease's key says while it is ours; what it never says when it is not."""
        return f"{self.token} {self._owner}"

    @property
    def has_copies(self) -> bool:
        """Whether what is written under it may be lost on one server, and be there on another."""
        return self._link.has_copies

    def acquire(self) -> bool:
        """Take the lease if nobody has it; True, also when we have it already (for ``ttl_s`` anew)."""
        names = [self.key, keys.token(self.key)]
        arguments: list[Part] = [self._owner, self._ttl_ms, self._predecessor]
        told = self._link.script(_ACQUIRE, names, arguments, repeat=True, copied=True)
        self._predecessor = ""
        self.token = told if isinstance(told, int) else 0
        if not self.token:
            self.before = bytes(told).decode("utf-8", "replace").rpartition(" ")[0]
        return self.token > 0

    def renew(self) -> None:
        """Keep it for ``ttl_s`` from now.

        Raises:
            Conflict: we do not have it any more.
        """
        if not self._link.script(_RENEW, [self.key], [self.held, self._ttl_ms], repeat=True):
            token, self.token = self.token, 0
            raise Conflict(f"the lease {self.key} with token {token} is not ours any more")

    def run(self, script: Script, names: Sequence[str], arguments: Sequence[Part], *, repeat: bool) -> Reply:
        """Run a script if the lease is ours: it has the lease as its first key, what it must be as its first
        argument, and gives nothing when it is not so.

        Raises:
            Conflict: we do not have it any more; nothing was done.
        """
        reply = self._link.script(script, [self.key, *names], [self.held, *arguments], repeat=repeat)
        if reply is None:
            raise Conflict(f"the lease {self.key} with token {self.token} is not ours any more")
        return reply

    def atomic(self, names: Collection[str], commands: Sequence[Command], *, repeat: bool) -> list[Reply]:
        """Carry out commands in one step, if the lease is ours.

        Args:
            names: the keys that they name, all of the owner of the lease.
            commands: of at most ``MOST_PARTS`` parts each.

        Raises:
            Conflict: we do not have it any more; nothing was done.
        """
        arguments: list[Part] = []
        for command in commands:
            arguments += [len(command), *command]
        replies: list[Reply] = self.run(_UNDER, list(names), arguments, repeat=repeat)
        return replies

    def release(self) -> None:
        """Give it up, if we have it."""
        self._link.script(_RELEASE, [self.key], [self.held], repeat=True)
        self.token = 0
