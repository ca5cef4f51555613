"""Let one node at a time have a name, for as long as it says so: on one key, which its lease is."""

from __future__ import annotations

from ami.stores.link import Link, Script

LEFT = "left"  # by a node that stopped in order: nobody waits for it, and anybody may have its name

# KEYS: the claim. ARGV: who, ms, 1 if one that was left is to be taken again
_TAKE = Script("""
local held = redis.call('GET', KEYS[1])
if held == 'left' and ARGV[3] == '0' then return '' end
if held and held ~= 'left' and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
""")
_LEAVE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'left')
return 1
""")


class Claim:
    """A name that is held under a lease by whoever says the same of himself: many processes of one node."""

    def __init__(self, link: Link, key: str, ttl_s: float, owner: str) -> None:
        self._link = link
        self.key = key
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self.owner = owner

    def take(self) -> str:
        """Take the name, or keep it for another while; return who else has it, or ""."""
        return self._take("1")

    def renew(self) -> str:
        """Keep the name, unless it was left; return who else has it, or ""."""
        return self._take("0")

    def _take(self, again: str) -> str:
        held = self._link.script(_TAKE, [self.key], [self.owner, self._ttl_ms, again], repeat=True)
        return str(held.decode("utf-8", "replace"))

    def leave(self) -> None:
        """Say that the node stopped in order, if the name is its own."""
        self._link.script(_LEAVE, [self.key], [self.owner], repeat=True)
