"""Let several machines of one experiment suffer one outage after the other, and count events and edits.

Each machine plays its share of one replay, as fast as others do; or all are dealt events by one sender. After
each outage there are two times: until there is a result with events from after it, of whichever machines; and
until there is a complete one of all. Clients edit the graph meanwhile, and what each was told is held against
what is there afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

from ami.client import Client
from ami.client.updates import read_results
from ami.errors import AmiError, RingError
from ami.lab import arena
from ami.lab.arena import NotYet
from ami.lab.editors import Editors
from ami.lab.harms import Harm, Harms, Servers, servers_of
from ami.lab.histories import check, count_lost
from ami.lab.machines import refuse_without_namespaces
from ami.lab.nodes import Nodes, nodes
from ami.lab.outages import SENDER, Damage, Outage
from ami.lab.sender import Sender
from ami.lab.shared_truth import SharedTruth
from ami.lab.truth import PERIOD_NS, START_NS, Deviation, Truth
from ami.result import Result
from ami.ring.observer import RingObserver
from ami.stores import Store, keys, open_global

RATE_HZ = 1500.0
INTERVAL_EVENTS = 150  # 0.1 s: machines that share two cores have to make up for what they missed
CALL_S = 0.3  # a store that does not answer within this is asked again
EDIT_S = 8.0
# They go on for as long as something is away, and what they add is to be computed.
EDITORS: Mapping[str, Any] = {"count": 3, "most": 20, "pause_s": 0.1}
AGAIN_S = 200.0  # a machine with a load of 25 takes half a minute to start a node, and makes up slowly
SETTINGS = {"AMI_EXPORT_URIS": ""}

Progress = Callable[[int, int, str], object]


def run(
    plan: Sequence[Outage], *, machines: int, hold_s: float, delay_ms: float, progress: Progress
) -> list[Damage]:
    """Make machines, let them suffer the plan, and let go of them.

    Args:
        hold_s: how long a machine is cut off, or stands still.
        delay_ms: of what goes from one machine to another.

    Raises:
        NoMachines: they cannot be made here.
        AmiError: results did not come again in time; the text says after what, and what is missing.
    """
    refuse_without_namespaces()
    found: list[Damage] = []
    for is_dealt in (False, True):
        part = [outage for outage in plan if (outage.target == SENDER) == is_dealt]
        if not part:
            continue
        progress(len(found), len(plan), f"starting {machines} machines")
        with _site(machines, hold_s=hold_s, delay_ms=delay_ms, is_dealt=is_dealt) as site:
            for outage in part:
                progress(len(found), len(plan), outage.target)
                try:
                    found.append(site.suffer(outage))
                except AmiError as error:
                    raise AmiError(f"after {outage.target}: {error}") from error
            progress(len(found), len(plan), "counting all events")
            added = site.finish()
        last = found[-1]
        found[-1] = replace(last, deviation=last.deviation.together(added))
    return found


@contextmanager
def _site(count: int, *, hold_s: float, delay_ms: float, is_dealt: bool) -> Iterator[Site]:
    truth = Truth() if is_dealt else SharedTruth(count)
    with ExitStack() as stack:
        uri = f"{truth.uri(RATE_HZ)}&interval={INTERVAL_EVENTS * PERIOD_NS // 1000}us"
        sender = Sender(uri, count) if is_dealt else None
        if sender is not None:
            stack.callback(sender.kill)
        everyone = stack.enter_context(
            nodes(
                count, workers=1, settings=SETTINGS, copies=True,
                each={
                    number: {"AMI_SOURCE_URI": f"{uri}&every={count}&offset={number}"}
                    for number in range(count)
                },
            )
        )  # fmt: skip
        for node in everyone if delay_ms else ():
            node.machine.delay(delay_ms)
        if sender is not None:
            sender.listen_beside(everyone[0].machine)
            for node in everyone:
                node.environment["AMI_SOURCE_URI"] = sender.address_for_nodes
            sender.start()
        everyone.start()
        client = stack.enter_context(everyone.client(name="chaos", timeout_s=EDIT_S))
        config = everyone[0].config
        impatient = replace(config.global_store, timeout_s=CALL_S)
        owner = keys.prefix(config.node.cluster, "global-reducer", 0)
        reducer = stack.enter_context(closing(open_global(impatient, owner)))
        servers = stack.enter_context(servers_of(everyone))
        site = Site(everyone, truth, client, reducer, servers, sender, hold_s)
        site.begin()
        yield site


class Site:
    """Machines that play, and an eye on their results."""

    def __init__(
        self, everyone: Nodes, truth: Truth, client: Client, reducer: Store, servers: Servers,
        sender: Sender | None, hold_s: float,
    ) -> None:  # fmt: skip
        self._everyone = everyone
        self._truth = truth
        self._client = client
        self._reducer = reducer
        self._servers = servers
        self._sender = sender
        self._hold_s = hold_s
        managers = reducer.view(keys.prefix(everyone[0].config.node.cluster, "graph-manager", 0))
        self._harms = Harms(everyone, servers, managers, reducer, sender)
        self._before = Deviation()

    def begin(self) -> None:
        """Give the machines their graph, and wait until all play."""
        self._wait("the fields", lambda: self._client.schema() is not None)
        self._wait("the graph", self._set_graph)
        self._wait("results of all machines", lambda: self._look(whole=True))

    def suffer(self, outage: Outage) -> Damage:
        """Let an outage be, and wait until all is well.

        Raises:
            AmiError: it is not, in time.
        """
        self._servers.put_right()
        self._wait("results of all machines", lambda: self._look(whole=True))
        harm = self._wait("somebody to strike", lambda: self._harms.prepare(outage))
        with Editors(self._edit_as, field="monitor", seed=outage.draw, **EDITORS) as editors:
            time.sleep(outage.delay_s)
            results_s, whole_s, deviation = self._strike(harm)
        last = self._wait("a look at the graph", lambda: editors.look(self._client))
        lost, faults = count_lost(editors.edits, last), check(editors.edits, editors.looks)
        self._wait("the graph as it was", self._set_graph)
        added, self._before = deviation.beyond(self._before), deviation
        return Damage(
            outage=outage, victims=harm.victims, results_s=results_s, whole_s=whole_s, deviation=added,
            acknowledged=editors.acknowledged, edits_lost=lost, faults=tuple(faults),
        )  # fmt: skip

    def _strike(self, harm: Harm) -> tuple[float, float, Deviation]:
        """Strike, and put it right; return after how long there were results, and all of them, and what is
        wrong with those."""
        struck_ns = since_ns = time.time_ns()
        try:
            harm.strike()
            events = self._count_events()
            again = self._wait("a result", lambda: self._look(events + 1, struck_ns))
            if harm.holds:
                time.sleep(max(0.0, self._hold_s - (time.time_ns() - struck_ns) / 1e9))
            if harm.mend is not None:
                since_ns, events = time.time_ns(), self._count_events()
        finally:
            if harm.mend is not None:
                harm.mend()
        whole = self._wait(
            "a complete result of all machines", lambda: self._look(events + 1, since_ns, whole=True)
        )
        # Once more: what a process does when it comes back must not spoil anything either.
        more = self._count_events()
        results = self._wait("another one", lambda: self._look(more + 1, whole=True))
        return (
            (_published_ns(again) - struck_ns) / 1e9,
            (_published_ns(whole) - since_ns) / 1e9,
            self._compare(results),
        )

    def finish(self) -> Deviation:
        """Return what shows only when all events are reduced, where these have an end."""
        if self._sender is None:
            return Deviation()
        events = self._sender.stop()
        results = self._wait("all events", lambda: self._look_at_all(events))
        return self._truth.deviation(results, events)

    def _compare(self, results: dict[str, Result]) -> Deviation:
        # Blocks that are dealt do not end where intervals do: until all has come, some of them lacks some.
        return Deviation() if self._sender else self._truth.deviation(results, _find_reached(results))

    def _look(self, events: int = 0, after_ns: int = 0, *, whole: bool = False) -> dict[str, Result]:
        """Return results of at least so many events, published after a time.

        Raises:
            NotYet, StoreError: there are none now.
        """
        names = self._truth.names
        results = read_results(self._reducer, names)
        if len(results) < len(names):
            raise NotYet(f"there are only {len(results)} results")
        if (reached := _find_reached(results)) < events:
            raise NotYet(f"they go up to event {reached} of {events}")
        if min(result.published_ns for result in results.values()) <= after_ns:
            raise NotYet("they are old")
        if whole:
            count = len(list(self._everyone))
            for result in results.values():
                if not result.complete or len(result.nodes) < count:
                    missing = ", ".join(f"{name} (late by {s:.3g} s)" for name, s in result.late)
                    raise NotYet(f"they lack {missing or ', '.join(result.missing_nodes) or 'parts'}")
        return results

    def _look_at_all(self, events: int) -> dict[str, Result]:
        results = self._look()
        if (expected := min(result.events.expected for result in results.values())) < events:
            raise NotYet(f"they have {expected} of {events} events")
        return results

    def _count_events(self) -> int:
        """Return up to which event the machines have come together: what has more was not on its way yet."""
        published = []
        for node in self._everyone:
            try:
                with RingObserver(node.config.ring.name) as ring:
                    published.append(ring.cursor.published)
            except RingError:
                continue
        return sum(published) if self._sender else len(list(self._everyone)) * max(published, default=0)

    def _set_graph(self) -> bool:
        try:
            self._client.set(self._truth.graph, force=True)
        except AmiError as error:
            raise NotYet(str(error)) from error
        return True

    def _edit_as(self, name: str) -> Client:
        return self._everyone.client(name=name, timeout_s=EDIT_S)

    def _wait(self, what: str, look: Callable[[], arena.T]) -> arena.T:
        return arena.wait_for(what, look, AGAIN_S, states=self._states)

    def _states(self) -> str:
        """Say which programs do not run, by machine."""
        return "; ".join(
            f"{node.machine.name}: {arena.list_states(node.supervisor)}" for node in self._everyone
        )


def _find_reached(results: dict[str, Result]) -> int:
    """Return up to which event all machines have come that are waited for."""
    interval = min(result.interval for result in results.values())
    return (interval + 1) * INTERVAL_EVENTS - START_NS // PERIOD_NS


def _published_ns(results: dict[str, Result]) -> int:
    return max(result.published_ns for result in results.values())
