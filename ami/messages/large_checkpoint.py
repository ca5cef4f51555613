"""What the large lane of a global reducer leaves for its successor."""

from __future__ import annotations

from collections.abc import Hashable

from ami.graph.execution.bucket import Place
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


@message
class Published:
    """Stored with a :class:`LargeCheckpoint`: pieces of results that are of just the states in it.

    By result, of which reduction (its fingerprint) and bucket, and the names by key. What changes after the
    checkpoint gets other pieces, and who goes on after it meets the same changes again.
    """

    pieces: dict[str, tuple[tuple[str, Place], dict[Hashable, str]]]
