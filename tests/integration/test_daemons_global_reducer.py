"""The global reducer on a real cluster: results equal those of one that never failed, whatever fails."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ami.client.updates import read_history, read_results
from ami.config import Config, GlobalStoreConfig
from ami.daemons.process.stage import Waits
from ami.daemons.reduction.global_reducer import GlobalReducerStage
from ami.daemons.reduction.publisher import Publisher
from ami.errors import ConfigError, StoreUnavailable
from ami.event import Field, Schema, Transition
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.graph.operation import Operation
from ami.messages.batch import Batch
from ami.messages.checkpoint import Checkpoint, Totals
from ami.messages.message import read
from ami.result import Events, Result
from ami.stores import keys
from ami.stores.client import ClusterLink
from ami.stores.opened import Stores
from tests.batches import batch, border
from tests.client_rig import made
from tests.daemons_rig import (
    GRAPH,
    SHORT,
    Faults,
    FaultyLink,
    config,
    die,
    let_looks_be_time,
    put_graph,
    setup,
    steps,
)

pytestmark = pytest.mark.integration

clusters = (f"cluster{number}" for number in itertools.count())


class Rig:
    """The keys of a cluster whose name no other test has, and its nodes a and b, which send batches."""

    def __init__(self, cluster: GlobalStoreConfig, link: ClusterLink) -> None:
        self.name = next(clusters)
        self.link = link
        self.config: Config = config("/ami-not-there", cluster=cluster, cluster_name=self.name)
        self.stores = Stores(self.config, cluster=link)
        self.store = self.stores.cluster("global-reducer")
        self.faults = Faults()
        self.graph(GRAPH)
        self._numbers: dict[str, int] = {}
        self.store.set(keys.NODES).update(("a", "b"))

    def graph(self, graph: Graph) -> None:
        put_graph(self.stores.cluster("graph-manager"), graph)

    def send(self, *batches: Batch) -> None:
        for one in batches:
            node = one.node
            number = self._numbers[node] = self._numbers.get(node, 0) + 1
            assert self.store.journal(keys.inbox(node)).append(number, one)

    def stage(self, number: int = 0, *, waits: Waits = SHORT) -> GlobalReducerStage:
        # The watch on the graph asks at times of its own: a fault's number would not say where it comes.
        link = FaultyLink(self.link, self.faults)
        stage = GlobalReducerStage(setup(self.config, cluster=link, number=number, waits=waits))
        stage.start()
        return stage

    def results(self) -> dict[str, Result]:
        return read_results(self.store, (*GRAPH.results, "strange"))

    def applied(self) -> dict[str, int]:
        checkpoint = read(self.store, keys.CHECKPOINT, Checkpoint)
        return {} if checkpoint is None else checkpoint.applied

    def left(self) -> int:
        return sum(self.store.journal(keys.inbox(node)).pending() for node in self._numbers)


@pytest.fixture
def rig(cluster: GlobalStoreConfig, link: ClusterLink) -> Rig:
    return Rig(cluster, link)


RUN = [
    border(Transition.BEGIN_RUN, 1, node="a"),
    batch(1, [1, 2, 3], node="a"),
    batch(1, [10], node="b", expected=4, dropped=1, complete=False),
    batch(2, [4], node="a", dropped=2, expected=3),
    batch(1, [20, 30], node="b", expected=0, supplement=True),
    batch(2, [40], node="b"),
    border(Transition.END_RUN, 1, node="a"),
]


def check_the_run(rig: Rig, stage: GlobalReducerStage | None = None) -> None:
    found = rig.results()
    assert all(result.complete for result in found.values())
    assert {name: result.value for name, result in found.items()} == {"shots": 8, "total": 110, "now": 44}
    assert found["total"].events == Events(expected=11, used=8, dropped=3)
    assert found["now"].events == Events(expected=4, used=2, dropped=2)
    assert found["total"].nodes == ("a", "b")
    assert set(rig.store[keys.CATALOGUE]) == {"shots", "total", "now"}  # type: ignore[arg-type]
    if stage is not None:
        counters = stage.counters
        assert (counters["expected"], counters["reduced"], counters["dropped"]) == (11, 8, 3)
        assert (counters["run"], counters["set_aside"]) == (1, 0)


def test_batches_of_all_nodes_become_results_and_leave_their_inboxes(rig: Rig) -> None:
    rig.send(*RUN)
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 4, "b": 3})
    check_the_run(rig, stage)
    assert stage.state == "running"
    steps(stage, lambda: rig.left() == 0)
    notices = [value for _, value in rig.store.history(keys.RESULTS, 100)]
    assert notices[-1] == {"run": 1, "interval": 2, "graph_version": 1, "names": [], "lane": keys.SMALL}
    stage.close()


def test_results_have_the_units_that_the_source_tells(rig: Rig) -> None:
    source = rig.store.view(keys.prefix(rig.name, "source", 0))
    source[keys.SCHEMA] = Schema.of([Field("x", np.dtype(np.int64), unit="mJ")]).to_json()
    rig.send(*RUN)
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 4, "b": 3})
    assert {name: result.label.unit for name, result in rig.results().items()} == {
        "shots": "", "total": "mJ", "now": "mJ",
    }  # fmt: skip
    stage.close()


def test_each_run_has_the_units_that_its_source_told_before_it(rig: Rig) -> None:
    source = rig.store.view(keys.prefix(rig.name, "source", 0))
    stage = rig.stage(waits=replace(SHORT, look_s=3600.0))
    rng = np.random.default_rng(7)
    for run in range(1, 9):
        unit = "".join(rng.choice(list("mJµ /\n"), size=3))
        source[keys.SCHEMA] = Schema.of([Field("x", np.dtype(np.int64), unit=unit)]).to_json()
        rig.send(batch(run, [run], node="a", run=run))
        steps(stage, lambda n=run: rig.applied() == {"a": n})  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert rig.results()["total"].label.unit == unit
    stage.close()


def test_an_operation_that_is_not_installed_fails_its_result_and_no_other(rig: Rig) -> None:
    wobble = Operation("strange", "wobble", ("x",), reduces=True)
    rig.graph(Graph(2, (*GRAPH.operations, wobble), (*GRAPH.results, "strange")))
    stage = rig.stage()
    for number, values in enumerate(([1, 2, 3], [10]), start=1):
        rig.send(batch(number, values, node="a", graph_version=2))
        steps(stage, lambda n=number: rig.applied() == {"a": n})  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        stage.close()
        stage = rig.stage()  # begins with the checkpoint of the one before
    check_the_other_results(rig)
    rig.graph(GRAPH.at_version(3))
    rig.send(batch(3, [100], node="a", graph_version=3))
    steps(stage, lambda: rig.applied() == {"a": 3})
    assert rig.results()["total"].value == 116
    assert "strange" not in rig.results()
    stage.close()


def check_the_other_results(rig: Rig) -> None:
    found = rig.results()
    assert (found["total"].value, found["total"].error, found["total"].events.used) == (16, None, 4)
    strange = found["strange"]
    assert (strange.value, strange.events.expected, strange.events.used) == (None, 4, 0)
    assert "operation 'wobble' is not installed on global-reducer:0 of here; install" in str(strange.error)


@pytest.mark.parametrize(
    ("then", "answer_lost"),
    [("a successor", False), ("a successor", True), ("the same process", False)],
    ids=["refused, a successor", "answer lost, a successor", "refused, the same process"],
)
def test_whichever_call_to_the_store_fails_the_results_are_the_same(
    cluster: GlobalStoreConfig,
    link: ClusterLink,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
    answer_lost: bool,
) -> None:
    let_looks_be_time(monkeypatch)
    for fails_at in itertools.count(1):
        rig = Rig(cluster, link)
        faults = rig.faults = Faults(fails_at, answer_lost=answer_lost)
        stage = run_through(rig, same_process=then == "the same process")
        try:
            check_the_run(rig, stage)
        except AssertionError as error:
            raise AssertionError(f"after a fault at call {fails_at}") from error
        die(stage)
        if not faults.met:
            break
    assert fails_at > 15


def run_through(rig: Rig, *, same_process: bool) -> GlobalReducerStage:
    """Send the run in two parts; a call fails: go on with the stage, or with a successor."""
    stage = rig.stage()
    for sent in (RUN[:4], RUN[4:]):
        rig.send(*sent)
        # Until the batches are gone from the inboxes, and whoever acts then has come round once more. (Not so
        # many steps: the next checkpoint is later the longer the last one took, and a successor of the last
        # step has counted nothing.)
        came_round = False
        while rig.left() or not came_round:
            try:
                stage.step()
                # The copy for the disk may have failed: it is tried again after some seconds.
                came_round = not rig.left() and stage.state.startswith("running")
            except StoreUnavailable:
                came_round = False
                if not same_process:
                    die(stage)
                    stage = rig.stage()
    return stage


def test_a_successor_loads_the_checkpoint_and_applies_what_came_after_it(rig: Rig) -> None:
    rig.send(*RUN[:3])
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 2, "b": 1})
    stage.close()
    rig.send(*RUN[3:])
    successor = rig.stage()
    steps(successor, lambda: rig.applied() == {"a": 4, "b": 3})
    check_the_run(rig, successor)
    assert successor.counters["batches"] == 4  # no more than what was new
    successor.close()


@pytest.mark.parametrize("kept", [False, True], ids=["no checkpoint", "an old checkpoint"])
def test_no_result_is_gone_or_goes_back_while_somebody_follows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    with monkeypatch.context() as patch:
        # It dies after it has published, and before it has written what it published down.
        if kept:
            rig.send(*RUN[:2])
            stage = rig.stage()
            steps(stage, lambda: rig.applied() == {"a": 2})
            stage.close()
        patch.setattr(GlobalReducerStage, "_checkpoint", lambda _self, **_more: None)
        rig.send(*RUN[2:] if kept else RUN)
        stage = rig.stage()
        steps(stage, lambda: (found := rig.results().get("shots")) and found.value == 8)
        die(stage)
    seen: list[float | None] = []

    def publish_and_look(publisher: Publisher, results: list[Result]) -> None:
        publish(publisher, results)
        found = rig.results().get("shots")
        seen.append(None if found is None else found.value)

    publish = Publisher.publish
    monkeypatch.setattr(Publisher, "publish", publish_and_look)
    successor = rig.stage()
    steps(successor, lambda: seen and not rig.left())
    check_the_run(rig, successor)
    assert set(seen) == {8}
    successor.close()


def test_a_stand_by_waits_until_the_leader_is_gone_and_goes_on_with_its_state(rig: Rig) -> None:
    leader, stand_by = rig.stage(), rig.stage(1)
    rig.send(*RUN[:3])
    steps(leader, lambda: rig.applied() == {"a": 2, "b": 1})
    stand_by.step()
    assert stand_by.state == "waiting: another global reducer has the lease"
    leader.close()
    rig.send(*RUN[3:])
    steps(stand_by, lambda: stand_by.counters["batches"] == 4)
    assert stand_by.state == "running"
    stand_by.close()


def test_who_lost_the_lease_writes_nothing_more_and_begins_again_from_the_checkpoint(rig: Rig) -> None:
    stage = rig.stage()
    rig.send(*RUN[:2])
    steps(stage, lambda: rig.applied().get("a") == 2)
    usurper = rig.store.lease(keys.LEASE, 60, place="elsewhere")
    rig.link.one(keys.full(rig.store.prefix, keys.LEASE, tagged=True), "DEL", repeat=True)
    assert usurper.acquire()
    before = rig.results()
    rig.send(*RUN[2:])
    for _ in range(3):
        stage.step()
    assert stage.state != "running"
    assert {n: r.published_ns for n, r in rig.results().items()} == {
        n: r.published_ns for n, r in before.items()
    }
    assert rig.left() >= 5
    usurper.release()
    steps(stage, lambda: rig.applied() == {"a": 4, "b": 3})
    check_the_run(rig, stage)
    stage.close()


def test_a_lease_that_ran_out_is_taken_again_and_nothing_is_loaded_as_nobody_else_had_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a machine that stands still, and a state that takes longer to load than the lease lasts."""
    caplog.set_level("INFO")
    stage = rig.stage()
    for number, one in enumerate(RUN, start=1):
        rig.send(one)
        rig.link.one(keys.full(rig.store.prefix, keys.LEASE, tagged=True), "DEL", repeat=True)
        steps(stage, lambda number=number: sum(rig.applied().values()) == number)  # type: ignore[misc]
    check_the_run(rig, stage)
    assert stage.counters["batches"] == len(RUN)
    assert caplog.text.count("leading; applied so far") == 1
    assert caplog.text.count("is not ours any more") + caplog.text.count("lease") > len(RUN) // 2
    stage.close()


def test_far_behind_only_some_intervals_are_published_and_the_rest_counted_as_conflated(rig: Rig) -> None:
    rig.send(*[batch(interval, [interval], node="a") for interval in range(1, 61)])
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 60})
    found = rig.results()
    assert (found["shots"].value, found["total"].value, found["now"].value) == (60, 1830, 60)
    published = len(rig.store.history(keys.RESULTS, 1000))
    assert published + stage.counters["conflated"] == 60
    assert published < 30
    stage.close()


def test_a_result_that_the_graph_no_longer_has_is_removed_with_its_history(rig: Rig) -> None:
    rig.send(batch(1, [1], node="a"))
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 1})
    assert set(rig.results()) == {"shots", "total", "now"}
    shorter = graph_of("results: {shots: count(x)}").at_version(2)
    rig.graph(shorter)
    rig.send(batch(2, [], node="a", graph_version=2))
    steps(stage, lambda: rig.applied() == {"a": 2})
    assert set(rig.results()) == {"shots"}
    assert read_history(rig.store, "total", 10) == []
    assert [record["value"] for record in read_history(rig.store, "shots", 10)] == [1, 1]
    assert set(rig.store[keys.CATALOGUE]) == {"shots"}  # type: ignore[arg-type]
    assert rig.results()["shots"].value == 1
    stage.close()


def test_a_batch_that_cannot_be_read_is_passed_over_with_a_word_and_stops_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.send(*[batch(interval, [interval], node="a") for interval in (1, 2, 3)])
    key = keys.full(rig.store.prefix, keys.payload(keys.inbox("a"), 2), tagged=True)
    rig.link.one(key, "SET", b"\x80\x05 not ours", repeat=True)
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 3})
    assert rig.results()["total"].value == 4
    assert "inbox:a" in caplog.text
    steps(stage, lambda: rig.left() == 0)
    stage.close()


@pytest.mark.parametrize("old", [{"format": 1, "applied": {}}, Totals()], ids=["a dict", "another message"])
def test_a_checkpoint_of_another_version_is_refused_with_what_to_do_and_stays(rig: Rig, old: object) -> None:
    rig.store.put(keys.CHECKPOINT, old)
    rig.send(batch(1, [1], node="a"))
    stage = rig.stage()
    with pytest.raises(ConfigError, match="there is a .* where a Checkpoint should be.*or delete the key"):
        stage.step()
    assert rig.store[keys.CHECKPOINT] == old
    assert rig.left() == 1
    stage.close()


def test_a_batch_of_another_version_is_passed_over_with_a_word(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.send(batch(1, [1], node="a"))
    rig.store.journal(keys.inbox("a")).append(2, {"node": "a", "partial": None})
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 2})
    assert "there is a dict where a Batch should be" in caplog.text
    assert rig.results()["total"].value == 1
    stage.close()


def test_without_a_node_it_waits(rig: Rig) -> None:
    stage = rig.stage()
    stage.step()
    stage.step()
    assert stage.state == "running"
    assert rig.results() == {}
    stage.close()


def test_a_value_that_cannot_be_stored_costs_its_own_result_only(rig: Rig) -> None:
    lease = rig.store.lease(keys.LEASE, 10, place="here")
    assert lease.acquire()
    Publisher(rig.store, lease).publish([made("odd", object()), made("fine", 3)])
    odd, fine = read_results(rig.store, ["odd", "fine"]).values()
    assert (odd.value, fine.value, odd.events) == (None, 3, fine.events)
    assert "cannot be stored" in str(odd.error)
