"""Judge by signs whether processes hang: pure, so that every rule is tested without a process.

A sign is anything that changes while a process does what it should: that its loop came round, or that
bytes went through its hands. One that stays the same for longer than the patience with its kind condemns
the process.

Who starts gives no sign, so only time says that it hangs: the time that it had, not the clock. Where twenty
processes want a core, an innocent start takes a minute. (Rejected: as much more by the clock as the load
average says, which is of a minute ago.)

Who is killed in the middle of a step meets the same step again. So its successor has more time, each time
more: a step that takes long ends, one that never ends is found all the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

# A process that did not give any sign yet is starting: s of its own time, of which sleep is half.
START_S = 15.0

# How many times as much patience there is with the successor of one that was condemned, how many times at the
# most, and how long (s) that is remembered.
MORE = 4.0
MOST = 16.0
REMEMBERED_S = 120.0

# Between two looks passes so much at the most, of the time by which is judged, s.
MOST_BETWEEN_S = 1.0
AWAY_S = 3.0  # who did not look for so long stood still

Sign = object


class Attention:
    """The time in which somebody looked.

    Who stood still together with those whom he judges, as a machine that was frozen, finds them as he left
    them: what he did not see must not count, or he kills all of them.

    Attributes:
        was_away: whether he stood still before the last look.
    """

    def __init__(self) -> None:
        self._looked_at: float | None = None
        self._attended_s = 0.0
        self.was_away = False

    def look(self, now: float) -> float:
        """Return for how long somebody has looked, in s, with a look at this time."""
        before = now if self._looked_at is None else self._looked_at
        self._looked_at = now
        self.was_away = now - before > AWAY_S
        self._attended_s += min(now - before, MOST_BETWEEN_S)
        return self._attended_s


@dataclass(slots=True)
class _Seen:
    """The last sign of one process, and since when (monotonic, and its own time, s) it is the same; new: the
    first one."""

    pid: int
    sign: Sign
    since: float
    own_since: float
    new: bool


class Judgement:
    """What was seen of each process.

    Args:
        patience_s: by kind of sign, for how long it may stay the same.
        strict: kinds of which a successor has no more time: it does not do again what its predecessor did.
        by_own: kinds that are judged by the process' own time.
    """

    def __init__(
        self, patience_s: dict[str, float], strict: Collection[str] = (), by_own: Collection[str] = ()
    ) -> None:
        self._patience_s = patience_s
        self._by_own = by_own
        self._strict = strict
        self._condemned: dict[tuple[str, str], tuple[float, float]] = {}  # until when, how much more patience
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

    def silent_s(
        self, kind: str, name: str, pid: int, sign: Sign, now: float, own: float | None = None
    ) -> float | None:
        """Take in a sign (None: there is none); return for how long the process hangs, if it does.

        Args:
            own: the process' own time, by which a start is always judged; None: it is that of the clock.

        One that was condemned begins anew: so there is time to kill it before it is condemned again.
        """
        key = (name, kind)
        seen = self._seen.get(key)
        if seen is None or (seen.pid, seen.sign) != (pid, sign):
            new = seen is None or seen.pid != pid
            self._seen[key] = _Seen(pid, sign, now, now if own is None else own, new)
            return None
        starting = seen.new and seen.sign is None
        silent_s = now - seen.since
        if own is not None and (starting or kind in self._by_own):
            silent_s = min(silent_s, own - seen.own_since)
        until, more = self._condemned.get(key, (now, 1.0))
        if now > until:
            more = 1.0
        if silent_s <= more * max(self._patience_s[kind], START_S if starting else 0.0):
            return None
        del self._seen[key]
        if kind not in self._strict:
            more = min(MOST, MORE * more)
            self._condemned[key] = (now + REMEMBERED_S + more * self._patience_s[kind], more)
        return silent_s
