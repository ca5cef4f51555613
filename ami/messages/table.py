"""Put all small results of an interval into one value, column by column, so that one of them is read cheaply.

A thousand results differ in their numbers, and share nearly all that their envelopes say. Numbers lie in
arrays; what else there is is encoded by itself, and decoded for who asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ami.errors import Undecodable
from ami.messages.message import message
from ami.result import Events, Result, Row
from ami.stores import codec

Ints: TypeAlias = NDArray[np.int64]

# What may be equal in many results; values, names and the accounts of events are columns.
_SHARED = tuple(name for name in Result.__slots__ if name not in ("name", "value", "events"))
_shared = attrgetter(*_SHARED)
_account = attrgetter("expected", "used", "dropped", "set_aside")
_PLAIN: dict[type, str] = {float: "f8", int: "i8", bool: "?"}
_PYTHONS = frozenset(kind.__name__ for kind in _PLAIN)


@message
class Table:
    """The small results of one interval and lane.

    Attributes:
        names: of the results, one a line.
        envelopes: results without name, value and events; ``envelope`` says which one is that of each.
        events: what is in :class:`~ami.result.Events`, in its order, of each.
        numbers: by type, the rows that have a number of it, and the numbers.
        others: by row, the bytes of any other value but None.
    """

    names: str
    envelopes: tuple[Result, ...]
    envelope: Ints
    events: Ints
    numbers: dict[str, tuple[Ints, Any]]
    others: dict[int, bytes]

    @classmethod
    def of(cls, results: Sequence[Result]) -> Table:
        """Return the table of these."""
        return cls.of_rows([Row.of(result) for result in results])

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> Table:
        """Return the table of these. A value that cannot be stored is an error in its place."""
        names, values, accounts, envelopes = zip(*rows, strict=True) if rows else ((), (), (), ())
        columns: dict[str, tuple[Ints, Any]] = {}
        others: dict[int, bytes] = {}
        errors: dict[int, str] = {}
        for kind, of_kind in _sort(values).items():
            whole = len(of_kind) == len(rows)
            column = _column(kind, values if whole else [values[row] for row in of_kind])
            if column is not None:
                columns[column[0]] = (np.array(of_kind), column[1])
                continue
            for row in of_kind:
                try:
                    others[row] = bytes(codec.encode(values[row]))
                except TypeError as error:
                    errors[row] = str(error)
        if errors:
            envelopes = tuple(
                replace(one, error=errors.get(row, one.error)) for row, one in enumerate(envelopes)
            )
        shared, envelope = _share(envelopes)
        known, account = _number(accounts)
        events = np.array([_account(one) for one in known], np.int64).reshape(-1, 4)
        return cls(
            names="\n".join(names),
            envelopes=shared,
            envelope=envelope,
            events=events[account],
            numbers=columns,
            others=others,
        )

    def list_names(self) -> list[str]:
        """Return the names, in order."""
        return self.names.split("\n") if self.names else []

    def read(self, wanted: Collection[str] | None = None) -> dict[str, Result]:
        """Return those of the results ``wanted`` (None: all) that are in it.

        One that cannot be decoded is there with its error.

        Raises:
            Undecodable: it is no table that :meth:`of` made.
        """
        names = self.list_names()
        if wanted is None:
            rows: Iterable[tuple[int, str]] = enumerate(names)
        elif len(wanted) < 8:
            rows = [(names.index(name), name) for name in wanted if name in names]
        else:
            chosen = set(wanted)
            rows = [(row, name) for row, name in enumerate(names) if name in chosen]
        try:
            value = self._reader()
            return {name: self._result(row, name, value) for row, name in rows}
        except (IndexError, TypeError, ValueError, AttributeError) as error:
            raise Undecodable(f"a table of results is broken: {error!r}") from error

    def without(self, names: Collection[str]) -> Table:
        """Return the table without these results. It is made anew: for edits, not for each interval."""
        return Table.of([result for name, result in self.read().items() if name not in names])

    def _result(self, row: int, name: str, value: Callable[[int], Any]) -> Result:
        try:
            found = value(row)
        except Undecodable as error:
            return Result(name=name, error=str(error), complete=False)
        envelope: Result = self.envelopes[self.envelope[row]]
        expected, used, dropped, set_aside = self.events[row].tolist()
        events = Events(expected=expected, used=used, dropped=dropped, set_aside=set_aside)
        return replace(envelope, name=name, value=found, events=events)

    def _reader(self) -> Callable[[int], Any]:
        """Return what gives the value of a row."""

        def read(row: int) -> Any:
            if row in self.others:
                return codec.decode(self.others[row])
            for kind, (rows, column) in self.numbers.items():
                place = int(rows.searchsorted(row))
                if place < len(rows) and rows[place] == row:
                    return column[place].item() if kind in _PYTHONS else column[place]
            return None

        return read


@message
class Moment:
    """The numbers among the results of one interval, for time plots.

    Attributes:
        names: of the results, one a line.
        time_ns: of the last event, of each.
    """

    names: str
    interval: int
    graph_version: int
    time_ns: Ints
    used: Ints
    values: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], table: Table) -> Moment | None:
        """Return those of the rows, which are in this table; None: there is none."""
        found, columns = [], []
        for of_kind, column in table.numbers.values():
            found.append(of_kind)
            columns.append(column.astype(np.float64))
        lone = [row for row in table.others if _is_number(rows[row].value)]
        found.append(np.array(lone, np.int64))
        columns.append(np.array([float(rows[row].value) for row in lone], np.float64))
        order = np.concatenate(found)
        if not len(order):
            return None
        sort = order.argsort()
        order = order[sort]
        whole = len(order) == len(rows)
        last_ns = np.array([envelope.time_ns[1] for envelope in table.envelopes], np.int64)
        return cls(
            names=table.names if whole else "\n".join([rows[row].name for row in order.tolist()]),
            interval=rows[0].envelope.interval,
            graph_version=rows[0].envelope.graph_version,
            time_ns=last_ns[table.envelope[order]],
            used=table.events[order, 1],
            values=np.concatenate(columns)[sort],
        )

    def pick(self, name: str) -> dict[str, Any] | None:
        """Return what a history says of one result; None: it is not in here, or what is here is broken."""
        # A position in the text is far cheaper than a list of names, and a history has a thousand of these.
        place = f"\n{self.names}\n".find(f"\n{name}\n")
        if place < 0:
            return None
        row = self.names.count("\n", 0, place)
        if not row < min(map(len, (self.time_ns, self.used, self.values))):
            return None
        return {
            "interval": self.interval,
            "time_ns": int(self.time_ns[row]),
            "value": float(self.values[row]),
            "used": int(self.used[row]),
        }


def _sort(values: Sequence[Any]) -> dict[type, Sequence[int]]:
    """Return the rows of each type of values; None is no value."""
    types = list(map(type, values))
    if len(set(types)) == 1:
        rows: dict[type, Sequence[int]] = {types[0]: range(len(types))}
    else:
        found: dict[type, list[int]] = {}
        for row, kind in enumerate(types):
            found.setdefault(kind, []).append(row)
        rows = {**found}
    rows.pop(type(None), None)
    return rows


def _number(things: Sequence[Any]) -> tuple[list[Any], Ints]:
    """Return the different objects among these, and by which of them each is."""
    places = {id(thing): thing for thing in things}
    order = {key: place for place, key in enumerate(places)}
    return list(places.values()), np.array([order[id(thing)] for thing in things], np.int64)


def _share(envelopes: Sequence[Result]) -> tuple[tuple[Result, ...], Ints]:
    """Return the envelopes that differ, and which of them each is."""
    objects, number = _number(envelopes)
    places: dict[tuple[object, ...], int] = {}
    different: list[Result] = []
    place = []
    for one in objects:
        place.append(places.setdefault(_shared(one), len(places)))
        if len(different) < len(places):
            different.append(one)
    return tuple(different), np.array(place, np.int64)[number]


def _column(kind: type, values: Sequence[Any]) -> tuple[str, Any] | None:
    """Return how numbers of one type are called, and an array of them; None: they are no such numbers."""
    name = _PLAIN.get(kind)
    if name is not None:
        try:
            return kind.__name__, np.array(values, name)
        except OverflowError:
            return None
    if not issubclass(kind, np.generic) or np.dtype(kind).kind not in "biuf":
        return None
    return np.dtype(kind).str, np.array(values, kind)


def _is_number(value: Any) -> bool:
    """Whether a value that is in no column is a number: of more than 64 bits, or an array without axes."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "biuf"
    return isinstance(value, int)
