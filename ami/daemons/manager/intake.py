"""Take requests off the queue: many at once, one of each client in turn, what is none in bulk.

Who sends a thousand requests waits for them himself: each client that waits has one in a group. Of what a
manager had in hand when it ended, the next one is told, so that it looks at that with care.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ami.errors import GraphError
from ami.messages.request import Request
from ami.stores import Item, Lease, Store, keys, roles

logger = logging.getLogger(__name__)

Taken = tuple[Item, Request]

GROUP = 100  # requests that are looked at together
# What is known of a request that a manager had in hand when it ended: it is tried apart; that, and then it
# is in hand alone, as two ended with it and others in hand; not looked at any more.
ONCE, ALONE, HOPELESS = 1, 2, 3
MOST_AHEAD = 10_000  # taken and not looked at; the others wait in the store
MOST_TAKES = 20  # in a step; each of a thousand at the most
LOOK_S = 1.0  # between looks for accounts
GATHER_S = 0.05  # between looks for their requests, which wake nobody
MOST_OF_ONE = 100  # requests of one client that wait: who has more is told so, and waits for none of them


class Intake:
    """The requests that one manager takes, under its lease; Conflict: it has it no more.

    Attributes:
        crowded: requests of clients that have too many others waiting; whoever answers them empties it.
        refused: how many were no requests.
        answered: what the last leader said, by id, of those that it may not have let go of any more.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._queue = store.queue(keys.REQUESTS, lease)
        self._accounts: dict[str, str] = {}  # the queues of those that may ask, by name
        self._looked_at = -LOOK_S
        self._ahead: dict[str, deque[Taken]] = {}  # by client, who is next first
        self._busy: set[str] = set()  # clients of which a request is looked at beside: theirs go in order
        self._suspects: dict[str, int] = {}  # by digest: ONCE, ALONE or HOPELESS
        self._is_first_time = True
        self.answered: dict[str, Any] = {}
        self.crowded: list[Taken] = []
        self.refused = 0

    def recover(self) -> int:
        """Begin where the last leader stopped; return how many requests it had taken and not answered.

        Call it when no other leader lives. Of what this process itself had in hand, nothing bad is known.
        """
        self._ahead.clear()
        self._busy.clear()
        self.crowded.clear()
        if self._is_first_time:
            known: Any = self._store.get(keys.TRIED)
            marks = known if isinstance(known, dict) else {}
            # Of many in hand one may have been the reason; of one that was alone there is no doubt.
            is_alone = len(marks) == 1
            self._suspects = {
                digest: HOPELESS if is_alone and before else min(before + 1, ALONE)
                for digest, before in marks.items()
            }
        self._is_first_time = False
        said: Any = self._store.get(keys.ANSWERED)
        self.answered = dict(said) if isinstance(said, dict) else {}
        return self._queue.recover()

    def next_group(self, wait_s: float) -> Sequence[Taken]:
        """Return the oldest request of each client that waits; nothing: there is none within ``wait_s``.

        Suspects come alone, all that are in one turn.
        """
        self._fill(wait_s)
        turn = [client for client in self._ahead if client not in self._busy][:GROUP]
        suspected = [client for client in turn if self.doubt(self._ahead[client][0][0])]
        group = []
        for client in suspected or turn:
            waiting = self._ahead.pop(client)
            group.append(waiting.popleft())
            if waiting:
                self._ahead[client] = waiting  # behind all others
        return group

    def _fill(self, wait_s: float) -> None:
        for _ in range(MOST_TAKES):
            if sum(map(len, self._ahead.values())) + len(self.crowded) >= MOST_AHEAD:
                return
            can_go_on = bool(self.crowded) or any(client not in self._busy for client in self._ahead)
            if not self._take(0.0 if can_go_on else wait_s):
                return
            wait_s = 0.0

    def _take(self, wait_s: float) -> bool:
        """Take what there is at once; return whether there was something."""
        self._look_for_accounts()
        if self._accounts:
            self._queue.gather(self._accounts)
            wait_s = min(wait_s, GATHER_S)
        items, broken = self._queue.take_some(wait_s)
        reasons: list[Exception] = list(broken)
        junk = []
        for item in items:
            try:
                self._put_ahead(item, _told_by(item))
            except GraphError as error:
                # Nobody to answer: without an id there is no key for the answer.
                reasons.append(error)
                junk.append(item)
        if junk:
            self._queue.done(*junk)
        if reasons:
            self.refused += len(reasons)
            others = f", and {len(reasons) - 1} others" if len(reasons) > 1 else ""
            logger.warning("a request is no request%s: %s", others, reasons[0])
        return bool(items or broken)

    def _look_for_accounts(self) -> None:
        """Learn now and then who was given access."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        known: Any = self._store.get(keys.ACCOUNTS)
        users = [str(user).partition(":") for user in known or ()]
        self._accounts = {name: keys.requests_of(name) for role, _, name in users if role == roles.CLIENT}

    def _put_ahead(self, item: Item, request: Request) -> None:
        waiting = self._ahead.setdefault(request.client, deque())
        (self.crowded if len(waiting) >= MOST_OF_ONE else waiting).append((item, request))

    def put_back(self, taken: Taken, *, busy: bool) -> None:
        """Have a request again, as its client's next one; ``busy``: after :meth:`go_on` for that client."""
        client = taken[1].client
        self._ahead.setdefault(client, deque()).appendleft(taken)
        if busy:
            self._busy.add(client)

    def go_on(self, client: str) -> None:
        """Let a client's requests come again."""
        self._busy.discard(client)

    def mark(self, group: Iterable[Taken]) -> None:
        """Write down what is in hand from now on, for the next manager, should this one end of it."""
        marks: Mapping[str, int] = {_digest(item): self.doubt(item) for item, _ in group}
        self._store.commit(self._lease, {keys.TRIED: dict(marks)})

    def doubt(self, item: Item) -> int:
        """Return what is known of a request: ONCE, ALONE, HOPELESS, or 0: nothing bad."""
        return self._suspects.get(_digest(item), 0) if self._suspects else 0

    def answer(self, answers: Mapping[str, Any], published: Collection[str], *, expire_s: float) -> None:
        """Put answers, by the ids of their requests, where the clients wait for them.

        What no version says is written down first: whoever finds the requests again, as after the fail-over
        of a server, has to say the same, and not to do what somebody was told is refused.
        """
        if unsaid := {one: said for one, said in answers.items() if one not in published}:
            self._store.commit(self._lease, {keys.ANSWERED: unsaid}, copied=True)
        named = {keys.reply(identifier): answer for identifier, answer in answers.items()}
        self._queue.put_beside(named, expire_s=expire_s)

    def done(self, items: Sequence[Item]) -> None:
        """Let go of requests that were answered."""
        self._queue.done(*items)
        for item in items if self._suspects else ():
            self._suspects.pop(_digest(item), None)


def _told_by(item: Item) -> Request:
    """Return a request as of whom it is: of an account, whatever it calls itself.

    Raises:
        GraphError: it is none, or of an account that wants the answer where others fetch theirs.
    """
    request = Request.from_plain(item.value)
    if not item.sender:
        return request
    if not request.id.startswith(roles.request_id(item.sender, "")):
        raise GraphError(f"the id of a request by {item.sender} is {request.id!r:.60}, not one of its own")
    return replace(request, client=item.sender)


def _digest(item: Item) -> str:
    return hashlib.sha1(item.raw, usedforsecurity=False).hexdigest()
