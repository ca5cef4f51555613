"""Hear of new results by push, and read each at most as often as somebody looks.

The global reducer appends to one notification stream which it published; this blocks on that stream (no
polling), and then reads the newest values once, however many notifications came in between. So a slow reader
of large images lags by one read, never by a queue. Small results lie in one table a lane, others by key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ami.errors import Undecodable
from ami.messages.pieces import Keyed, Pieces, chain, join
from ami.messages.table import Moment, Table
from ami.result import Result
from ami.stores import Store, codec, keys
from ami.stores.codec import Buffer, Value

logger = logging.getLogger(__name__)

# The longest one blocking read of the store's connection, seconds: what Ctrl-C may have to wait for.
BLOCK_S = 1.0
Known = dict[str, dict[str, Value]]  # pieces by name, by the key of their result
TRIALS, AGAIN_S = 25, 0.2  # to read a value in pieces, which are gone before the next ones are there


class Updates:
    """What is new among the results ``names`` (None: all), in the store of the global reducer."""

    def __init__(self, reducer: Store, names: Collection[str] | None = None) -> None:
        self._store = reducer
        self._names = None if names is None else set(names)
        # The place in the stream is taken before the values are read: what is published in
        # between is read twice rather than missed.
        last = reducer.history(keys.RESULTS, 1)
        self._after = last[-1][0] if last else "0"
        # When tables and keys were published last, if that was since this began; ns by the store's clock.
        self._lanes_ns: dict[str, int] = {}
        self._keys_ns: dict[str, int] = {}
        self._unread: set[str] = set(reducer.get(keys.CATALOGUE) or {}) if names is None else set(names)
        self._unread_lanes = set(keys.LANES) if self._unread else set()
        self._known: Known = {}  # of results that lie in pieces by key, those that were read last

    def take(self, timeout_s: float) -> dict[str, Result]:
        """Return the new results by name; empty when none came within ``timeout_s``.

        The first call returns what is there already.

        Raises:
            StoreUnavailable: call again later; nothing new is missed.
        """
        end = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, end - time.monotonic())
            if not self._unread and not self._unread_lanes:
                self._listen(min(left_s, BLOCK_S))
            found = self._read() if self._unread or self._unread_lanes else {}
            if found or time.monotonic() >= end:
                return found

    def read_times(self) -> dict[str, int]:
        """Return when each result was published last since this began, ns by the store's clock."""
        times = dict(self._keys_ns)
        for lane, at_ns in self._lanes_ns.items():
            for table in _tables(self._store, [lane]):
                times |= {name: max(at_ns, times.get(name, 0)) for name in table.list_names()}
        return times

    def _listen(self, timeout_s: float) -> None:
        for place, notice in self._store.watch(keys.RESULTS, self._after, timeout_s):
            self._after = place
            if not isinstance(notice, dict):
                continue
            at_ns = int(place.partition("-")[0]) * 10**6
            named, lane = notice.get("names"), notice.get("lane")
            for name in named if isinstance(named, list | tuple | set) else ():
                self._keys_ns[str(name)] = at_ns
                if self._names is None or name in self._names:
                    self._unread.add(str(name))
            if lane in keys.LANES:
                self._lanes_ns[lane] = at_ns
                if self._names is None or self._names:
                    self._unread_lanes.add(lane)

    def _read(self) -> dict[str, Result]:
        # What had a key of its own when it was told may lie in a table now, beside the next interval's.
        moved = keys.LANES if self._unread else ()
        tabled = dict.fromkeys(moved, self._unread) | dict.fromkeys(self._unread_lanes, self._names)
        found = _read_at_once(self._store, tabled, sorted(self._unread), self._known)
        # Only now: if the read failed they are still to be read.
        self._unread.clear()
        self._unread_lanes.clear()
        return found


def read_results(reducer: Store, names: Collection[str]) -> dict[str, Result]:
    """Return the newest values of those ``names`` that have one, in their order, as of one moment.

    One that cannot be decoded is there with its error; it does not hide the others.

    Raises:
        StoreUnavailable
    """
    found = _read_at_once(reducer, dict.fromkeys(keys.LANES, names), names, {})
    return {name: found[name] for name in names if name in found}


def read_history(reducer: Store, name: str, limit: int) -> list[dict[str, object]]:
    """Return the last values of a number, oldest first, in at most ``limit`` intervals of a lane.

    Raises:
        StoreUnavailable
    """
    catalogue = reducer.get(keys.CATALOGUE)
    facts = catalogue.get(name) if isinstance(catalogue, dict) else None
    if not isinstance(facts, dict):
        return []
    # What is older is of an operation that had this name before.
    since = facts.get("since_version", 0)
    found = []
    for lane in keys.LANES:
        for place, moment in reducer.history(keys.history(lane), limit):
            picked = (
                moment.pick(name) if isinstance(moment, Moment) and moment.graph_version >= since else None
            )
            if picked is not None:
                milliseconds, _, number = place.partition("-")
                found.append((int(milliseconds), int(number), picked))
    found.sort(key=lambda record: record[:2])
    return [picked for *_, picked in found[-limit:]]


def _read_at_once(
    reducer: Store, tabled: Mapping[str, Collection[str] | None], keyed: Collection[str], known: Known
) -> dict[str, Result]:
    """Return results of the tables of lanes (by lane; None: all), and ``keyed`` ones of their own keys.

    What is published in one step is read in one: some results lie in a table and some do not, and
    between two reads the next interval may come. A result that changed its place may be in two.
    """
    tables = {keys.table(lane): names for lane, names in tabled.items()}
    wanted = {keys.result(name): name for name in keyed}
    raws = reducer.get_raw([*tables, *wanted])
    found: dict[str, Result] = {}
    for key, table in _decode_tables(reducer, dict(zip(tables, raws[: len(tables)], strict=True))).items():
        _take_newer(found, _pick(reducer, table, tables[key]))
    for (key, name), raw in zip(wanted.items(), raws[len(tables) :], strict=True):
        value = None if raw is None else _decode(reducer, name, key, raw, known.setdefault(key, {}))
        if isinstance(value, Result):
            _take_newer(found, {name: value})
    return found


def _take_newer(found: dict[str, Result], more: Mapping[str, Result]) -> None:
    for name, result in more.items():
        if name not in found or found[name].published_ns < result.published_ns:
            found[name] = result


def _tables(reducer: Store, lanes: Iterable[str]) -> list[Table]:
    """Return the tables of these lanes that there are and that can be decoded."""
    wanted = [keys.table(lane) for lane in lanes]
    return list(_decode_tables(reducer, dict(zip(wanted, reducer.get_raw(wanted), strict=True))).values())


def _decode_tables(reducer: Store, raws: Mapping[str, Buffer | None]) -> dict[str, Table]:
    found = {}
    for key, raw in raws.items():
        try:
            table = None if raw is None else codec.decode(raw)
        except Undecodable as error:
            logger.warning("%s:%s cannot be read: %s", reducer.prefix, key, error)
            continue
        if isinstance(table, Table):
            found[key] = table
    return found


def _pick(reducer: Store, table: Table, names: Collection[str] | None) -> dict[str, Result]:
    try:
        return table.read(names)
    except Undecodable as error:
        logger.warning("results of %s cannot be read: %s", reducer.prefix, error)
        return {}


def _decode(reducer: Store, name: str, key: str, raw: Buffer, known: dict[str, Value]) -> object:
    """Return a result of its own key, put together if it lies in pieces."""
    try:
        value = codec.decode(raw)
        return _whole(reducer, key, value, known) if _is_in_pieces(value) else value
    except Undecodable as error:
        return Result(name=name, error=str(error), complete=False)


def read_result(reducer: Store, name: str) -> object:
    """Return the newest value of one result, None if there is none.

    Raises:
        StoreUnavailable
        Undecodable: what is under its key is broken.
    """
    found = _read_at_once(reducer, {lane: [name] for lane in keys.LANES}, (), {}).get(name)
    return read_value(reducer, keys.result(name)) if found is None else found


def read_value(reducer: Store, key: str) -> object:
    """Return what is under a result's key, put together if it lies in pieces.

    Raises:
        StoreUnavailable, Undecodable
    """
    return _whole(reducer, key, reducer.get(key), {})


def _is_in_pieces(value: object) -> bool:
    return isinstance(value, Pieces) or (isinstance(value, Result) and isinstance(value.value, Keyed))


def _whole(reducer: Store, key: str, value: object, known: dict[str, Value]) -> object:
    for _ in range(TRIALS):
        try:
            if isinstance(value, Pieces):
                return join(reducer, value)
            if isinstance(value, Result) and isinstance(value.value, Keyed):
                return replace(value, value=chain(reducer, value.value, known))
            return value
        except KeyError:
            time.sleep(AGAIN_S)  # a newer one is on its way
            value = reducer.get(key)
    raise Undecodable(f"{key} is replaced faster than it can be read")
