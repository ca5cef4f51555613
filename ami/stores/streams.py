"""Read what was appended to Redis streams, and wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ami.stores.link import Command, Link, Part, Reply

Found = list[tuple[str, list[Any]]]  # of each stream its entries


def read(link: Link, after: Mapping[str, str], timeout_s: float, limit: int = 0) -> Found:
    """Return the streams that have entries beyond these ids, waiting for the first up to ``timeout_s``.

    Of each stream ``limit`` entries at most, if it is not 0.
    """
    return read_with(link, after, timeout_s, limit, ())[0]


def read_with(
    link: Link, after: Mapping[str, str], timeout_s: float, limit: int, then: Command
) -> tuple[Found, Reply]:
    """Do so, and carry out a command behind it, in the same round trip; return both replies."""
    count: tuple[Part, ...] = ("COUNT", limit) if limit else ()
    for wait_s in link.waits(timeout_s):
        block: tuple[Part, ...] = ("BLOCK", max(1, int(wait_s * 1000))) if wait_s else ()
        command = ("XREAD", *count, *block, "STREAMS", *after, *after.values())
        found, *rest = link.call(next(iter(after)), [command, then] if then else [command], repeat=True)
        if found:
            named = [(key.decode("utf-8", "surrogateescape"), entries) for key, entries in found]
            return named, rest[0] if rest else None
    return [], None
