"""What the sources of all nodes share of runs: which numbers were given, and who is in which run."""

from __future__ import annotations

from ami.messages.message import message


@message
class RunEntry:
    """A run. ``whole``: text that is equal for inputs that are parts of one thing, "" where nobody can tell.

    ``begun``: by node, what tells this beginning from its others. ``ended``: nodes that ended it.
    """

    number: int
    whole: str
    begun: dict[str, str]
    ended: tuple[str, ...]


@message
class RunBook:
    """The newest runs, oldest first, and the last number that was given."""

    last: int
    runs: tuple[RunEntry, ...]
