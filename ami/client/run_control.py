"""Order a border of runs or steps, and wait until it is in the rings of all nodes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ami.errors import AmiError, GraphError
from ami.messages.message import read
from ami.messages.run_book import RunOrder, RunOrders
from ami.stores import Store, keys


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBorder:
    """A border that was ordered, as it came to be.

    run, step: of what begins there, or ended. time_ns: of events: those from it on are behind the border.
    nodes: in whose rings it is. behind: nodes that have not come so far.
    """

    action: str
    run: int
    step: int
    value: float
    time_ns: int
    nodes: tuple[str, ...]
    behind: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say."""
        return {name: getattr(self, name) for name in self.__slots__}


def wait_for_border(source: Store, number: int, timeout_s: float) -> RunBorder:
    """Return the border of an order, when all nodes have it, or as far as they came within ``timeout_s``.

    Raises:
        GraphError: the sources could not do it; says why.
        AmiError: it was not decided in time.
        StoreUnavailable
    """
    end, after = time.monotonic() + timeout_s, "0"
    while True:
        order = _find(source, number)
        left_s = end - time.monotonic()
        if order.refused:
            raise GraphError(order.refused)
        if order.border is not None and (set(order.awaited) <= set(order.done) or left_s <= 0):
            return _tell(order, int(source.get(keys.INTERVAL) or 1))
        if left_s <= 0:
            missing = ", ".join(node for node in order.awaited if node not in order.promised)
            raise AmiError(f"not decided after {timeout_s:g} s: nothing was heard of {missing}")
        if heard := source.watch(keys.ORDERED, after, min(left_s, 1.0)):
            after = heard[-1][0]


def _find(source: Store, number: int) -> RunOrder:
    found = read(source, keys.RUN_ORDERS, RunOrders) or RunOrders()
    for order in found.orders:
        if order.number == number:
            return order
    raise AmiError(f"order {number} is gone: another one was given in its place")


def _tell(order: RunOrder, interval_ns: int) -> RunBorder:
    assert order.border is not None
    return RunBorder(
        action=order.action, run=order.run, step=order.step, value=order.value,
        time_ns=order.border * interval_ns, nodes=tuple(sorted(order.done)),
        behind=tuple(node for node in order.awaited if node not in order.done),
    )  # fmt: skip
