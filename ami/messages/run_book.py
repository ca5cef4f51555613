"""What the sources of all nodes share of runs: numbers that were given, who is in which, what was ordered."""

from __future__ import annotations

from dataclasses import field

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


@message
class RunOrder:
    """A border of runs or steps that somebody asked for; ``action`` is one of :data:`ORDERS`.

    ``promised``: by node ``(run, step, interval)``: where it is, and the first interval that it does not
    begin before it knows where the border is. ``border``: the first interval behind it, once all of those
    that are ``awaited`` have promised; None: not decided, or ``refused`` with the reason. ``run`` and
    ``step``: of what is behind it, or of what ends there. ``done``: nodes in whose rings it is.
    """

    number: int
    id: str
    action: str
    value: float
    client: str
    asked_ns: int
    awaited: tuple[str, ...]
    promised: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    border: int | None = None
    refused: str = ""
    run: int = 0
    step: int = 0
    done: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether nobody knows yet where the border is."""
        return self.border is None and not self.refused


@message
class RunOrders:
    """The newest orders, oldest first; at most the last one is open."""

    orders: tuple[RunOrder, ...] = ()


BEGIN_RUN, END_RUN, BEGIN_STEP, END_STEP = ORDERS = ("begin", "end", "step", "end-step")
