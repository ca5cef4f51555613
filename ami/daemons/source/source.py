"""Be the node's source: open the input, make or resume the ring, feed it, and leave it clean."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from ami.cluster import whose
from ami.daemons.process.control import GraphWatch
from ami.daemons.process.rate import Rate
from ami.daemons.process.stage import Setup
from ami.daemons.source.feeder import Feeder
from ami.daemons.source.home import RingHome
from ami.daemons.source.inputs import Inputs
from ami.daemons.source.ordered import Ordered
from ami.daemons.source.phase import NO_BORDER
from ami.daemons.source.runs import Runs, name_whole
from ami.daemons.source.schedule import Schedule
from ami.errors import RingBusy, RingError, RingFull, RingUnfit, SourceError, StoreUnavailable
from ami.event import Schema
from ami.messages.run_book import END_RUN
from ami.ring.leaked import reclaim
from ami.ring.observer import RingObserver
from ami.ring.segment import free_bytes
from ami.ring.writer import RingWriter
from ami.sources import intervals, open_source
from ami.sources.base import Dealing, Dictates, Source
from ami.sources.pace import Replay
from ami.stores import keys
from ami.stores.membership import Members

logger = logging.getLogger(__name__)

# How often an input that could not be opened is looked at again, s.
REOPEN_S = 5.0
READY_S = 0.01
# A ring that holds the stream for less is told: a process' restart takes nearly as long.
ENOUGH_S = 0.5
SHOWN = 50  # names of fields in the log


class SourceStage:
    """The source of one node. An input that cannot be read is reported, and the node stays up."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._config = setup.config
        self._stopping = setup.stopping
        self._rate, self._drops = Rate(), Rate()
        self._told = 0  # the configuration of which was told what there is room for
        self._failure = ""
        self._waiting_for = "the control store and the ring"
        self._shortage = ""  # of memory for the ring
        self._reopen_at = 0.0
        self._source: Source | None = None
        self._dealing: Dealing | None = None  # the same, if its sender keeps what it dealt
        self._ring: RingWriter | None = None
        self._feeder: Feeder | None = None
        self._store = setup.stores.cluster("source")
        reducer = setup.stores.cluster("global-reducer")
        self._inputs = Inputs(self._store, reducer, setup.config.node.host)
        host, here = setup.config.node.host, lambda: Members.read(reducer).here
        self._runs = Runs(self._store, setup.config.node, here)
        self._ordered = Ordered(self._store, self._runs, host, here, self._join_run, setup.waits.push_s)
        self._schedule = Schedule(self._store)
        self._graphs = GraphWatch(setup)
        self._shared = setup.shared
        self._told_of: tuple[int, Dictates] = 0, Dictates()  # fields that are left out, and whose runs are
        self._counted = 0  # events, whose bytes are counted there

    @property
    def state(self) -> str:
        if self._failure:
            return f"failed: {self._failure}"
        if self._feeder is None:
            return (
                f"waiting: no room: {self._shortage}"
                if self._shortage
                else f"waiting: for {self._waiting_for}"
            )
        if self._feeder.finished or self._source is None:
            return "finished"
        if self._feeder.asked.reading:
            return f"begins: reads {self._feeder.asked.reading} for the first time"
        return self._source.state or self._room()

    def _room(self) -> str:
        """Return that it runs, and whether there is room enough for that."""
        assert self._feeder is not None
        if (order := self._feeder.outside) is not None:
            if order.action == END_RUN:
                ended = f"{order.client} ended run {order.run}"
                return f"running, outside of runs: {ended}; `ami run-control begin` begins another"
            return f"running, outside of runs: run {order.run} begins later"
        short, hold_s = self._feeder.asked.shortage, self._hold_s()
        if short and self._feeder.asked.graph is None:
            return f"waiting: no room: {short}"
        if short:
            return f"running, but the newest graph waits for room: {short}"
        if 0 < hold_s < ENOUGH_S:
            return (
                f"running, but the ring holds {hold_s:.2g} s of the stream: raise ring.bytes, or ask for less"
            )
        return "running"

    def _hold_s(self) -> float:
        """Return for how long the ring can take the stream when nobody works on it, s; 0: not known."""
        if self._ring is None or self._feeder is None or self._source is None or not self._source.pace.paced:
            return 0.0
        cursor = self._ring.cursor
        rate_hz = self._feeder.cadence_hz or self._rate.per_s(cursor.published + cursor.dropped)
        return self._ring.depth / rate_hz if rate_hz else 0.0

    @property
    def counters(self) -> Mapping[str, float]:
        if self._ring is None or self._feeder is None:
            return {}
        cursor = self._ring.cursor
        return {
            "published": cursor.published,
            "dropped": cursor.dropped,
            "position": cursor.position,
            "entries_opened": cursor.entries_opened,
            "rate_hz": self._rate.per_s(cursor.published + cursor.dropped),
            "drop_hz": self._drops.per_s(cursor.dropped),
            "lag_s": self._feeder.lag_s,
            "ring_s": self._hold_s(),
            "outside_runs": self._feeder.passed_over,
            **(self._source.counters if self._source is not None else {}),
        }

    def costs(self) -> dict[str, Any]:
        """Count what went into the ring since the last heartbeat."""
        kept = None if self._ring is None else self._ring.configuration
        if self._ring is not None and kept is not None:
            published = self._ring.cursor.published
            self._shared.sent += max(0, published - self._counted) * kept.schema.event_bytes
            self._counted = published
        return {}

    def start(self) -> None:
        self._graphs.start()
        self._ordered.start()

    def step(self) -> None:
        if self._feeder is None and not self._begin():
            if not self._ordered.is_quiet:
                self._ordered.speak(NO_BORDER)
            self._stopping.wait(0.2)
            return
        assert self._feeder is not None
        if self._dealing is not None:
            self._dealing.tend()
            if self._dealing.was_taken or (self._ring is not None and self._ring.taken):
                self._leave_ring()
                return
        self._tell_room()
        if self._source is not None and self._look_at(self._source) != self._told_of:
            self._tell_schema(self._source)  # a stream has shown more that can be no field, or a border
        try:
            self._feeder.step()
        except SourceError as error:
            self._fail(error)
            self._feeder.end_span()
            self._feeder.finished = True

    def _leave_ring(self) -> None:
        """Begin with another ring: what is in this one was dealt to others, and the reducer knows."""
        assert self._ring is not None
        assert self._feeder is not None
        self._feeder.end_span()  # or its reducer would wait for the rest of an open entry, and never leave it
        logger.warning("leaving ring %s, whose events others got while this node was away", self._ring.name)
        self._ring.close(unlink=True)
        self._feeder = self._ring = None

    def _tell_room(self) -> None:
        """Write down what the ring has room for, once for each configuration."""
        assert self._ring is not None
        assert self._source is not None
        kept = self._ring.configuration
        if kept is None or kept.number == self._told:
            return
        text = ""
        if self._source.pace.paced:
            if not (hold_s := self._hold_s()):
                return  # not known yet
            text = f": {hold_s:.1f} s of the stream at {kept.depth / hold_s:.0f} Hz"
        self._told = kept.number
        logger.info(
            "ring: %d events of %d of %d fields, %.0f MiB%s",
            kept.depth, len(kept.schema.fields), len(self._source.schema.fields),
            kept.depth * kept.schema.event_bytes / (1 << 20), text,
        )  # fmt: skip

    def _begin(self) -> bool:
        if self._source is None and (time.monotonic() < self._reopen_at or not self._open()):
            return False
        assert self._source is not None
        if not self._ready(self._source):
            return False
        if not self._graphs.wait_until_known(0.2):
            raise StoreUnavailable("the source waits for the control store to say which graph is current")
        # The schema first: the manager checks graphs against it, and entries name graphs.
        interval_ns = intervals.choose(self._source, self._config.source.interval_s)
        interval_ns = intervals.on_the_clock(self._source, interval_ns)
        self._store.put(keys.INTERVAL, interval_ns)
        if problem := self._tell_schema(self._source):
            self._waiting_for = f"other nodes: {problem}"
            return False
        if self._source.length is not None and self._graphs.latest.version == 0:
            # A recording has an end: it would be over before anybody said what to do with it.
            self._waiting_for = "a graph"
            return False
        if self._ring is None and not self._make_ring(self._source):
            return False
        assert self._ring is not None
        if self._dealing is not None:
            self._dealing.join(RingHome(self._setup, self._ring))
        cursor = self._ring.cursor
        self._rate = Rate(cursor.published + cursor.dropped)
        self._feeder = Feeder(
            self._source,
            self._ring,
            interval_ns=self._ring.interval_ns,
            drop=(self._source.policy or self._config.source.policy) == "drop",
            graph=lambda: self._graphs.latest,
            nap=self._stopping.wait,
            new_run=self._new_run,
            end_run=self._runs.end,
            ordered=None if self._source.dictates.runs else self._ordered,
            meet_run=self._keep_schedule,
        )
        return True

    def _make_ring(self, source: Source) -> bool:
        """Make or resume the ring; return whether that was possible, and why not is in the state."""
        self._shortage = ""
        try:
            self._ring = self._attach(source)
        except RingFull as error:
            self._shortage = str(error)
        except RingBusy as error:
            self._waiting_for = f"the ring: {error}"
        except RingUnfit as error:
            self._clear_away(error)
        return self._ring is not None

    def _tell_schema(self, source: Source) -> str:
        """Tell the cluster what fields there are; return why this node must not play, "" as a rule."""
        self._told_of = self._look_at(source)
        interval_ns = intervals.choose(source, self._config.source.interval_s)
        return self._inputs.tell(source.schema, interval_ns, source.dictates)

    @staticmethod
    def _look_at(source: Source) -> tuple[int, Dictates]:
        return len(source.schema.left_out), source.dictates

    def _open(self) -> bool:
        try:
            source: Any = open_source(self._config.source.uri)
        except SourceError as error:
            self._fail(error)
            self._reopen_at = time.monotonic() + REOPEN_S
            return False
        self._source = source
        self._dealing = source if isinstance(source, Dealing) else None
        return True

    def _ready(self, source: Source) -> bool:
        """Wait until the fields are known: at once, or when a stream's first event comes."""
        try:
            ready = source.ready(READY_S, self._earlier(source))
        except SourceError as error:
            self._fail(error)
            source.close()
            self._source = None
            self._reopen_at = time.monotonic() + REOPEN_S
            return False
        self._failure = ""
        if source.live:
            first = f"the first event of {self._config.source.uri}"
            self._waiting_for = "the control store and the ring" if ready else first
        return ready

    def _earlier(self, source: Source) -> Schema | None:
        """Return the fields of the ring that a killed source of this input left."""
        if not source.live:
            return None
        try:
            ring = RingObserver(self._config.ring.name)
        except RingError:
            return None
        mine = ring.source_id == whose.sign(self._config, source.identity)
        schema = ring.schema if mine and not ring.replaced else None
        ring.close()
        return schema

    def _fail(self, error: SourceError) -> None:
        if str(error) != self._failure:
            logger.error("%s", error)
        self._failure = str(error)

    def _attach(self, source: Source) -> RingWriter:
        ring = self._config.ring
        names = source.schema.names
        some = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        logger.info("%s: %s", self._config.source.uri, some or "no fields")
        whose.refuse_foreign(self._config, unless_dead=True)
        self._drain_leftover(source)
        made = RingWriter.create(
            ring.name,
            source.schema,
            source_id=whose.sign(self._config, source.identity),
            bytes=ring.bytes,
            max_slots=ring.max_slots,
            entries=ring.entries,
            interval_ns=intervals.choose(source, self._config.source.interval_s),
            policy=source.policy or self._config.source.policy,
            reduced=True,
            share=lambda: min(ring.max_bytes, int(ring.share * free_bytes())),
        )
        logger.info(
            "ring %s of %d MiB %s at position %d, intervals of %g s",
            ring.name, made.column_bytes >> 20, "resumed" if made.resumed else "made",
            made.cursor.position, made.interval_ns / 1e9,
        )  # fmt: skip
        return made

    def _clear_away(self, error: RingUnfit) -> None:
        """Remove what has the name of the ring and can be no ring of ours, unless somebody uses it."""
        try:
            reclaim(self._config.ring.name)
        except RingError as reason:
            self._waiting_for = f"the ring: {reason}"
        else:
            logger.error("%s. It was removed; events in it that nobody reduced are lost", error)

    def _drain_leftover(self, source: Source) -> None:
        """Let the workers finish what another input left in the ring before it is replaced."""
        old = RingWriter.leftover(self._config.ring.name)
        if old is None:
            return
        if (old.source_id, old.schema) == (whose.sign(self._config, source.identity), source.schema):
            old.close()
            return
        deadline = time.monotonic() + self._config.source.drain_s
        logger.info(
            "the ring holds events of another input; waiting up to %g s for them", self._config.source.drain_s
        )
        while not old.is_drained() and time.monotonic() < deadline and not self._stopping.wait(0.05):
            pass
        old.close()

    def _new_run(self, said: int) -> int:
        """Return the number of the run that begins, which the input calls ``said``, if anything."""
        assert self._source is not None
        if self._source.numbers_runs:
            return self._join_run(said)
        return self._runs.begin(name_whole(self._source.whole, said), self._name_beginning())

    def _join_run(self, number: int) -> int:
        return self._runs.begin("", self._name_beginning(), number)

    def _name_beginning(self) -> str:
        assert self._ring is not None
        # A successor of who dies before it is in the ring is asked at the same place.
        return f"{self._ring.ring_id} {self._ring.cursor.entries_opened}"

    def _keep_schedule(self, run: int, event_ns: int) -> None:
        """Be as far in a run as those who play other shares of it."""
        pace = None if self._source is None else self._source.pace
        if isinstance(pace, Replay) and pace.paced and pace.is_shared:
            pace.begin(event_ns, self._schedule.find_late_s(run, event_ns, pace.speed))

    def close(self) -> None:
        """Close the interval, wait until every event is reduced, and remove the ring."""
        if self._feeder is not None and self._ring is not None:
            self._feeder.end_span()
            deadline = time.monotonic() + self._config.source.drain_s
            while not self._ring.is_drained() and time.monotonic() < deadline:
                self._ring.wait_for_space(0.05)
                if self._dealing is not None:
                    self._dealing.tend()
            drained = self._ring.is_drained()
            if not drained:
                logger.warning(
                    "the ring stays, with events that nobody reduced yet; the next start goes on with it"
                )
            if self._source is not None:
                self._source.close()  # a sender hears how far this ring has come
            self._ring.close(unlink=drained)
        elif self._source is not None:
            self._source.close()
        self._graphs.close()
        self._ordered.close()
