"""What a local reducer sends to the global one: a node's partial of one entry, and how far it came."""

from __future__ import annotations

from dataclasses import field

from ami.graph.execution.partial import Partial
from ami.messages.flush import Covers, EntryFacts
from ami.messages.message import message


@message
class Batch:
    """A record of a node's inbox.

    ``expected`` events were published or dropped of the entry; a supplement expects none, because the first
    batch of its entry told them. ``complete``: nothing of the entry follows.
    """

    node: str
    entry: EntryFacts
    interval_ns: int
    transition: int
    covers: Covers
    expected: int
    dropped: int
    complete: bool
    supplement: bool
    workers: tuple[str, ...]
    partial: Partial | None


@message
class Mark:
    """How far the flushes of a node are in its inbox, set in one step with each batch.

    ``late`` entries were sent incomplete; ``flushes``, by worker, are in this batch, and may be removed.
    ``positions``: by ring, of the input, up to where its entries are in batches. Rings up to number ``void``
    count no more: what of them is in no batch was dealt to other nodes.
    """

    batch: int
    ring: int
    next_entry: int
    late: tuple[int, ...]
    flushes: dict[str, list[int]]
    positions: dict[int, int] = field(default_factory=dict)
    void: int = 0
