"""Take orders of borders of runs and steps from clients: look whether they may be given, and hand them on."""

from __future__ import annotations

from ami.daemons.process import orders
from ami.errors import Conflict, GraphError
from ami.messages.message import read
from ami.messages.request import Request
from ami.messages.run_book import RunBook, RunOrder, RunOrders
from ami.stores import ABSENT, Store, keys
from ami.stores.membership import Members

ACTION = "run-control"


class OrderBook:
    """What was ordered, for the manager that leads. It may be asked twice for the same: that is one order.

    Args:
        source, reducer: what belongs to the cluster's source, and to its global reducer.
    """

    def __init__(self, source: Store, reducer: Store) -> None:
        self._source = source
        self._reducer = reducer

    def add(self, request: Request, now_ns: int) -> int:
        """Give an order; return its number.

        Raises:
            GraphError: it may not be given; says why.
            StoreUnavailable
        """
        if now_ns > request.deadline_ns:
            raise GraphError("nobody waits for the answer any more, so this was not done; ask again")
        nodes = self._find_nodes()
        told = self._source.get_many(map(keys.input, nodes))
        dictates = {node: _read_dictates(told.get(keys.input(node))) for node in nodes}
        order = RunOrder(
            number=0, id=request.id, action=request.text("order"), value=request.number("value"),
            client=request.client, asked_ns=now_ns, awaited=tuple(nodes),
        )  # fmt: skip
        while True:
            before = read(self._source, keys.RUN_ORDERS, RunOrders)
            book = read(self._source, keys.RUN_BOOK, RunBook) or RunBook(last=0, runs=())
            new = orders.ask(before or RunOrders(), book, order, dictates)
            number = next(one.number for one in new.orders if one.id == request.id)
            if new == before:
                return number
            try:
                self._source.commit(
                    None, {keys.RUN_ORDERS: new}, expected={keys.RUN_ORDERS: before or ABSENT},
                    notify={keys.ORDERED: number}, keep=100, copied=True,
                )  # fmt: skip
            except Conflict:
                continue
            return number

    def _find_nodes(self) -> list[str]:
        """Return the nodes that live and have a source."""
        found = []
        for host in sorted(Members.read(self._reducer).here):
            own = self._source.view(keys.prefix(host, "source", 0))
            if own.get(keys.HEARTBEAT) is not None:  # by the store's clock, not by that of its index
                found.append(host)
        return found


def _read_dictates(told: object) -> tuple[str, str]:
    said = told if isinstance(told, dict) else {}
    return str(said.get("runs", "")), str(said.get("steps", ""))
