"""Keep a private node under load, strike at it, and see how long the results stay away.

A node has recovered when everything that was asked of it works again: a complete result is published
that contains events which entered the ring after the strike; each daemon that was killed has given a sign of
life; and, where the graph manager was killed, an edit that was sent right after the strike is answered.
supervisord is asked nothing meanwhile: it starts the next process when it wakes, and each question wakes it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ami.client import Client, connect
from ami.client.updates import read_results
from ami.cluster.node import Node
from ami.cluster.supervisor import NO_ANSWER
from ami.errors import AmiError, StoreError
from ami.lab.chaos import truth
from ami.lab.chaos.edit import Edit
from ami.lab.chaos.schedule import NODE, Strike
from ami.lab.chaos.truth import Deviation
from ami.result import Result
from ami.ring.observer import RingObserver
from ami.stores import keys, open_global

LOOK_S = 0.02
CALL_S = 0.3  # a store that does not answer within this is asked again
EDIT_S = 3.0  # the same for an edit
FIRST_S = 30.0  # until the first results of a node that was just started
RECOVER_S = 30.0
END_S = 40.0
SERVERS = ("local-redis", "global-redis")


@dataclass(frozen=True, slots=True)
class Recovered:
    """``results_s``: until the first complete result with new events; ``whole_s``: until everything works."""

    results_s: float
    whole_s: float
    deviation: Deviation


class Arena:
    """A private node, its load, and an eye on its results. Use it in a ``with`` statement.

    Args:
        rate_hz: of the source, events per second; None is as fast as possible.
    """

    def __init__(self, *, rate_hz: float | None, workers: int) -> None:
        self.node = Node(source=truth.uri(rate_hz), workers=workers)
        config = self.node.config
        self._manager = keys.prefix(config.node.cluster, "graph-manager", 0)
        impatient = replace(config.global_store, timeout_s=CALL_S)
        own = keys.prefix(config.node.host, "chaos", os.getpid())
        self._store = open_global(impatient, own)
        self._reducer = self._store.view(keys.prefix(config.node.cluster, "global-reducer", 0))
        self._client: Client | None = None
        self._ring: RingObserver | None = None

    def __enter__(self) -> Self:
        try:
            self.node.start()
            with connect(self.node.config, name="chaos", timeout_s=FIRST_S) as patient:
                patient.set(truth.GRAPH)
            self._client = connect(self.node.config, name="chaos", timeout_s=EDIT_S)
            self._await_complete(1, 0, FIRST_S, "the first results")
            self._ring = RingObserver(self.node.config.ring.name)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        try:
            for one in (self._ring, self._client, self._store):
                if one is not None:
                    one.close()
        finally:
            self.node.stop()

    @property
    def position(self) -> int:
        """How many events entered the ring so far, counted at the ring itself."""
        assert self._ring is not None
        return self._ring.cursor.published

    def strike(self, strike: Strike) -> Recovered:
        """Kill, wait until the node has recovered, and compare its results with the truth.

        Raises:
            AmiError: it did not recover within 30 s; the text says what is missing.
        """
        pids = {} if NODE in strike.victims else {name: self.node.pid(name) for name in strike.victims}
        if 0 in pids.values():
            raise AmiError(f"{' and '.join(n for n, pid in pids.items() if not pid)} did not come back")
        time.sleep(strike.delay_s)
        assert self._client is not None
        edit, struck_ns = Edit(self._client), time.time_ns()
        if NODE in strike.victims:
            self.node.kill_all()
        else:
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
        # After the kill: what has more events than these cannot have been on its way already.
        position = self.position
        edit.start()
        try:
            if NODE in strike.victims:
                self.node.start()
            return self._recover(strike, position, struck_ns, edit)
        finally:
            edit.join()

    def _recover(self, strike: Strike, position: int, struck_ns: int, edit: Edit) -> Recovered:
        deadline_s = RECOVER_S - (time.time_ns() - struck_ns) / 1e9
        results = self._await_complete(position + 1, struck_ns, deadline_s, _named(strike))
        published_ns = max(result.published_ns for result in results.values())
        whole_ns = published_ns
        for name in strike.victims:
            if name not in (*SERVERS, NODE):
                whole_ns = max(whole_ns, self._await_sign(name, struck_ns, strike))
        if not edit.answered.wait(RECOVER_S):
            raise AmiError(
                f"{_named(strike)}: an edit was not answered within {RECOVER_S:g} s: {edit.problem}"
            )
        if {"graph-manager", NODE} & set(strike.victims):
            whole_ns = max(whole_ns, edit.answered_ns)
        # Once more: what a process does when it comes back must not spoil anything either.
        results = self._await_complete(self.position, whole_ns, RECOVER_S, _named(strike))
        return Recovered(
            (published_ns - struck_ns) / 1e9,
            (whole_ns - struck_ns) / 1e9,
            truth.deviation(results, truth.reached(results)),
        )

    def finish(self) -> Deviation:
        """Ask the source to end, wait until all is reduced, and compare with every event it ever gave.

        Raises:
            AmiError: it did not come to an end.
        """
        self.node.supervisor.stopProcess("source", False)
        self._wait(lambda: self.node.pid("source") == 0, END_S, "the end of the source")
        events = self.position
        results = self._await_complete(events, 0, END_S, "the results of all events")
        return truth.deviation(results, events)

    # waiting for facts

    def _await_complete(self, events: int, after_ns: int, within_s: float, what: str) -> dict[str, Result]:
        """Wait for complete results, published after ``after_ns``, of at least so many events."""
        deadline = time.monotonic() + within_s
        seen = "no results"
        while time.monotonic() < deadline:
            try:
                results = read_results(self._reducer, [*truth.expected(1)])
            except StoreError as error:
                seen = str(error)
                time.sleep(LOOK_S)
                continue
            seen = _why_not(results, events, after_ns)
            if not seen:
                return results
            time.sleep(LOOK_S)
        raise AmiError(
            f"{what}: waited {within_s:.0f} s in vain for a complete result: {seen}; {self._states()}"
        )

    def _await_sign(self, name: str, struck_ns: int, strike: Strike) -> int:
        """Wait for a heartbeat of a process that started after the strike; return its time, ns."""
        kind, _, number = name.partition(":")
        view = self._store.view(keys.prefix(self.node.config.node.host, kind, int(number or 0)))
        deadline = time.monotonic() + RECOVER_S
        while time.monotonic() < deadline:
            try:
                beat = view.get(keys.HEARTBEAT)
            except StoreError:
                beat = None
            if isinstance(beat, dict) and int(beat["started_ns"]) > struck_ns:
                return int(beat["started_ns"])
            time.sleep(LOOK_S)
        raise AmiError(f"{_named(strike)}: {name} gave no sign of life for {RECOVER_S:g} s; {self._states()}")

    def _states(self) -> str:
        try:
            programs = self.node.supervisor.getAllProcessInfo()
        except NO_ANSWER as error:
            return f"supervisord does not answer: {error}"
        down = [f"{p['name']} {p['statename']}" for p in programs if p["statename"] != "RUNNING"]
        return ", ".join(down) or "all programs run"

    def _wait(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AmiError(f"waited {within_s:.0f} s in vain for {what}; {self._states()}")
            time.sleep(0.1)


def _named(strike: Strike) -> str:
    return f"after the kill of {' and '.join(strike.victims)}"


def _why_not(results: Mapping[str, Result], events: int, after_ns: int) -> str:
    """Return why these are not complete results of ``events`` events; empty when they are."""
    if len(results) < len(truth.expected(1)):
        return f"there are only {len(results)} results"
    if truth.reached(results) < events:
        return f"they go up to event {truth.reached(results)} of {events}"
    if min(result.published_ns for result in results.values()) <= after_ns:
        return "they are old"
    if not all(result.complete for result in results.values()):
        return "parts of them are still to come"
    return ""
