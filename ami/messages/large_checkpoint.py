"""What the large lane of a global reducer leaves for its successor."""

from __future__ import annotations

from ami.messages.checkpoint import Checkpoint
from ami.messages.message import message


@message
class LargeCheckpoint:
    """A checkpoint in whose buckets stand, for states, the names of their parts, by key.

    ``applied``: by node, the number of the last batch in it. ``halfway``: nodes of which a part of a span is
    in it, and the last one is not.
    """

    applied: dict[str, int]
    state: Checkpoint
    halfway: tuple[str, ...]
