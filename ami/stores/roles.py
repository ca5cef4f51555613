"""Say what each role may do in the global store: keys, made of the names in ``keys.py``, and commands.

A role is a user of the servers. Each process logs in as its own, a person or host that was given access
(``ami access add``) as ``ROLE:NAME``. The password of a role is derived from the cluster's one secret, so it
is nowhere written down; that of an account is random, and servers and store have its SHA-256 only. Who has
the secret may do anything, as the administrator; roles bound what a fault, or an account, can reach.

Whoever may run scripts may hold up a server with an endless one: no account may. Nobody but the
administrator may ask for what is not about keys: CONFIG, ACL, FLUSHALL, MONITOR, the cluster's own commands.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ami.stores import keys

READING: Final = """
    get mget exists type strlen pttl llen lrange lindex hget hmget hgetall hkeys hlen hexists smembers scard
    sismember srandmember zscore zmscore zcount zrange zrangebyscore zrevrange xlen xrange xrevrange xread
    xinfo|stream memory|usage scan time info ping cluster|slots cluster|info asking
"""
# What a client needs to ask, and to fetch the answer.
ASKING: Final = "set rpush blmove lmove lrem watch unwatch multi exec discard wait "
WRITING: Final = """
    del unlink persist pexpire rename incr hset hsetnx hdel hincrby lpop lset ltrim rpop lpush sadd srem
    spop zadd zrem zremrangebyscore xadd xdel xtrim eval evalsha
"""

CLIENT: Final = "client"
READER: Final = "reader"
MONITOR: Final = "monitor"
ACCOUNT: Final = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# Which roles an account may have.
FOR_ACCOUNTS: Final = (READER, CLIENT)


@dataclass(frozen=True, slots=True)
class Rights:
    """Glob patterns of keys to read, of keys to read and write, and of keys to write only; and commands."""

    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    commands: str = READING
    puts: tuple[str, ...] = ()

    def rules(self) -> str:
        """Return the rights as the servers want them (ACL SETUSER), with everything else taken away."""
        patterns = [*(f"%R~{one}" for one in (*self.reads, *_INDICES)), *(f"~{one}" for one in self.writes)]
        patterns += [f"%W~{one}" for one in self.puts]
        return " ".join(
            ["resetkeys", "resetchannels", *patterns, "-@all", *(f"+{one}" for one in self.commands.split())]
        )


def _keys(owner: str, *names: str, number: str = "0") -> tuple[str, ...]:
    return tuple(keys.full(f"*:{owner}:{number}", name, tagged=True) for name in names)


def _own(owner: str) -> tuple[str, ...]:
    return _keys(owner, "*", number="*")


# Who asks for a name that has no value looks there, whether it is that of a collection.
_INDEX = (keys.INDEX, keys.KINDS)
_INDICES = tuple(keys.full("*:*:*", name, tagged=True) for name in _INDEX)
_NODE = _keys("global-reducer", keys.node("*"))  # the node's name, which every process keeps
_GRAPH = _keys("graph-manager", keys.graph("*"), keys.document("*"), keys.CURRENT, keys.VERSIONS, keys.STATE)
_ORDERS = _keys("source", keys.RUN_ORDERS, keys.ORDERED)
_INPUT = (*_keys("source", keys.SCHEMA, keys.INTERVAL, keys.RUN_BOOK, keys.input("*")), *_ORDERS)
_RESULTS = _keys(
    "global-reducer",
    *(keys.table("*"), keys.result("*"), keys.RESULTS, keys.history("*"), keys.CATALOGUE, keys.NODES),
    *(keys.result_piece("*", "*", "*"), keys.REFUSED, keys.offences("*")),
)
_BEATS = (keys.full("*:*:*", keys.HEARTBEAT, tagged=True),)
_DAEMON = READING + ASKING + WRITING
# A member tells that it is one, and fences what another left.
_MEMBER = _keys("global-reducer", keys.NODES, *_INDEX)
_INBOXES = _keys(
    "global-reducer",
    *(keys.inbox("*"), keys.mark("*"), keys.large_inbox("*"), keys.large_mark("*")),
)
_READER = (*_GRAPH, *_INPUT, *_RESULTS, *_NODE, *_BEATS, *_INBOXES)  # inboxes: how much waits


def _client(queue: str, replies: str) -> Rights:
    # Nobody reads what others ask; and who asks, its answer only.
    puts = _keys("graph-manager", queue, keys.put_mark(queue, "*"))
    return Rights(_READER, _keys("graph-manager", replies), READING + ASKING, puts)


def request_id(account: str, identifier: str) -> str:
    """Return under which id an account asks, so that nobody else may fetch the answer."""
    return f"{account}.{identifier}" if account else identifier


ROLES: Final[Mapping[str, Rights]] = {
    "source": Rights((*_GRAPH, *_RESULTS), (*_own("source"), *_NODE, *_MEMBER, *_INBOXES), _DAEMON),
    "worker": Rights((*_GRAPH, *_INPUT), (*_own("worker"), *_NODE), _DAEMON),
    "reducer": Rights((*_GRAPH, *_INPUT), (*_own("local-reducer"), *_own("global-reducer")), _DAEMON),
    "manager": Rights(
        (*_INPUT, *_MEMBER, *_BEATS),
        (*_own("graph-manager"), *_NODE, *_ORDERS, *_keys("source", *_INDEX)),
        _DAEMON,
    ),
    MONITOR: Rights(
        (*_READER, *_keys("graph-manager", keys.STOP)),
        (*_own("monitor"), *_NODE, *_keys("graph-manager", keys.ACCOUNTS, *_INDEX)),
        _DAEMON,
    ),
    "export": Rights(_READER, (*_own("export"), *_NODE), _DAEMON),
    "web": Rights(_READER, (*_own("web"), *_NODE), _DAEMON),  # what people ask it asks as a client
    READER: Rights(_READER),
    CLIENT: _client(keys.REQUESTS, keys.reply("*")),
}
# The role of each type of process that is not called like it.
_OF_PROCESS = {"local-reducer": "reducer", "global-reducer": "reducer", "graph-manager": "manager"}


def of_process(process_type: str) -> str:
    """Return the role of a type of process."""
    return _OF_PROCESS.get(process_type, process_type)


def account_user(role: str, name: str) -> str:
    """Return as whom an account logs in."""
    return f"{role}:{name}"


def rights(user: str) -> Rights:
    """Return what a user may do: a role, or an account, ``ROLE:NAME``.

    Raises:
        KeyError: there is no such role, or not for an account.
    """
    role, colon, name = user.partition(":")
    if colon and (role not in FOR_ACCOUNTS or not ACCOUNT.fullmatch(name)):
        raise KeyError(user)
    if colon and role == CLIENT:
        return _client(keys.requests_of(name), keys.reply(request_id(name, "*")))
    return ROLES[role]


def derive(secret: str, role: str) -> str:
    """Return the password of a role."""
    return hmac.new(secret.encode(), f"ami role {role}".encode(), hashlib.sha256).hexdigest()


def digest(password: str) -> str:
    """Return what servers know of a password: its SHA-256."""
    return hashlib.sha256(password.encode()).hexdigest()


def acl_lines(admin: str, secret: str, accounts: Mapping[str, str]) -> list[str]:
    """Return the lines of a server's file of users: administrator, roles, and accounts by their digests."""
    lines = [f"user {admin} on #{digest(secret)} ~* &* +@all"]
    if admin != "default":
        lines.append("user default off")
    lines += [_line(role, digest(derive(secret, role))) for role in ROLES]
    return [*lines, *(_line(user, known) for user, known in sorted(accounts.items()))]


def _line(user: str, known: str) -> str:
    return f"user {user} on #{known} {rights(user).rules()}"


def accounts_in(lines: Iterable[str]) -> dict[str, str]:
    """Return the accounts and their digests in a server's file of users, or in its answer to ACL LIST."""
    found = {}
    for line in lines:
        words = line.split()
        known = next((word[1:] for word in words[2:] if word.startswith("#")), "")
        if len(words) > 2 and words[0] == "user" and ":" in words[1] and known:
            found[words[1]] = known
    return found
