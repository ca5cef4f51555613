"""Kill a node's processes under full load, see how long the results stay away, and count every event.

A node has recovered when everything that was asked of it works again: a complete result is published
that contains events which entered the ring after the strike; each daemon that was killed has given a sign of
life; and, where the graph manager was killed, an edit that was sent right after the strike is answered.
supervisord is asked nothing meanwhile: it starts the next process when it wakes, and each question wakes it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace

from ami.client import Client, connect
from ami.client.updates import read_results
from ami.errors import AmiError
from ami.lab import arena
from ami.lab.arena import Arena, NotYet
from ami.lab.strikes import NODE, Outcome, Strike
from ami.lab.truth import SCRATCH, Deviation, Truth, find_end
from ami.messages.heartbeat import Heartbeat
from ami.processes import SERVERS
from ami.result import Result
from ami.ring.observer import RingObserver
from ami.stores import Store, keys, open_global

CALL_S = 0.3  # a store that does not answer within this is asked again
EDIT_S = 3.0  # the same for an edit
EDIT_PAUSE_S = 0.05
RECOVER_S = 30.0
END_S = 40.0

Progress = Callable[[int, int, str], object]


def run(
    plan: Sequence[Strike], truth: Truth, *, rate_hz: float | None, workers: int, progress: Progress
) -> list[Outcome]:
    """Start a private node under load, carry out the plan, and stop the node.

    What shows only when all events are reduced is counted to the last strike.

    Args:
        truth: the load, and what must come of it.
        rate_hz: of the source, events per second; None is as fast as possible.

    Raises:
        AmiError: the node did not recover from a strike in time; the text says which, and what is missing.
    """
    outcomes: list[Outcome] = []
    progress(0, len(plan), "starting a node")
    with _under_load(truth, rate_hz, workers) as campaign:
        before = Deviation()
        for number, strike in enumerate(plan):
            progress(number, len(plan), " and ".join(strike.victims))
            recovery_s, now = campaign.strike(strike)
            outcomes.append(Outcome(strike, recovery_s, now.beyond(before)))
            before = now
        progress(len(plan), len(plan), "counting all events")
        added = campaign.finish().beyond(before)
    if outcomes and added:
        last = outcomes[-1]
        outcomes[-1] = replace(last, deviation=last.deviation.together(added))
    return outcomes


@contextmanager
def _under_load(truth: Truth, rate_hz: float | None, workers: int) -> Iterator[Campaign]:
    source, first = truth.uri(rate_hz), truth.names[0]
    with arena.running(
        source, truth.graph, name="chaos", first=first, workers=workers, settings=truth.settings
    ) as place:
        config = place.node.config
        impatient = replace(config.global_store, timeout_s=CALL_S)
        with (
            place.ring() as ring,
            closing(open_global(impatient, keys.prefix(config.node.host, "chaos", os.getpid()))) as store,
            connect(config, name="chaos", timeout_s=EDIT_S) as client,
            ThreadPoolExecutor(1) as editor,
        ):
            yield Campaign(place, truth, ring, store, client, editor)


class Campaign:
    """A node under load, and an eye on its results."""

    def __init__(
        self,
        place: Arena,
        truth: Truth,
        ring: RingObserver,
        store: Store,
        client: Client,
        editor: ThreadPoolExecutor,
    ) -> None:
        self._place = place
        self._truth = truth
        self._ring = ring
        self._store = store
        self._client = client
        self._editor = editor
        self._reducer = store.view(keys.prefix(place.node.config.node.cluster, "global-reducer", 0))

    def strike(self, strike: Strike) -> tuple[float, Deviation]:
        """Kill, and wait until everything works; return how long that took, s, and what is wrong then.

        Raises:
            AmiError: it did not recover within 30 s; the text says what is missing.
        """
        node = self._place.node
        pids = {} if NODE in strike.victims else {name: node.pid(name) for name in strike.victims}
        if 0 in pids.values():
            raise AmiError(f"{' and '.join(n for n, pid in pids.items() if not pid)} did not come back")
        time.sleep(strike.delay_s)
        struck_ns = time.time_ns()
        if NODE in strike.victims:
            node.kill_all()
        else:
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
        # After the kill: what has more events than these cannot have been on its way already.
        position = self._ring.cursor.published
        edit = self._editor.submit(self._edit)
        if NODE in strike.victims:
            node.start()
        try:
            whole_ns = self._recover(strike, position, struck_ns, edit)
            # Once more: what a process does when it comes back must not spoil anything either.
            results = self._complete(self._ring.cursor.published, whole_ns, RECOVER_S)
        except AmiError as error:
            raise AmiError(f"after the kill of {' and '.join(strike.victims)}: {error}") from error
        return (whole_ns - struck_ns) / 1e9, self._truth.deviation(results, find_end(results))

    def _recover(self, strike: Strike, position: int, struck_ns: int, edit: Future[int]) -> int:
        """Wait until everything works; return since when, ns."""
        left_s = RECOVER_S - (time.time_ns() - struck_ns) / 1e9
        results = self._complete(position + 1, struck_ns, left_s)
        times_ns = [result.published_ns for result in results.values()]
        for name in strike.victims:
            if name not in (*SERVERS, NODE):
                times_ns.append(self._sign_of_life(name, struck_ns))
        answered_ns = edit.result()
        if {"graph-manager", NODE} & set(strike.victims):
            times_ns.append(answered_ns)
        return max(times_ns)

    def finish(self) -> Deviation:
        """Ask the source to end, wait until all is reduced, and compare with every event it ever gave.

        Raises:
            AmiError: it did not come to an end.
        """
        self._place.stop_source(END_S)
        events = self._ring.cursor.published
        return self._truth.deviation(self._complete(events, 0, END_S), events)

    def _complete(self, events: int, after_ns: int, within_s: float) -> dict[str, Result]:
        """Wait for complete results, published after ``after_ns``, of at least so many events."""
        names = self._truth.names

        def look() -> dict[str, Result]:
            results = read_results(self._reducer, names)
            if len(results) < len(names):
                raise NotYet(f"there are only {len(results)} results")
            reached = min(find_end({name: result}) for name, result in results.items())
            if reached < events:
                raise NotYet(f"they go up to event {reached} of {events}")
            if min(result.published_ns for result in results.values()) <= after_ns:
                raise NotYet("they are old")
            if not all(result.complete for result in results.values()):
                raise NotYet("parts of them are still to come")
            return results

        return self._place.wait_for("a complete result", look, within_s)

    def _sign_of_life(self, name: str, struck_ns: int) -> int:
        """Wait for a heartbeat of a process that started after the strike; return when it started, ns."""
        kind, _, number = name.partition(":")
        view = self._store.view(keys.prefix(self._place.node.config.node.host, kind, int(number or 0)))

        def look() -> int:
            beat = view.get(keys.HEARTBEAT)
            started_ns = beat.started_ns if isinstance(beat, Heartbeat) else 0
            return started_ns if started_ns > struck_ns else 0

        return self._place.wait_for(f"a sign of life of {name}", look, RECOVER_S)

    def _edit(self) -> int:
        """Ask for an edit that nobody else's result depends on until it is answered; return when, ns."""

        def look() -> int:
            try:
                self._client.reset(SCRATCH)
            except AmiError as error:
                raise NotYet(str(error)) from error
            return time.time_ns()

        return self._place.wait_for("an answer to an edit", look, RECOVER_S, look_s=EDIT_PAUSE_S)
