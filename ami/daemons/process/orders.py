"""Order a border of runs or steps: pure, so that every rule is tested without a store.

Each source promises an interval that it does not begin before it knows where the border is; the latest of
these is the border, and whoever promises last says so. So each event of each node is on its side of it,
whoever hears of it when, and nobody has to live for it. (Rejected: the manager chooses an interval that is
far enough ahead. How far is a matter of what every machine and every network does just then; who hears of it
too late has its events in the wrong run, and nobody can tell.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ami.errors import GraphError
from ami.messages.run_book import (
    BEGIN_RUN,
    BEGIN_STEP,
    END_RUN,
    END_STEP,
    ORDERS,
    RunBook,
    RunEntry,
    RunOrder,
    RunOrders,
)

ORDERS_KEPT = 32
RUNS_KEPT = 32  # in the book: a node may be so many behind the others
OPEN_S = 10.0  # so long an open order keeps others from being asked for
SPREAD_S = 60.0  # of event time, between nodes
NO_INTERVAL = -(1 << 63)  # of who plays nothing

Promise = tuple[int, int, int]  # run, step, and the first interval that is not begun yet


def ask(
    orders: RunOrders, book: RunBook, order: RunOrder, dictates: Mapping[str, tuple[str, str]]
) -> RunOrders:
    """Return the orders with one more, if it may be given.

    Args:
        dictates: by node why its runs, and its steps, are not to be ordered; "" where they are.

    Raises:
        GraphError: it may not be given; says why.
    """
    if any(one.id == order.id for one in orders.orders):
        return orders  # whoever asked it did not hear of the answer
    last = orders.orders[-1] if orders.orders else None
    if order.action not in ORDERS:
        raise GraphError(f"unknown order {order.action!r}; known: {', '.join(ORDERS)}")
    if not order.awaited:
        raise GraphError("no source runs on any node, so there is nothing to begin or to end")
    of_steps = order.action in (BEGIN_STEP, END_STEP)
    for node, (runs, steps) in sorted(dictates.items()):
        if why := runs or (steps if of_steps else ""):
            raise GraphError(f"{'steps' if of_steps else 'runs'} are not ordered here: {why} ({node})")
    if last is not None and last.is_open and order.asked_ns - last.asked_ns < OPEN_S * 1e9:
        raise GraphError(f"{last.action!r} by {last.client} is under way; ask again in a moment")
    newest = find_last(orders, book)
    if newest is not None and newest.action == END_RUN and order.action != BEGIN_RUN:
        raise GraphError(
            f"run {newest.run} was ended by {newest.client}; `ami run-control begin` begins another"
        )
    kept = [one for one in orders.orders if not one.is_open]
    number = last.number + 1 if last is not None else 1
    return RunOrders(orders=(*kept, replace(order, number=number))[-ORDERS_KEPT:])


def find_last(orders: RunOrders, book: RunBook) -> RunOrder | None:
    """Return the order that began, or ended, the newest run of all; None: nobody ordered that."""
    decided = [one for one in orders.orders if one.border is not None and one.action in (BEGIN_RUN, END_RUN)]
    last = decided[-1] if decided else None
    return last if last is not None and last.run == book.last else None


def promise(order: RunOrder, node: str, given: Promise) -> RunOrder:
    """Return the order with what a node promises; what it promised before holds."""
    return order if node in order.promised else replace(order, promised={**order.promised, node: given})


def decide(
    order: RunOrder, book: RunBook, here: Collection[str], interval_ns: int, *, least: int = 0
) -> tuple[RunOrder, RunBook]:
    """Return the order with its border, and the book with the run that begins there, once all have promised.

    Args:
        here: nodes that live; who is gone is not waited for.
        least: the highest number of a run that the caller knows of.
    """
    waited = {node for node in order.awaited if node in here}
    if not order.is_open or not waited <= order.promised.keys():
        return order, book
    playing = {node: at for node, at in order.promised.items() if at[2] != NO_INTERVAL}
    if why := _find_reason(order, playing, interval_ns):
        return replace(order, refused=why), book
    border = max(interval for _, _, interval in playing.values())
    run, step = max((run, step) for run, step, _ in playing.values())
    if order.action == BEGIN_RUN:
        run, step = max(book.last, least) + 1, 0
        entry = RunEntry(number=run, whole="", begun={}, ended=())
        book = RunBook(last=run, runs=(*book.runs, entry)[-RUNS_KEPT:])
    elif order.action == BEGIN_STEP:
        step += 1
    return replace(order, border=border, run=run, step=step), book


def _find_reason(order: RunOrder, playing: Mapping[str, Promise], interval_ns: int) -> str:
    """Return why this cannot be at one border, "" if it can."""
    if not playing:
        return "no node has events yet"
    first, last = (choose(playing, key=lambda node: playing[node][2]) for choose in (min, max))
    behind_s = (playing[last][2] - playing[first][2]) * interval_ns / 1e9
    if behind_s > SPREAD_S:
        return f"the events of {first} are {behind_s:.0f} s of event time behind those of {last}"
    runs = {run: node for node, (run, _, _) in sorted(playing.items())}
    if order.action != BEGIN_RUN and len(runs) > 1:
        return "nodes are in different runs: " + ", ".join(f"{node} in {run}" for run, node in runs.items())
    if order.action == END_STEP and not all(step for _, step, _ in playing.values()):
        return "no step is open"
    return ""


def give_up(order: RunOrder, here: Collection[str]) -> RunOrder:
    """Return the order refused, because a source that should promise does not."""
    silent = [node for node in order.awaited if node in here and node not in order.promised]
    if not order.is_open or not silent:
        return order
    return replace(order, refused=f"the source of {', '.join(silent)} does not answer; nothing was changed")


def finish(order: RunOrder, node: str) -> RunOrder:
    """Return the order, done by a node."""
    return order if node in order.done else replace(order, done=(*order.done, node))


def put(orders: RunOrders, changed: RunOrder) -> RunOrders:
    """Return the orders with one of them changed."""
    return RunOrders(orders=tuple(changed if one.number == changed.number else one for one in orders.orders))
