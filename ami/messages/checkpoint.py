"""What a global reducer leaves for its successor: its state, and which batches are in it."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from ami.graph.execution.bucket import Bucket
from ami.messages.batch import Batch
from ami.messages.message import message
from ami.stores import codec, columns

codec.register(Bucket)

# Thousands of buckets of one interval have few accounts among them.
_ACCOUNT = attrgetter(
    "first", "last", "first_ns", "last_ns", "used", "expected", "dropped", "set_aside", "to_come"
)
_NO_PLACE = (-1, -1)  # runs are not negative
_NO_TIME = -(1 << 63)


_graphs: list[tuple[Any, bytes]] = []  # the last ones that were stored


def _pack_graph(plain: dict[str, Any]) -> bytes:
    """Return a graph's bytes: it is in every checkpoint, and hardly ever another one."""
    for known, raw in _graphs:
        if known is plain:
            return raw
    raw = bytes(codec.encode(plain))
    _graphs[:] = [*_graphs[-3:], (plain, raw)]
    return raw


def _plain(account: tuple[Any, ...]) -> tuple[int, ...]:
    first, last, first_ns, last_ns, *counts = account
    times = (_NO_TIME, _NO_TIME) if first_ns is None else (first_ns, last_ns)
    return (*(first or _NO_PLACE), *(last or _NO_PLACE), *times, *counts)


def _pack(accumulator: dict[str, Any]) -> dict[str, Any]:
    """Put the buckets of all windows into columns: there are thousands of them."""
    windows = accumulator["windows"]
    numbers = np.repeat(np.arange(len(windows)), [len(one["buckets"]) for one in windows.values()])
    places = [place for one in windows.values() for place in one["buckets"]]
    buckets = [bucket for one in windows.values() for bucket in one["buckets"].values()]
    accounts: dict[tuple[Any, ...], int] = {}
    account = [accounts.setdefault(key, len(accounts)) for key in map(_ACCOUNT, buckets)]
    facts = np.array([_plain(key) for key in accounts], np.int64).reshape(-1, 11)[np.array(account, np.intp)]
    where = np.empty((len(places), 3), np.int64)
    where[:, 0] = numbers
    where[:, 1:] = np.array(list(chain.from_iterable(places)), np.int64).reshape(-1, 2)
    return {
        **accumulator,
        "graph": _pack_graph(accumulator["graph"]),
        "windows": {key: {**one, "buckets": {}} for key, one in windows.items()},
        "buckets": (
            where,
            np.ascontiguousarray(facts[:, :6]),
            np.ascontiguousarray(facts[:, 6:]),
            columns.pack([bucket.state for bucket in buckets]),
        ),
    }


def _unpack(packed: Any) -> dict[str, Any]:
    accumulator = {**packed, "graph": codec.decode(packed["graph"])}
    places, ends, counts, states = accumulator.pop("buckets")
    windows = list(accumulator["windows"].values())
    found = zip(places.tolist(), ends.tolist(), counts.tolist(), columns.unpack(states), strict=True)
    for (number, *place), end, count, state in found:
        first, last = (None if one == _NO_PLACE else one for one in (tuple(end[:2]), tuple(end[2:4])))
        first_ns, last_ns = (None if one == _NO_TIME else one for one in end[4:])
        used, expected, dropped, set_aside, to_come = count
        bucket = Bucket(state, used, expected, dropped, set_aside, first, last, first_ns, last_ns, to_come)
        windows[number]["buckets"][tuple(place)] = bucket
    return accumulator


@message
class Totals:
    """The account of a run: ``expected`` = ``reduced`` + ``dropped`` + ``set_aside`` + what is under way."""

    expected: int = 0
    reduced: int = 0
    dropped: int = 0
    set_aside: int = 0

    def plus(self, batch: Batch) -> Totals:
        """Return the account with a batch."""
        partial = batch.partial
        return Totals(
            expected=self.expected + batch.expected,
            reduced=self.reduced + (partial.seen if partial else 0),
            dropped=self.dropped + batch.dropped,
            set_aside=self.set_aside + (partial.set_aside if partial else 0),
        )


@message
class Checkpoint:
    """The whole of a lane of a global reducer. ``applied``: which batches ``accumulator`` covers, by node.

    ``graph`` is of both lanes, that of the accumulator of this one alone. ``newest``: run and interval;
    ``place``: those up to which all nodes came that are waited for. ``nodes``, ``workers``: of which interval
    something came from each last; ``ended``: which run a node ended last. ``published``: results by name,
    each with the graph version since which it is one.
    """

    FORMAT: ClassVar[int] = 4

    applied: dict[str, int]
    accumulator: dict[str, Any]
    graph: dict[str, Any]
    interval_ns: int
    nodes: dict[str, tuple[int, int]]
    ended: dict[str, int]
    workers: dict[str, tuple[int, int]]
    newest: tuple[int, int]
    place: tuple[int, int]
    published: dict[str, int]
    totals: Totals
    run: int
    intervals: int


codec.register(Checkpoint, packed={"accumulator": (_pack, _unpack), "graph": (_pack_graph, codec.decode)})
