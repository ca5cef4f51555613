"""Three sources, and people who order runs and steps: each event is on its side of the border."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from ami.config import GlobalStoreConfig, SourceConfig
from ami.daemons.manager.run_orders import OrderBook
from ami.daemons.source.source import SourceStage
from ami.errors import GraphError
from ami.event import Transition
from ami.graph.language.text import graph_of
from ami.messages.message import read
from ami.messages.request import Request
from ami.messages.run_book import RunOrder, RunOrders
from ami.ring import Entry, RingObserver
from ami.stores import keys
from ami.stores.opened import Stores
from tests.daemons_rig import config, publish_graph, setup
from tests.ring_rig import ring_name
from tests.waiting import wait_until

HOSTS = ("a", "b", "c")
URI = "sim://scalars?rate=2000&event_rate=2000&policy=drop"
GRAPH = graph_of("results: {shots: count(delay)}").at_version(1)


class Experiment:
    """The sources of three nodes, stepped by hand, and who orders."""

    def __init__(self, cluster: GlobalStoreConfig, stack: ExitStack) -> None:
        self._cluster, self._stack = cluster, stack
        self._rings = {host: stack.enter_context(ring_name()) for host in HOSTS}
        self.stores = Stores(config("/ami-none", None, cluster))
        stack.callback(self.stores.close)
        self.source = self.stores.cluster("source")
        self.reducer = self.stores.cluster("global-reducer")
        self.book = OrderBook(self.source, self.reducer)
        self.stages: dict[str, SourceStage] = {}
        self._asked = 0
        stack.callback(lambda: [stage.close() for stage in self.stages.values()])

    def start(self, host: str, uri: str = URI) -> None:
        source = SourceConfig(uri=uri, drain_s=0.0)
        made = setup(config(self._rings[host], None, self._cluster, host=host, source=source))
        self.reducer.claim(keys.node(host), 1000, host).take()
        self.source.view(keys.prefix(host, "source", 0)).put(keys.HEARTBEAT, "beats")
        self._stack.callback(made.stores.close)
        self.stages[host] = SourceStage(made)
        self.stages[host].start()

    def kill(self, host: str) -> None:
        """Let go of what the kernel takes from a killed process, and of nothing else."""
        stage = self.stages.pop(host)
        if stage._ring is not None:
            stage._ring.close(unlink=False)
        stage._graphs.close()
        stage._ordered.close()

    def step(self) -> None:
        for stage in list(self.stages.values()):
            stage.step()

    def order(self, action: str, value: float = 0.0) -> int:
        self._asked += 1
        request: Any = SimpleNamespace(order=action, value=value)
        return self.book.add(
            Request(
                id=str(self._asked), client="me", action="run-control", expected_version=None,
                deadline_ns=1 << 62, fields=vars(request),
            ),
            self.source.time_ns(),
        )  # fmt: skip

    def find(self, number: int) -> RunOrder:
        found = read(self.source, keys.RUN_ORDERS, RunOrders)
        assert found is not None
        return next(one for one in found.orders if one.number == number)

    def entries(self, host: str) -> list[Entry]:
        with RingObserver(self._rings[host]) as ring:
            return [ring.entry(index) for index in range(ring.oldest_entry, ring.cursor.entries_opened)]


@pytest.fixture
def experiment(cluster: GlobalStoreConfig) -> Iterator[Experiment]:
    publish_graph(cluster, GRAPH)
    with ExitStack() as stack:
        yield Experiment(cluster, stack)


def is_playing(experiment: Experiment) -> bool:
    experiment.step()
    return all(stage.counters.get("published", 0) for stage in experiment.stages.values())


@pytest.mark.parametrize("seed", range(3))
def test_each_event_is_on_its_side_of_each_border_whichever_source_dies_when(
    experiment: Experiment, seed: int
) -> None:
    rng = random.Random(seed)
    for host in HOSTS:
        experiment.start(host)
    wait_until(lambda: is_playing(experiment), what="three sources that play")
    orders = []
    for action in ("step", rng.choice(("begin", "end")), "begin", rng.choice(("end", "end-step", "begin"))):
        if action == "end-step":
            action = "end"
        number = experiment.order(action, 1.5)

        def is_done(number: int = number) -> bool:
            if rng.random() < 0.02:  # a source is killed, and its successor begins
                victim = rng.choice(HOSTS)
                experiment.kill(victim)
                experiment.start(victim)
            experiment.step()
            order = experiment.find(number)
            assert not order.refused
            return set(order.done) == set(HOSTS)

        wait_until(is_done, what=f"{action} on all nodes")
        orders.append(experiment.find(number))
    borders = [order.border for order in orders]
    assert borders == sorted(borders)  # type: ignore[type-var]  # each is decided
    for host in HOSTS:
        told = experiment.entries(host)
        for entry in [one for one in told if not one.transition and one.count + one.dropped]:
            before = [one for one in orders if one.border is not None and one.border <= entry.interval]
            run = before[-1].run if before else 1
            assert (entry.run, entry.step) == (run, before[-1].step if before else 0), host
            assert not before or before[-1].action != "end"
        begun = [entry.run for entry in told if entry.transition == Transition.BEGIN_RUN]
        ended = [entry.run for entry in told if entry.transition == Transition.END_RUN]
        assert begun == sorted(set(begun))
        assert ended == sorted(set(ended))


def test_results_stay_between_runs_and_who_comes_late_waits_for_the_border(experiment: Experiment) -> None:
    experiment.start("a")
    wait_until(lambda: is_playing(experiment), what="a source that plays")

    def do(action: str, *hosts: str) -> RunOrder:
        number = experiment.order(action)

        def is_done() -> bool:
            experiment.step()
            return set(experiment.find(number).done) >= set(hosts)

        wait_until(is_done, what=f"{action} on {hosts}")
        return experiment.find(number)

    end = do("end", "a")
    stage = experiment.stages["a"]
    published = stage.counters["published"]
    wait_until(lambda: experiment.step() or stage.counters["outside_runs"] > 50, what="events of no run")
    assert stage.counters["published"] == published
    assert "me ended run 1; `ami run-control begin`" in stage.state
    experiment.start("b")
    wait_until(
        lambda: experiment.step() or "ended run 1" in experiment.stages["b"].state, what="one that waits"
    )
    with pytest.raises(GraphError, match="run 1 was ended by me"):
        experiment.order("step")
    begin = do("begin", "a", "b")
    assert (end.run, begin.run) == (1, 2)
    wait_until(lambda: is_playing(experiment), what="both")
    for host in "ab":
        first = [one for one in experiment.entries(host) if one.run == 2 and one.count]
        assert begin.border is not None
        assert first[0].interval >= begin.border


def test_a_source_that_says_runs_is_not_ordered_and_one_that_is_silent_changes_nothing(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment.start("a", "sim://pump-probe?rate=100&run_events=1000")
    wait_until(lambda: is_playing(experiment), what="a source with runs")
    with pytest.raises(GraphError, match=r"runs are not ordered here: sim://pump-probe\S* has its own \(a\)"):
        experiment.order("end")
    experiment.kill("a")
    experiment.start("a")
    experiment.start("b")
    wait_until(lambda: is_playing(experiment), what="two sources")
    monkeypatch.setattr("ami.daemons.source.ordered.HOLD_S", 0.05)
    monkeypatch.setattr("ami.daemons.source.ordered.LOOK_S", 0.0)
    frozen = experiment.stages.pop("a")
    number = experiment.order("begin")
    wait_until(lambda: experiment.step() or experiment.find(number).refused != "", what="its refusal")
    assert experiment.find(number).refused == "the source of a does not answer; nothing was changed"
    experiment.stages["a"] = frozen
