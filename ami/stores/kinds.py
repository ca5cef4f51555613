"""Which Python type becomes which live collection, and how one is opened.

Redis has one hash for dicts and Counters and one list for lists and deques, and no empty
collections. So the kind of each live name is kept beside it, in the hash ``PREFIX:%kinds``.
"""

from __future__ import annotations

import collections
import time
from typing import Any

from ami.errors import Undecodable
from ami.stores.hash import Counter, Dict
from ami.stores.link import Link, Script
from ami.stores.live import Live, plain
from ami.stores.members import Set
from ami.stores.sequence import Deque, List

_CLASSES: dict[str, type[Live]] = {"list": List, "dict": Dict, "set": Set, "deque": Deque, "counter": Counter}
_PLAIN: dict[type, str] = {list: "list", dict: "dict", set: "set", collections.Counter: "counter"}

# KEYS: the collection, %kinds, %index. ARGV: name, kind, its Redis type, now
# Returns the kind that is there, or the Redis type of what is there instead.
_OPEN = Script("""
local here = redis.call('TYPE', KEYS[1])['ok']
local kind = redis.call('HGET', KEYS[2], ARGV[1])
local ends = redis.call('ZSCORE', KEYS[3], ARGV[1])
if here == 'none' then
  if kind and ends and (ends == 'inf' or tonumber(ends) > tonumber(ARGV[4])) then return kind end
elseif kind and here ~= 'string' then
  return kind
else
  return '(' .. here .. ')'
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[3], '+inf', ARGV[1])
return ARGV[2]
""")


def kind_of(value: Any) -> str | None:
    """Return the kind of live collection that ``value`` becomes when it is assigned; None: it stays whole."""
    value = plain(value)
    if type(value) is collections.deque:
        return "deque" if value.maxlen is None else f"deque {value.maxlen}"
    return _PLAIN.get(type(value))


def window(link: Link, key: str, kind: str) -> Live:
    """Return the live collection at ``key``.

    Raises:
        Undecodable: there is no such kind.
    """
    name, _, maxlen = kind.partition(" ")
    if name == "deque" and maxlen.isdecimal():
        return Deque(link, key, int(maxlen))
    if name not in _CLASSES or maxlen:
        raise Undecodable(f"{key} is said to be a collection of kind {kind[:40]!r}, which there is not")
    return _CLASSES[name](link, key)


def open_live(link: Link, key: str, name: str, kind: str, kinds: str, index: str) -> Live:
    """Return the collection at ``key``; register it, empty, if there is nothing.

    Raises:
        TypeError: there is something else, or a deque of another maxlen.
    """
    wanted = window(link, key, kind)
    arguments = [name, kind, wanted.redis_type, f"{time.time():.3f}"]
    found = link.script(_OPEN, [key, kinds, index], arguments, repeat=True).decode()
    if found == kind:
        return wanted
    if kind == "deque" and found.startswith("deque "):
        return window(link, key, found)
    raise TypeError(f"{key} is a {found}, not a {kind}")
