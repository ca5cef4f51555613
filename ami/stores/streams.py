"""Read what was appended to Redis streams, and wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ami.stores.link import Link, Part


def read(
    link: Link, after: Mapping[str, str], timeout_s: float, limit: int = 0
) -> list[tuple[str, list[Any]]]:
    """Return the streams that have entries beyond these ids, waiting for the first up to ``timeout_s``.

    Of each stream ``limit`` entries at most, if it is not 0.
    """
    count: tuple[Part, ...] = ("COUNT", limit) if limit else ()
    for wait_s in link.waits(timeout_s):
        block: tuple[Part, ...] = ("BLOCK", max(1, int(wait_s * 1000))) if wait_s else ()
        command = ("XREAD", *count, *block, "STREAMS", *after, *after.values())
        if found := link.call(next(iter(after)), [command], repeat=True)[0]:
            return [(key.decode("utf-8", "surrogateescape"), entries) for key, entries in found]
    return []
