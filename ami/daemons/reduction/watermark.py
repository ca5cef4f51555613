"""Know up to which interval all nodes came, and who is missing there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ami.graph.execution.bucket import Place

NEVER = -(1 << 63)  # before all intervals
END = (1 << 63) - 1  # behind all intervals
# A node is not waited for, though it sends, when something came of so many intervals beyond its own: all of
# that is kept. Where there are no events for a while, the numbers of intervals go far, and nothing is kept.
MOST_BEHIND = 200


@dataclass
class Watermark:
    """The interval that all nodes have passed which are waited for; pure, it is told the time.

    A node that lives is waited for, also when nothing came of it yet, but not when it was silent for the
    grace time since another was further.

    Attributes:
        place: run and interval; it never goes back.
        top: the newest place of which there is something.
        newest: by node, the newest place of which something came.
        ended: by node, the newest run that it has ended.
        silent: nodes that have had their grace time, though something comes that they sent before.
    """

    grace_s: float
    most_behind: int = MOST_BEHIND
    place: Place = (0, NEVER)
    top: Place = (0, NEVER)
    newest: dict[str, Place] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    _waited_since: dict[str, float] = field(default_factory=dict)  # by node that is behind, when it was due
    _ahead: set[Place] = field(default_factory=set)  # beyond the place, those of which something came

    def meet(self, node: str, place: Place, now: float) -> bool:
        """Note that something of this place came from a node; return whether nothing newer came of any."""
        self.newest[node] = max(place, self.newest.get(node, place))
        # With a run's begin there is nothing to show of it yet: what was stays until its first interval.
        if place > self.place and place[1] != NEVER:
            self._ahead.add(place)
        is_newest = place > self.top and place[1] != NEVER
        if is_newest:
            self.top = place
            for other in self.newest:
                if self.reached(other) < place:
                    self._waited_since.setdefault(other, self._begin_wait(other, now))
        self._came(node, now)
        return is_newest

    def _expect(self, node: str, now: float) -> None:
        """Wait for a node of which nothing came yet: else all so far is over when it sends its part."""
        self.newest[node] = (0, NEVER)
        if self.top > self.newest[node]:
            self._waited_since[node] = self._begin_wait(node, now)

    def end(self, node: str, run: int, now: float) -> None:
        """Note that a node ended a run: it has passed all intervals of it."""
        self.ended[node] = max(run, self.ended.get(node, run))
        self._came(node, now)

    def _came(self, node: str, now: float) -> None:
        if self.reached(node) >= self.top:
            self._waited_since.pop(node, None)
        else:
            self._waited_since[node] = self._begin_wait(node, now)

    def _begin_wait(self, node: str, now: float) -> float:
        return now - self.grace_s if node in self.silent else now

    def reached(self, node: str) -> Place:
        """Return how far a node has come."""
        newest, ended = self.newest.get(node, (0, NEVER)), self.ended.get(node, 0)
        return (ended, END) if ended >= newest[0] and ended else newest

    def look(self, here: Collection[str], now: float) -> bool:
        """Go on to where all are that are waited for; return whether that is further than it was."""
        for node in here:
            if node not in self.newest:
                self._expect(node, now)
        waited = [self.reached(node) for node in self.newest if node in here and self._is_waited(node, now)]
        place = min([self.top, *waited])
        if place <= self.place:
            return False
        self.place = place
        self._ahead = {one for one in self._ahead if one > place}
        return True

    def _is_waited(self, node: str, now: float) -> bool:
        since = self._waited_since.get(node)
        if since is None:
            return True
        if len(self._ahead) > self.most_behind:  # else nobody is so far behind
            reached = self.reached(node)
            if sum(one > reached for one in self._ahead) > self.most_behind:
                return False
        return now - since < self.grace_s

    def list_missing(self, expected: Collection[str]) -> set[str]:
        """Return which of the nodes have not come so far."""
        return {node for node in expected if self.reached(node) < self.place}

    def list_late(self, expected: Collection[str], interval_ns: int) -> tuple[tuple[str, float], ...]:
        """Return of the missing nodes that are in this run by how much, in s of event time."""
        late = []
        for node in sorted(self.list_missing(expected)):
            run, interval = self.reached(node)
            if run == self.place[0] and interval != NEVER:
                late.append((node, (self.place[1] - interval) * interval_ns / 1e9))
        return tuple(late)

    def restore(
        self, place: Place, top: Place, newest: Mapping[str, Place], ended: Mapping[str, int], now: float
    ) -> None:
        """Go on where another was; each node has its grace time anew, but those that are known as silent."""
        self.place, self.top, self.newest, self.ended = place, top, dict(newest), dict(ended)
        self._ahead = {one for one in [top, *newest.values()] if one > place and one[1] != NEVER}
        behind = [node for node in self.newest if self.reached(node) < self.top]
        self._waited_since = {node: self._begin_wait(node, now) for node in behind}
