"""Make batches of what the workers' arenas have of a span; knows no store and no clock.

A span is whole when none is added to it and every slot of it is committed: then nobody writes its states any
more, and they are merged where they lie. Batches are of bounded size. How a span is shared out depends on
nothing but its states, so who goes on after a death goes on with the next part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ami.graph.execution.bind import Reductions
from ami.graph.execution.partial import Partial
from ami.graph.library.base import State
from ami.messages.flush import Covers
from ami.messages.large import NO_INTERVAL, WHOLE, Account, ArenaRecord, IntervalPart, LargeBatch, Row
from ami.messages.message import expect
from ami.ring.arena import ArenaView
from ami.ring.observer import RingObserver
from ami.stores import codec
from ami.stores.wire import Traffic

PART_BYTES = 16 << 20  # the server stands still for all others while it takes one in


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of an interval into the ring, or past it."""

    expected: int
    dropped: int


@dataclass(slots=True)
class Span:
    """A span that is to be sent: of which entries it is, and what the ring says of its intervals."""

    index: int
    end: int  # first entry of what follows
    run: int
    graph_version: int
    complete: bool
    position: int = 0  # of the input, where it ends; 0: not known
    tallies: dict[int, Tally] = field(default_factory=dict)


def find_span(ring: RingObserver, first: int, *, whole: bool = True) -> Span | int:
    """Return the span that begins at entry ``first``, or from which entry on to look again.

    Entries without a span are passed over when they are closed. ``whole``: it must be complete.
    """
    # What was released was sent, whatever the store remembers of it.
    first = max(first, ring.oldest_entry, ring.released)
    opened, closed = ring.cursor.entries_opened, ring.cursor.entries_closed
    while first < closed and ring.entry(first).span < first:
        first += 1
    if first >= closed or ring.spans_closed <= first:
        return first
    entry = ring.entry(first)
    end = first
    tallies: dict[int, Tally] = {}
    while end < opened and (one := ring.entry(end)).span == entry.span:
        before = tallies.get(one.interval, Tally(0, 0))
        tallies[one.interval] = Tally(before.expected + one.count + one.dropped, before.dropped + one.dropped)
        end += 1
    # The last one first: it is the one that is not complete yet.
    complete = all(ring.is_over(index) for index in range(end - 1, first - 1, -1))
    if whole and not complete:
        return first
    position = ring.entry(end - 1).position
    return Span(first, end, entry.run, entry.graph_version, complete, position, tallies)


class Arenas:
    """The arenas of the workers of one ring, as they are now; what is read of them is counted."""

    def __init__(self, ring: str, ring_id: int, workers: Sequence[int], shared: Traffic) -> None:
        self.ring_id = ring_id
        self._shared = shared
        self._views: dict[int, ArenaView] = {}
        self._records: dict[int, ArenaRecord] = {}
        for worker in workers:
            try:
                view = ArenaView(ring, ring_id, worker)
            except FileNotFoundError:
                continue
            self._views[worker] = view
            raw = view.read()
            if raw:
                self._records[worker] = expect(ArenaRecord, codec.decode(raw))

    @property
    def are_free(self) -> bool:
        """Whether none of their workers writes any more."""
        return all(view.is_free for view in self._views.values())

    def list_spans(self, first: int) -> list[Span]:
        """Return the spans that begin at ``first`` or later, of a ring that is gone: as incomplete."""
        spans: dict[int, Span] = {}
        for record in self._records.values():
            for index, facts in record.spans.items():
                if index >= first:
                    spans[index] = Span(index, index + 1, facts.run, facts.graph_version, complete=False)
        return [spans[index] for index in sorted(spans)]

    def list_workers(self, span: int) -> list[int]:
        """Return who has something of a span."""
        return [
            n for n, record in self._records.items() if any(where[0] == span for where in record.accounts)
        ]

    def account(self, span: int) -> dict[int, Account]:
        """Return the account of each interval of a span."""
        found: dict[int, Account] = {}
        for record in self._records.values():
            for (index, interval), account in record.accounts.items():
                if index == span:
                    found[interval] = found[interval].plus(account) if interval in found else account
        return found

    def list_rows(self, span: int) -> list[Row]:
        """Return the rows of a span, in one order for whoever asks."""
        rows = {row for record in self._records.values() for row in record.rows if row[0] == span}
        return sorted(rows, key=lambda row: (row[2], row[1], repr(row[3])))

    def measure(self, row: Row) -> int:
        """Return about how many bytes a row's states will have when they are merged."""
        return max(record.rows[row][1] for record in self._records.values() if row in record.rows)

    def load(self, row: Row) -> list[State]:
        """Return each worker's state; arrays are views of the arenas."""
        places = [(n, one.rows[row]) for n, one in sorted(self._records.items()) if row in one.rows]
        self._shared.received += sum(length for _, (_, length) in places)
        return [codec.decode(self._views[worker].view(place)) for worker, place in places]

    def close(self) -> None:
        for view in self._views.values():
            view.close()


class Batches:
    """The batches of one span.

    Args:
        prefix: of a worker, by number: who it is, for the envelope.
    """

    def __init__(
        self, span: Span, arenas: Arenas, known: Reductions, *, node: str, interval_ns: int,
        prefix: Callable[[int], str],
    ) -> None:  # fmt: skip
        self._span = span
        self._arenas = arenas
        self._known = known
        self._node = node
        self._interval_ns = interval_ns
        self._workers = tuple(prefix(worker) for worker in sorted(arenas.list_workers(span.index)))
        self._accounts = arenas.account(span.index)
        intervals = self._accounts.keys() | span.tallies.keys()
        self._last_interval = max(intervals, default=0)

    def make(self, skip: int = 0) -> Iterator[LargeBatch]:
        """Yield the span's batches, but for the first ones."""
        part, size = 0, 0
        states: dict[Row, State] = {}
        for row in self._arenas.list_rows(self._span.index):
            if row[1] not in self._known:
                continue
            more = self._arenas.measure(row)
            if states and size + more > PART_BYTES:
                if part >= skip:
                    yield self._batch(states, last=False)
                part, size, states = part + 1, 0, {}
            states[row] = self._merge(row) if part >= skip else None
            size += more
        if part >= skip:
            yield self._batch(states, last=True)

    def _merge(self, row: Row) -> State:
        first, *others = self._arenas.load(row)
        for other in others:
            # What lies in an arena may not be written: the first merge makes a copy of its first one.
            first = self._known[row[1]].merge(first, other)
        return first

    def _batch(self, states: Mapping[Row, State], *, last: bool) -> LargeBatch:
        span = self._span
        by_state: dict[tuple[int, str], dict[Hashable, State]] = {}
        for (_, fingerprint, interval, label), state in states.items():
            where = self._last_interval if interval == NO_INTERVAL else interval
            by_state.setdefault((where, fingerprint), {})[label] = state
        parts: dict[int, Partial] = {}
        if last:
            for interval in sorted(self._accounts.keys() | span.tallies.keys()):
                account = self._accounts.get(interval, Account())
                parts[interval] = partial = Partial(
                    span.graph_version, account.seen, used=dict(account.used), set_aside=account.set_aside
                )
                for fingerprint, reasons in self._known.unbound.items():
                    partial.fail(fingerprint, reasons)
        for (interval, fingerprint), labels in by_state.items():
            partial = parts.setdefault(interval, Partial(span.graph_version))
            partial.states[fingerprint] = (
                labels[WHOLE] if WHOLE in labels else self._known[fingerprint].join(labels)
            )
        return LargeBatch(
            node=self._node,
            ring=self._arenas.ring_id,
            span=span.index,
            run=span.run,
            graph_version=span.graph_version,
            interval_ns=self._interval_ns,
            workers=self._workers,
            intervals=[self._interval_part(n, one, last=last) for n, one in sorted(parts.items())],
            last=last,
            complete=span.complete,
        )

    def _interval_part(self, interval: int, partial: Partial, *, last: bool) -> IntervalPart:
        account = self._accounts.get(interval, Account()) if last else Account()
        # Of a ring that is gone nobody knows what else there was.
        here = Tally(account.seen + account.set_aside, 0)
        tally = self._span.tallies.get(interval, Tally(0, 0)) if self._span.tallies else here
        if not last:
            tally = Tally(0, 0)
        return IntervalPart(
            interval=interval,
            covers=account.covers if last else Covers(),
            expected=tally.expected,
            dropped=tally.dropped,
            partial=partial,
        )
