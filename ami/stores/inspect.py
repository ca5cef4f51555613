"""Look at a tier as it lies in Redis, for people: all keys, and what is in one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ami.errors import Undecodable
from ami.stores import codec, keys, labels
from ami.stores.link import Command, Link, Part, Reply

SCAN_COUNT = 10_000
NEARLY_FULL = 0.95
END = b""  # the cursor of a node that has told all


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A key as it lies in Redis. ``ttl_s`` is None when it never expires; ``size_bytes`` of memory."""

    key: str
    type: str
    size_bytes: int
    ttl_s: float | None
    prefix: str


def scan(link: Link, pattern: str) -> Iterator[KeyFacts]:
    """Return the facts of every key that fits the glob ``pattern``, from each primary node."""
    cursors: dict[int, bytes] = {}
    seen: set[bytes] = set()

    def ask(node: int) -> list[Command]:
        cursor = cursors.get(node, b"0")
        return [("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)] if cursor != END else []

    while not cursors or any(cursor != END for cursor in cursors.values()):
        pages: list[list[bytes]] = []
        for node, replies in enumerate(link.everywhere(ask)):
            cursor, found = replies[0] if replies else (END, [])
            cursors[node] = END if cursor == b"0" else cursor
            # SCAN may name a key twice.
            pages.append([key for key in found if key not in seen])
            seen.update(found)
        yield from _facts(link, pages)


def troubles(link: Link) -> list[str]:
    """Return in words what is wrong with each server: it cannot append to its file, or is nearly full."""
    found = []
    for replies in link.everywhere(lambda _: [("INFO", "persistence"), ("INFO", "memory")]):
        lines = b"\r\n".join(map(bytes, replies)).decode(errors="replace").split("\r\n")
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        if facts.get("aof_last_write_status", "ok") != "ok":
            found.append(
                "cannot append to its file and takes nothing: no room there (/dev/shm, unless append_to of "
                "its tier is 'disk')"
            )
        used, limit = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
        if limit and used > NEARLY_FULL * limit:
            found.append(
                f"holds {used >> 20} MiB of max_memory_bytes, {limit >> 20} MiB: beyond it takes nothing"
            )
    return found


def _facts(link: Link, pages: list[list[bytes]]) -> Iterator[KeyFacts]:
    def ask(node: int) -> list[Command]:
        commands: list[Command] = []
        for key in pages[node] if node < len(pages) else ():
            commands += [("TYPE", key), ("PTTL", key), ("MEMORY", "USAGE", key)]
        return commands

    if not any(pages):
        return
    # Servers may have come or gone since: a key that lies elsewhere by now is passed over, as one that moved.
    for page, replies in zip(pages, link.everywhere(ask), strict=False):
        for place, key in enumerate(page):
            kind, ttl_ms, size = replies[3 * place : 3 * place + 3]
            if kind in (b"none", None):
                continue  # it expired, was removed, or moved to another node, meanwhile
            name = key.decode("utf-8", "surrogateescape")
            ttl_s = ttl_ms / 1000 if ttl_ms >= 0 else None
            yield KeyFacts(name, kind.decode(), int(size or 0), ttl_s, keys.parts(name)[0])


def _first_of(*readers: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what reads bytes as the first of ``readers`` that can; else they stay bytes."""

    def read(raw: Any) -> Any:
        for reader in readers:
            with suppress(Undecodable, UnicodeDecodeError):
                return None if raw is None else reader(raw)
        return bytes(raw)

    return read


_text = _first_of(lambda raw: bytes(raw).decode())
_value = _first_of(codec.decode, _text)
_label = _first_of(labels.decode, _text)


def look(link: Link, key: str, limit: int) -> Any:
    """Return what is under ``key``, decoded as far as possible."""
    kind = link.one(key, "TYPE", repeat=True)
    reads: dict[bytes, tuple[Part, ...]] = {
        b"string": ("GET",),
        b"list": ("LRANGE", -limit, -1),
        b"hash": ("HGETALL",),
        b"set": ("SRANDMEMBER", limit),
        b"zset": ("ZREVRANGE", 0, limit - 1, "WITHSCORES"),
        b"stream": ("XREVRANGE", "+", "-", "COUNT", limit),
    }
    if kind not in reads:
        raise KeyError(key)
    reply: Reply = link.one(key, *reads[kind], repeat=True)
    if kind == b"string":
        return _value(reply)
    if kind == b"list":
        return [_value(element) for element in reply]
    if kind == b"hash":
        # The kinds' names are names; those of a live dict are labels.
        return _fields(reply[: 2 * limit], _text if keys.parts(key)[1] == keys.KINDS else _label)
    if kind == b"set":
        return [_label(member) for member in reply]
    if kind == b"zset":
        return {_text(member): float(score) for member, score in zip(reply[::2], reply[1::2], strict=True)}
    return {_text(entry): _fields(fields) for entry, fields in reversed(reply)}


def _fields(parts: list[bytes], name: Callable[[bytes], Any] = _text) -> dict[Any, Any]:
    return {name(one): _value(value) for one, value in zip(parts[::2], parts[1::2], strict=True)}
