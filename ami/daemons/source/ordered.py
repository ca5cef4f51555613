"""Follow the orders that people give: promise where a border may be, and learn where it is.

A thread listens; the feeder reads attributes, and speaks with the store only while there is something to say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection

from ami.daemons.process import orders
from ami.daemons.process.orders import NO_INTERVAL, Promise
from ami.daemons.source.phase import Border, Phase
from ami.daemons.source.runs import Runs
from ami.errors import Conflict, StoreError, StoreUnavailable
from ami.event import Transition
from ami.messages.message import read
from ami.messages.run_book import BEGIN_RUN, BEGIN_STEP, END_RUN, END_STEP, RunBook, RunOrder, RunOrders
from ami.stores import ABSENT, Store, keys

logger = logging.getLogger(__name__)

RETRY_S = 0.2
# Between what is fed now and a border that somebody orders: longer than all nodes take to hear of it, so that
# none has to hold its events back.
MARGIN_S = 0.5
MARGIN = 2  # intervals, at the least
HOLD_S = 3.0  # for others' promises, before a source says that there is no border
LOOK_S = 0.25  # between looks whether they are there, or their nodes gone
NOBODY: Promise = (-1, 0, NO_INTERVAL)  # of a source that plays nothing


def border_of(order: RunOrder) -> Border:
    """Return where an order's border stands in the order of all."""
    if order.action == END_RUN:
        return Border(order.run, is_end=True)
    if order.action in (BEGIN_STEP, END_STEP):
        return Border(order.run, step=order.step, is_end_of_step=order.action == END_STEP)
    return Border(order.run)


def before(order: RunOrder) -> Border:
    """Return where a node is that begins: behind all that was ordered before this begin or end of a run."""
    return Border(order.run - (order.action == BEGIN_RUN), is_end=True)


def find_promise(reached: int, interval_ns: float) -> int:
    """Return the interval that who came so far does not begin; an interval lasts so long by the clock."""
    return reached if reached == NO_INTERVAL else reached + 1 + max(MARGIN, int(MARGIN_S * 1e9 / interval_ns))


def list_borders(order: RunOrder, newest: Border, here: Phase) -> list[tuple[Transition, Phase]]:
    """Return what an order means in a ring with this newest border and phase, without what is there."""
    found = []
    if newest.step and not (newest.is_end or newest.is_end_of_step):
        found.append((Transition.END_STEP, here))
    if order.action in (BEGIN_RUN, END_RUN) and here.run and not newest.is_end:
        found.append((Transition.END_RUN, here))
    if order.action == BEGIN_RUN:
        found.append((Transition.BEGIN_RUN, Phase(order.run)))
    if order.action == BEGIN_STEP:
        found.append((Transition.BEGIN_STEP, Phase(here.run, order.step, order.value)))
    if order.action == END_STEP and not found:
        found.append((Transition.END_STEP, Phase(here.run, order.step)))
    return found


class Ordered:
    """The orders, as the source of one node follows them.

    Args:
        store: what belongs to the cluster's source.
        here: returns the nodes that live.
        join: enters this node into the run of a number, which is in the book.
    """

    def __init__(
        self, store: Store, runs: Runs, host: str, here: Callable[[], Collection[str]],
        join: Callable[[int], int], push_s: float = 0.5,
    ) -> None:  # fmt: skip
        self._store = store
        self._runs = runs
        self.join = join
        self._host = host
        self._here = here
        self._push_s = push_s
        self._orders = RunOrders()
        self._quiet_for: RunOrders | None = self._orders
        self._stop_at: tuple[RunOrders, Border, int | None] | None = None
        self._hearing = threading.Lock()
        self._promised: tuple[int, float] = (0, 0.0)  # the order, and when
        self._look_at = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read what was ordered, and begin to listen, if that was not begun.

        Raises:
            StoreUnavailable
        """
        if self._thread is None:
            self._hear()
            self._thread = threading.Thread(target=self._follow, name="orders", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * self._push_s)

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to say to the store; looked at for each block."""
        return self._quiet_for is self._orders

    def note(self) -> None:
        """Say soon that a border is in the ring."""
        self._quiet_for = None

    def find_last(self) -> RunOrder | None:
        """Return the order that began, or ended, the newest run of all; None: nobody ordered that.

        Raises:
            StoreUnavailable
        """
        book = read(self._store, keys.RUN_BOOK, RunBook)
        return None if book is None else orders.find_last(self._orders, book)

    def next(self, newest: Border) -> RunOrder | None:
        """Return the next order, if it is decided, that is not in a ring with this newest border."""
        for order in self._orders.orders:
            if order.border is None or border_of(order) <= newest:
                continue
            if order.action == BEGIN_RUN or order.run == newest.run:
                return order
        return None

    def find(self, border: Border) -> RunOrder | None:
        """Return the order whose border this is."""
        same = (one for one in self._orders.orders if one.border is not None and border_of(one) == border)
        return next(same, None)

    def stop_at(self, newest: Border) -> int | None:
        """Return the interval that must not be begun now, behind a border or promised; None: none."""
        known, given = self._stop_at, self._orders
        if known is None or known[0] is not given or known[1] != newest:
            self._stop_at = known = given, newest, self._find_stop(given, newest)
        return known[2]

    def _find_stop(self, given: RunOrders, newest: Border) -> int | None:
        if (order := self.next(newest)) is not None:
            return order.border
        last = given.orders[-1] if given.orders else None
        is_promised = last is not None and last.is_open and self._host in last.promised
        return last.promised[self._host][2] if last is not None and is_promised else None

    def speak(self, newest: Border, where: Promise = NOBODY) -> None:
        """Promise, decide, and say what is done, as far as there is something to say.

        Args:
            where: what this source promises: its run and step, and an interval that it did not begin yet.

        Raises:
            StoreUnavailable
        """
        given = self._orders
        last = given.orders[-1] if given.orders else None
        done = [one for one in given.orders if self._owes(one, newest, where)]
        for order in done:
            self._change(order.number, lambda one, book: (orders.finish(one, self._host), book))
        if last is None or not last.is_open or self._host not in last.awaited:
            self._quiet_for = None if done else given
            return
        now = time.monotonic()
        if self._promised[0] == last.number and now < self._look_at:
            return
        if self._promised[0] != last.number:
            self._promised = last.number, now
        self._look_at = now + LOOK_S
        is_late = now - self._promised[1] > HOLD_S
        self._change(last.number, lambda one, book: self._answer(one, book, where, is_late))

    def _owes(self, order: RunOrder, newest: Border, where: Promise) -> bool:
        """Whether an order is in the ring, or nothing of this node's is, and that was not said."""
        if order.border is None or self._host not in order.awaited or self._host in order.done:
            return False
        return border_of(order) <= newest or where == NOBODY

    def _answer(
        self, order: RunOrder, book: RunBook, where: Promise, is_late: bool
    ) -> tuple[RunOrder, RunBook]:
        promised = orders.promise(order, self._host, where)
        here = self._here()
        interval_ns = self._store.get(keys.INTERVAL) or 1
        order, book = orders.decide(promised, book, here, int(interval_ns), least=self._runs.least)
        return (orders.give_up(order, here) if is_late else order), book

    def _change(self, number: int, change: Callable[[RunOrder, RunBook], tuple[RunOrder, RunBook]]) -> None:
        """Change an order, and perhaps the book, in one step, and tell all sources."""
        while True:
            before, book = self._read()
            order = next((one for one in before.orders if one.number == number), None)
            if order is None:
                break
            base = book or RunBook(last=0, runs=())
            new, new_book = change(order, base)
            if new == order:
                break
            expected = {keys.RUN_ORDERS: before, keys.RUN_BOOK: ABSENT if book is None else book}
            values: dict[str, object] = {keys.RUN_ORDERS: orders.put(before, new)}
            if new_book != base:
                values[keys.RUN_BOOK] = new_book
            try:
                self._store.commit(
                    None, values, expected=expected, notify={keys.ORDERED: number}, keep=100, copied=True
                )
            except Conflict:
                continue
            break
        self._hear()

    def _read(self) -> tuple[RunOrders, RunBook | None]:
        found = read(self._store, keys.RUN_ORDERS, RunOrders)
        return found or RunOrders(), read(self._store, keys.RUN_BOOK, RunBook)

    def _hear(self) -> None:
        # One after the other: what was heard first must not replace what was heard last and has a promise.
        with self._hearing:
            found = read(self._store, keys.RUN_ORDERS, RunOrders) or RunOrders()
            if found != self._orders:
                self._orders = found

    def _follow(self) -> None:
        after = "$"
        while not self._stop.is_set():
            try:
                heard = self._store.watch(keys.ORDERED, after, self._push_s)
                if heard:
                    after = heard[-1][0]
                self._hear()
            except StoreUnavailable:
                self._stop.wait(RETRY_S)
            except StoreError as error:
                logger.error("orders of runs cannot be read: %s", error)
                self._stop.wait(1.0)
