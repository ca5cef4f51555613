"""Say commands to one node over a wire, and know what of it is still to be done and may be said again.

While a slot of the cluster is on its way from one node to another, key by key, the old node answers ``ASK``
to what concerns keys that it does not have (any more, or yet), and the new one carries that out when it
comes behind ``ASKING``. Nothing else may be sent there: it would make a second key beside the one that has
not come yet, and one of the two would be lost. So each command of a batch goes where its own answer says.
A transaction goes as a whole, and so does a command with several keys; while those are on two nodes, both
answer ``TRYAGAIN``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ami.stores.link import Command, NotDone, Redirect, Reply, pack
from ami.stores.wire import Broken, Wire

ASKING: Command = ("ASKING",)
MULTI: Command = ("MULTI",)
EXEC: Command = ("EXEC",)
UNWATCH: Command = ("UNWATCH",)


class Exchange:
    """Commands that travel in one round trip.

    ``repeat`` says whether they may be sent again after a connection broke; ``copied``, whether a copy shall
    have what they wrote. ``here``: they are for this node alone; what it cannot say, because a key has moved,
    is None.
    """

    def __init__(
        self, commands: Sequence[Command], *, repeat: bool, here: bool = False, copied: bool = False
    ) -> None:
        self.repeat = repeat
        self.copied = copied
        self._commands = commands
        self._here = here
        self._replies: list[Reply] = []  # so far; those that are NotDone are still to be had

    def over(self, wire: Wire, *, asking: bool) -> list[Reply]:
        """Return the replies; ``asking``: ask for what this node has only in part.

        Raises:
            NotDone: some commands were not carried out. Only those are sent the next time.
            StoreError: Redis refused one.
            Broken: the connection.
        """
        commands = self._commands
        if not self._replies and not asking:
            self._replies = wire.converse(pack(commands), len(commands))
        elif not self._replies or commands[0] == MULTI:
            self._replies = _say(wire, commands, asking)
        else:
            self._say_rest(wire, asking, lambda reply: reply.asking or not asking)
        if self._here and any(isinstance(reply, Redirect) for reply in self._replies):
            # What has come of a slot that is on its way is told to who asks for it, and what has gone is not.
            self._say_rest(wire, True, lambda reply: isinstance(reply, Redirect))
            self._replies = [None if isinstance(reply, Redirect) else reply for reply in self._replies]
        replies = self._replies
        for reply in replies:
            if isinstance(reply, Exception):
                self._judge()
        if type(replies[-1]) is list:  # of a transaction
            for reply in replies[-1]:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    def begin_again(self) -> None:
        """Say all of it the next time: who carried it out is not who has the keys now."""
        self._replies = []

    def _say_rest(self, wire: Wire, asking: bool, of: Callable[[NotDone], bool]) -> None:
        """Send again what was not carried out, if it is ``of`` those that go to this node."""
        left = [n for n, reply in enumerate(self._replies) if isinstance(reply, NotDone) and of(reply)]
        for n, reply in zip(left, _say(wire, [self._commands[n] for n in left], asking), strict=True):
            self._replies[n] = reply

    def _judge(self) -> None:
        """Say what is to be done about replies of which some are errors."""
        problems = [reply for reply in self._replies if isinstance(reply, NotDone)]
        if problems and self._commands[0] == MULTI:
            if isinstance(self._replies[-1], NotDone):
                raise self._replies[-1]
            if len(problems) < len(self._replies) - 2:
                raise NotDone("the keys of a transaction lie on two nodes just now", look=False)
        for reply in (*problems, *self._replies):
            if isinstance(reply, Exception):
                raise reply


class Change(Exchange):
    """Read, decide, and write unless somebody else wrote meanwhile; the reply is whether nobody did."""

    def __init__(
        self,
        key: str,
        reads: Sequence[Command],
        decide: Callable[[list[Reply]], Sequence[Command] | None],
        *,
        again: bool,
    ) -> None:
        super().__init__([("WATCH", key), *reads], repeat=True)
        self._decide = decide
        self._again = again

    def over(self, wire: Wire, *, asking: bool) -> bool:  # type: ignore[override]  # a reply of its own
        self.repeat = True
        try:
            seen = Exchange(self._commands, repeat=True).over(wire, asking=asking)
            writes = self._decide(seen[1:])
            if writes:
                self.repeat = self._again
                written = Exchange([MULTI, *writes, EXEC], repeat=False).over(wire, asking=asking)
                return written[-1] is not None
        except Broken:
            raise
        except BaseException:
            _say(wire, [UNWATCH])
            raise
        # The wire goes back to others: a watch left on it would void their transactions.
        _say(wire, [UNWATCH])
        return True


def _say(wire: Wire, commands: Sequence[Command], asking: bool = False) -> list[Reply]:
    if not asking:
        return wire.converse(pack(commands), len(commands))
    if commands[0] == MULTI:  # Redis keeps the mark until EXEC
        return wire.converse(pack([ASKING, *commands]), 1 + len(commands))[1:]
    marked = [one for command in commands for one in (ASKING, command)]
    return wire.converse(pack(marked), len(marked))[1::2]
