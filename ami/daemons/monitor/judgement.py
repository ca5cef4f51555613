"""Judge by signs whether processes hang: pure, so that every rule is tested without a process.

A sign is anything that changes while a process does what it should. One that stays the same for
longer than the patience with its kind condemns the process.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

# A process that did not give any sign yet is starting, which may take long on a busy machine.
START_S = 30.0

Sign = object


@dataclass(slots=True)
class _Seen:
    """The last sign of one process, and since when (monotonic, s) it is the same; new: the first one."""

    pid: int
    sign: Sign
    since: float
    new: bool


class Judgement:
    """What was seen of each process.

    Args:
        patience_s: by kind of sign, for how long it may stay the same.
    """

    def __init__(self, patience_s: dict[str, float]) -> None:
        self._patience_s = patience_s
        self._seen: dict[tuple[str, str], _Seen] = {}

    @property
    def watched(self) -> int:
        """How many processes gave a sign of any kind."""
        # A copy first: the heartbeat's thread asks this while the main loop judges.
        return len({name for name, _ in list(self._seen)})

    def keep(self, names: Collection[str]) -> None:
        """Forget the processes that are not among these: they do not run."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] in names}

    def forget(self, kind: str) -> None:
        """Forget all signs of a kind: nobody can give one now, so that silence means nothing."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[1] != kind}

    def silent_s(self, kind: str, name: str, pid: int, sign: Sign, now: float) -> float | None:
        """Take in a sign (None: there is none); return for how long the process hangs, if it does.

        One that was condemned begins anew: so there is time to kill it before it is condemned again.
        """
        key = (name, kind)
        seen = self._seen.get(key)
        if seen is None or (seen.pid, seen.sign) != (pid, sign):
            new = seen is None or seen.pid != pid
            self._seen[key] = _Seen(pid, sign, now, new)
            return None
        starting = seen.new and seen.sign is None
        silent_s = now - seen.since
        if silent_s <= (START_S if starting else self._patience_s[kind]):
            return None
        del self._seen[key]
        return silent_s
