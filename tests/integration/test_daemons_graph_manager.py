"""The graph manager on a real cluster: each request is answered, and applied once, whatever happens."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ami.config import Config, GlobalStoreConfig, ManagerConfig, SecurityConfig, WorkerConfig
from ami.daemons.manager import checking, graph_manager, intake
from ami.daemons.manager.graph_manager import GraphManagerStage
from ami.errors import StoreUnavailable
from ami.event import Field, Schema
from ami.graph.graph import Graph
from ami.graph.language import edits
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import graph_of, parse, restore, write
from ami.graph.library import LIBRARY
from ami.security import sign
from ami.stores import keys
from ami.stores.client import ClusterLink
from ami.stores.opened import Stores
from tests.daemons_rig import SCHEMA, SHORT, Faults, FaultyLink, config, setup, steps

pytestmark = pytest.mark.integration

clusters = (f"managed{number}" for number in itertools.count())
ids = (f"request-{number}" for number in itertools.count())
SHOTS = "results: {shots: count(x)}"
CODE = """
functions:
  twice: |
    def twice(x):
        {body}
results:
  doubled: sum_events(twice(x))
"""


class Rig:
    """A cluster whose name no other test has, with a source that told its fields, and clients."""

    def __init__(self, cluster: GlobalStoreConfig, link: ClusterLink, **parts: Any) -> None:
        self.name = next(clusters)
        self.config: Config = config("/ami-not-there", cluster=cluster, cluster_name=self.name, **parts)
        self.link = link
        self.faults = Faults()
        self.waits = SHORT
        stores = Stores(self.config, cluster=link)
        self.store, self.source = stores.cluster("graph-manager"), stores.cluster("source")
        self.source[keys.SCHEMA] = SCHEMA.to_json()

    def stage(self, number: int = 0) -> GraphManagerStage:
        link = FaultyLink(self.link, self.faults)
        return GraphManagerStage(setup(self.config, cluster=link, number=number, waits=self.waits))

    def put(self, action: str, client: str = "anna", **fields: Any) -> str:
        one = {"id": next(ids), "client": client, "action": action, **fields}
        self.store.queue(keys.REQUESTS).put(one)
        return str(one["id"])

    def waiting(self) -> int:
        """Return how many requests nobody has answered, taken ones included."""
        taken = keys.full(self.store.prefix, keys.taken(keys.REQUESTS), tagged=True)
        queue = self.store.queue(keys.REQUESTS)
        return len(queue) + int(self.link.one(taken, "LLEN", repeat=True))

    def answer(self, one: str) -> dict[str, Any] | None:
        item = self.store.queue(keys.reply(one)).take(0)
        return None if item is None else item.value

    def ask(
        self, stage: GraphManagerStage, action: str, client: str = "anna", **fields: Any
    ) -> dict[str, Any]:
        one = self.put(action, client, **fields)
        found: list[dict[str, Any]] = []

        def answered() -> bool:
            answer = self.answer(one)
            if answer is not None:
                found.append(answer)
            return bool(found)

        steps(stage, answered)
        assert found[0]["id"] == one
        return found[0]

    def graph(self) -> Graph:
        current = self.store.get(keys.CURRENT)
        if current is None:
            return Graph()
        graph = Graph.from_plain(self.store[keys.graph(current["version"])])  # type: ignore[index]
        assert (graph.version, graph.hash) == (current["version"], current["hash"])  # type: ignore[index]
        return graph


@pytest.fixture
def make(cluster: GlobalStoreConfig, link: ClusterLink) -> Callable[..., Rig]:
    return lambda **parts: Rig(cluster, link, **parts)


@pytest.fixture
def rig(make: Callable[..., Rig]) -> Rig:
    return make()


@pytest.fixture
def manager(rig: Rig) -> Iterator[GraphManagerStage]:
    stage = rig.stage()
    yield stage
    stage.close()


def test_who_asks_for_what_the_source_left_out_is_told_why(rig: Rig, manager: GraphManagerStage) -> None:
    reason = "a part of it is in part1.h5, which is not there"
    rig.source[keys.SCHEMA] = replace(SCHEMA, left_out={"lost": reason}).to_json(left_out=True)
    answer = rig.ask(manager, "add", text="results: {n: count(lost)}")
    assert not answer["accepted"]
    assert f"'lost' of the source is left out: {reason}" in answer["reason"]


@pytest.mark.parametrize("code", ["", CODE.format(body="return 2 * x")])
def test_who_asks_for_more_than_an_image_has_is_told_once(
    rig: Rig, manager: GraphManagerStage, code: str
) -> None:
    answer = rig.ask(manager, "add", text=f"values: {{part: 'sum(roi(image, rows=1:5))'}}\n{code}")
    beyond = (
        "'part', in roi(image, rows=1:5): the region goes beyond the value's shape (2, 3); it is cut there"
    )
    assert (answer["accepted"], answer["warnings"]) == (True, [beyond])
    assert rig.ask(manager, "add", text=SHOTS)["warnings"] == []


def test_an_accepted_edit_is_published_numbered_told_and_answered(
    rig: Rig, manager: GraphManagerStage
) -> None:
    answer = rig.ask(manager, "add", text=SHOTS)
    graph = rig.graph()
    assert answer == {
        "id": answer["id"], "accepted": True, "version": 1, "hash": graph.hash, "reason": None,
        "warnings": [], "changes": {"added": ["shots"], "published": ["shots"]},
    }  # fmt: skip
    assert graph.results == ("shots",)
    assert graph["shots"].owners == ("anna",)
    assert [value for _, value in rig.store.history(keys.VERSIONS, 10)] == [1]
    (entry,) = rig.store[keys.STATE]["history"]  # type: ignore[index]
    told = {name: entry[name] for name in ("version", "client", "action", "hash", "operations", "summary")}
    assert told == {
        "version": 1, "client": "anna", "action": "add", "hash": graph.hash, "operations": 1,
        "summary": "+shots",
    }  # fmt: skip
    assert manager.state == "running"
    assert manager.counters == {"version": 1, "operations": 1, "requests": 1, "denied": 0}
    assert len(rig.store.queue(keys.REQUESTS)) == 0


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("add", {"text": "results: {more: sum_events(x)}", "publish": True}),
        ("add", {"text": CODE.format(body="return 2 * x")}),
        ("replace", {"text": "results: {shots: sum_events(x)}"}),
        ("set", {"text": "results: {total: sum_events(x)}"}),
        ("remove", {"names": ["shots"]}),
        ("undo", {}),
        ("reset", {"names": ["shots"]}),
        ("rollback", {"version": 0}),
        ("add", {"text": "results: {a: count(laser)}"}),
    ],
)
def test_a_dry_run_says_what_would_come_of_an_edit_beside_others_and_changes_nothing(
    rig: Rig, manager: GraphManagerStage, action: str, fields: dict[str, Any]
) -> None:
    rig.ask(manager, "add", text=SHOTS)
    before = rig.graph()
    asked = [rig.put(action, dry_run=True, **fields), rig.put("remove-mine", "bert", dry_run=True)]
    told: dict[str, dict[str, Any]] = {}

    def answered() -> bool:
        told.update({one: found for one in asked if one not in told and (found := rig.answer(one))})
        return len(told) == len(asked)

    steps(manager, answered)
    assert rig.graph() == before
    assert len(rig.store[keys.STATE]["history"]) == 1  # type: ignore[arg-type,index]
    done = rig.ask(manager, action, **fields)
    dry = told[asked[0]]
    assert (dry["version"], dry["hash"]) == (1, before.hash)
    same = ("accepted", "reason", "warnings", "changes")
    assert {name: dry[name] for name in same} == {name: done[name] for name in same}


@pytest.mark.parametrize(
    ("action", "fields", "reason"),
    [
        ("add", {"text": "results: {a: count(laser)}"}, "'laser'"),
        ("add", {"text": "results: {a: sum_events(x)"}, "line 1"),
        ("add", {"text": "results: {a: sum(image)}"}, "there for each event"),
        ("add", {"text": "results: {shots: sum_events(x)}"}, "belongs to anna"),
        ("add", {"text": CODE.format(body="return y")}, "'y'"),
        ("add", {"text": SHOTS, "expected_version": 0}, "you edited version 0"),
        ("add", {"text": SHOTS, "deadline_ns": 1}, "nobody waits"),
        ("rollback", {"version": 7}, "between 0 and 1"),
        ("remove", {"names": ["gone"]}, "gone"),
        ("conquer", {}, "unknown action"),
        ("add", {}, "needs 'text'"),
    ],
)
def test_an_edit_that_cannot_be_is_denied_with_the_reason_and_changes_nothing(
    rig: Rig, manager: GraphManagerStage, action: str, fields: dict[str, Any], reason: str
) -> None:
    rig.ask(manager, "add", text=SHOTS)
    before = rig.graph()
    answer = rig.ask(manager, action, "bert", **fields)
    assert not answer["accepted"]
    assert reason in answer["reason"]
    assert (answer["version"], answer["hash"]) == (1, before.hash)
    assert rig.graph() == before
    assert manager.counters["denied"] == 1
    assert rig.ask(manager, "add", text="results: {total: sum_events(x)}")["version"] == 2


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("import os; os._exit(7)", "exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "PermissionError"),
        ("while True: pass", "runs for more than"),
    ],
    ids=["exits", "kills", "hangs"],
)
def test_user_code_that_kills_or_hangs_who_runs_it_is_denied_and_the_manager_lives(
    rig: Rig, body: str, how: str
) -> None:
    rig.waits = replace(SHORT, check_s=1.0)
    manager = rig.stage()
    answer = rig.ask(manager, "add", text=CODE.format(body=body))
    assert not answer["accepted"]
    assert how in answer["reason"]
    assert rig.ask(manager, "add", text=CODE.format(body="return 2 * x"))["accepted"]
    manager.close()


@pytest.mark.parametrize("harm", [lambda: os._exit(4), lambda: time.sleep(60)], ids=["ends", "hangs"])
def test_an_operation_of_a_package_that_ends_or_hangs_who_checks_it_is_denied(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, harm: Callable[[], None]
) -> None:
    rig.waits = replace(SHORT, check_s=1.0)
    stage = rig.stage()
    monkeypatch.setattr(LIBRARY, "is_ours", lambda kind: kind != "count")
    monkeypatch.setattr(LIBRARY["count"], "infer", lambda *_: harm())
    answer = rig.ask(stage, "add", text=SHOTS)
    assert not answer["accepted"]
    assert answer["reason"].startswith("to check 'shots' ")
    assert rig.ask(stage, "add", text="results: {n: sum_events(x)}")["accepted"]
    stage.close()


@pytest.mark.parametrize("place", ["lower", "check", "write"])
@pytest.mark.parametrize(
    "fault", [SystemExit(0), SystemExit("bye"), RuntimeError("theirs"), RecursionError()], ids=repr
)
def test_a_request_whose_look_fails_is_denied_and_the_next_is_taken(
    rig: Rig, manager: GraphManagerStage, monkeypatch: pytest.MonkeyPatch, place: str, fault: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise fault

    assert rig.ask(manager, "add", text="results: {m: count(x)}")["accepted"]
    with monkeypatch.context() as patch:
        patch.setattr(checking if place == "check" else graph_manager, place, fail)
        answer = rig.ask(manager, "add", text="results: {n: count(x)}")
    assert not answer["accepted"]
    assert repr(fault) in answer["reason"]
    assert rig.ask(manager, "add", text="results: {n: count(x)}")["accepted"]
    assert rig.graph().version == 2


def test_a_request_that_is_put_twice_is_answered_twice_and_applied_once(
    rig: Rig, manager: GraphManagerStage
) -> None:
    text = "results: {total: sum_events(x)}"
    one = {"id": next(ids), "client": "anna", "action": "add", "text": text, "expected_version": 0}
    for _ in range(2):
        rig.store.queue(keys.REQUESTS).put(one)
    steps(manager, lambda: manager.counters["requests"] == 2)
    first, second = rig.answer(one["id"]), rig.answer(one["id"])  # type: ignore[arg-type]
    assert first is not None
    assert first["accepted"]
    assert first == second
    assert rig.graph().version == 1


@pytest.mark.parametrize("then", ["a successor", "the same process"])
@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer lost"])
def test_whichever_call_fails_the_edits_of_many_are_applied_once_and_answered(
    make: Callable[..., Rig], then: str, answer_lost: bool
) -> None:
    for fails_at in itertools.count(1):
        rig = make()
        faults = rig.faults = Faults(fails_at, answer_lost=answer_lost)
        asked = [rig.put("add", f"client{n}", text=f"results: {{n{n}: count(x + {n})}}") for n in range(4)]
        asked.append(rig.put("remove", "client4", names=["nothing"]))
        asked.append(rig.put("remove", "client0", names=["n0"]))
        run_through(rig, same_process=then == "the same process")
        answers = [rig.answer(one) for one in asked]
        told = [bool(answer and answer["accepted"]) for answer in answers]
        assert told == [True] * 4 + [False, True], f"after a fault at call {fails_at}"
        assert sorted(rig.graph().results) == ["n1", "n2", "n3"]
        history = rig.store[keys.STATE]["history"]  # type: ignore[index]
        versions = [entry["version"] for entry in history]
        assert [entry["summary"] for entry in history] == ["+n0", "+n1", "+n2", "+n3", "-n0"]
        assert versions == sorted(versions)
        assert [a["version"] for a in answers if a and a["accepted"]] == versions
        if not faults.met:
            break
    assert fails_at > 10


@pytest.mark.parametrize("then", ["a successor", "the same process"])
@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer lost"])
def test_whichever_call_to_the_store_fails_each_edit_is_applied_once_and_answered(
    make: Callable[..., Rig],
    then: str,
    answer_lost: bool,
) -> None:
    for fails_at in itertools.count(1):
        rig = make()
        faults = rig.faults = Faults(fails_at, answer_lost=answer_lost)
        asked = [rig.put("add", text=SHOTS), rig.put("add", text="results: {total: sum_events(x)}")]
        asked.append(rig.put("remove", names=["shots"]))
        run_through(rig, same_process=then == "the same process")
        answers = [rig.answer(one) for one in asked]
        told = [answer and (answer["accepted"], answer["version"]) for answer in answers]
        assert told == [(True, 1), (True, 2), (True, 3)], f"after a fault at call {fails_at}"
        assert rig.graph().results == ("total",)
        assert [entry["version"] for entry in rig.store[keys.STATE]["history"]] == [1, 2, 3]  # type: ignore[index]
        if not faults.met:
            break
    assert fails_at > 10


def run_through(rig: Rig, *, same_process: bool) -> None:
    """Step until nothing waits. A call fails: go on with the stage, or with a successor."""
    stage = rig.stage()
    came_round = False
    while not came_round:
        try:
            stage.step()
            # Whoever leads has put back what its predecessor had taken, and then found nothing.
            came_round = stage.state == "running" and not rig.waiting()
        except StoreUnavailable:
            if not same_process:
                stage = rig.stage()


def test_a_successor_goes_on_with_the_graph_and_with_what_its_predecessor_had_taken(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rig.stage()
    rig.ask(first, "add", text=SHOTS)
    one = rig.put("add", text="results: {total: sum_events(x)}")
    assert rig.store.queue(keys.REQUESTS).take(0) is not None  # taken, and then it died
    successor = rig.stage()
    steps(successor, lambda: successor.counters["version"] == 2)
    answer = rig.answer(one)
    assert answer is not None
    assert answer["accepted"]
    successor.close()


def lose_the_lease(rig: Rig, link: ClusterLink) -> Any:
    link.one(keys.full(rig.store.prefix, keys.LEASE, tagged=True), "DEL", repeat=True)
    other = rig.store.lease(keys.LEASE, 60, place="elsewhere")
    assert other.acquire()
    return other


def test_a_manager_that_lost_its_lease_publishes_nothing_and_leaves_the_request_to_the_other(
    rig: Rig, manager: GraphManagerStage, link: ClusterLink
) -> None:
    rig.ask(manager, "add", text=SHOTS)
    other = lose_the_lease(rig, link)
    one = rig.put("add", text="results: {total: sum_events(x)}")
    for _ in range(5):
        manager.step()
    assert rig.graph().version == 1
    assert rig.answer(one) is None
    assert manager.state == "waiting: another manager has the lease"
    other.release()
    steps(manager, lambda: manager.counters["version"] == 2)
    answer = rig.answer(one)
    assert answer is not None
    assert answer["accepted"]


def test_a_stand_by_waits_and_takes_over(rig: Rig, manager: GraphManagerStage) -> None:
    rig.ask(manager, "add", text=SHOTS)
    config = rig.config
    rig.config = replace(config, node=replace(config.node, host="there"))
    stand_by = rig.stage()
    stand_by.step()
    assert stand_by.state == "waiting: another manager has the lease"
    manager._leadership.lease.release()
    manager._leadership.lose()
    assert rig.ask(stand_by, "undo")["version"] == 2
    assert rig.graph().operations == ()
    stand_by.close()


def test_a_graph_that_somebody_else_published_meanwhile_is_not_overwritten(
    rig: Rig, manager: GraphManagerStage
) -> None:
    rig.ask(manager, "add", text=SHOTS)
    foreign = graph_of("results: {total: sum_events(x)}").at_version(2)
    rig.store.update({keys.graph(2): foreign.to_plain(), keys.CURRENT: {"version": 2, "hash": foreign.hash}})
    one = rig.put("remove", names=["shots"])
    answer: dict[str, Any] | None = None
    for _ in range(50):
        manager.step()
        answer = answer or rig.answer(one)
    assert rig.graph() == foreign
    assert answer is not None  # looked again, and found that there is no such thing now
    assert not answer["accepted"]


def test_undo_rollback_reset_and_remove_mine_go_through_the_store(
    rig: Rig, manager: GraphManagerStage
) -> None:
    rig.ask(manager, "set", text="results: {shots: count(x), total: sum_events(x)}")
    rig.ask(manager, "add", "bert", text="results: {total: sum_events(x), level: mean_events(x)}")
    assert rig.ask(manager, "remove-mine")["accepted"]
    assert set(rig.graph().results) == {"total", "level"}
    assert rig.ask(manager, "undo")["accepted"]
    assert set(rig.graph().results) == {"shots", "total", "level"}
    before = rig.graph().fingerprint("total")
    denied = rig.ask(manager, "reset", names=["total"])
    assert "bert would begin anew with total" in denied["reason"]
    assert rig.ask(manager, "reset", names=["total"], force=True)["changes"]["lost"] == {"bert": ["total"]}
    assert rig.graph().fingerprint("total") != before
    back = rig.ask(manager, "rollback", version=1, force=True)
    assert (back["version"], back["changes"]["lost"]) == (6, {"bert": ["level", "total"]})
    assert set(rig.graph().results) == {"shots", "total"}
    undone = rig.ask(manager, "undo")
    back = {"version": 6, "action": "rollback", "summary": "-level"}
    assert (undone["version"], undone["changes"]["takes_back"]) == (7, back)
    assert "level" in rig.graph().results
    assert [entry.get("takes_back") for entry in rig.store[keys.STATE]["history"]][-4:] == [3, None, None, 6]  # type: ignore[index]


def test_what_changes_nothing_is_answered_and_is_no_version_but_for_other_lanes(
    rig: Rig, manager: GraphManagerStage
) -> None:
    text = "results: {mean: mean_events(image)}"
    first = rig.ask(manager, "set", text=text)
    for stage in (manager, rig.stage()):
        manager._leadership.release()
        again = rig.ask(stage, "set", text=text)
        assert (again["accepted"], again["changes"]) == (True, {})
        assert (again["version"], again["hash"]) == (first["version"], first["hash"])
        assert again["warnings"] == first["warnings"]
        stage._leadership.release()
    # Another source has larger images, which go another way.
    fields = (replace(f, shape=(300, 300)) if f.name == "image" else f for f in SCHEMA.fields)
    rig.source[keys.SCHEMA] = Schema(tuple(fields)).to_json()
    assert rig.ask(manager, "set", text=text)["version"] == 2
    assert rig.graph().large


def test_what_people_wrote_lies_beside_what_runs_to_the_letter(rig: Rig, manager: GraphManagerStage) -> None:
    rig.ask(manager, "add", text="results: {level: 'mean_events( x-3 )'}")
    rig.ask(manager, "add", "bert", text="results: {level: mean_events(x - 3), shots: count(x)}")
    document = restore(str(rig.store[keys.document(2)]), rig.store[keys.graph(2)])
    assert (document["level"].text, document["level"].owners) == ("mean_events( x-3 )", ("anna", "bert"))
    assert lower(document) == rig.graph()


def test_a_graph_without_its_text_runs_on_and_only_a_new_one_takes_its_place(rig: Rig) -> None:
    """As an earlier version of ami left it."""
    old = graph_of(SHOTS).at_version(7)
    rig.store.update({keys.graph(7): old.to_plain(), keys.CURRENT: {"version": 7, "hash": old.hash}})
    stage = rig.stage()
    denied = rig.ask(stage, "add", text="results: {total: sum_events(x)}")
    assert "version 7 is not kept any more, or not as people wrote it" in denied["reason"]
    assert (denied["version"], denied["hash"]) == (7, old.hash)
    assert rig.graph() == old
    assert rig.ask(stage, "set", text="results: {total: sum_events(x)}")["version"] == 8
    assert rig.ask(stage, "add", text=SHOTS)["version"] == 9
    assert "not kept any more" in rig.ask(stage, "rollback", version=7)["reason"]
    stage.close()


def test_a_graph_of_a_package_that_is_gone_can_be_edited(rig: Rig) -> None:
    document = edits.add(
        Document(version=3), parse("results: {sharp: mean_events(sum(image)), shots: count(x)}"), "anna"
    )
    focus = replace(lower(document)["sharp/1"], kind="sharpness")
    graph = lower(document)
    graph = replace(graph, operations=tuple(focus if o.name == "sharp/1" else o for o in graph.operations))
    text = write(document).replace("sum(image)", "sharpness(image)")
    current = {"version": 3, "hash": graph.hash}
    rig.store.update({keys.graph(3): graph.to_plain(), keys.document(3): text, keys.CURRENT: current})
    stage = rig.stage()
    assert rig.ask(stage, "add", "bert", text="results: {total: sum_events(x)}")["accepted"]
    assert rig.graph()["sharp/1"] == focus
    assert "no operation 'sharpness'" in rig.ask(stage, "set", text=text)["reason"]
    assert rig.ask(stage, "remove", names=["sharp"])["accepted"]
    assert "'sharpness' is not installed here" in rig.ask(stage, "undo")["reason"]
    assert set(rig.graph().results) == {"shots", "total"}
    stage.close()


def test_versions_that_are_too_old_are_forgotten_and_cannot_be_gone_back_to(make: Callable[..., Rig]) -> None:
    rig = make(manager=ManagerConfig(keep_versions=2))
    stage = rig.stage()
    for number in range(4):
        rig.ask(stage, "add", text=f"results: {{n{number}: count(x + {number})}}")
    for key in (keys.graph, keys.document):
        assert [version for version in range(1, 5) if key(version) in rig.store] == [3, 4]
    answer = rig.ask(stage, "rollback", version=1)
    assert "version 1 is not kept any more" in answer["reason"]
    stage.close()


def test_without_a_source_edits_are_denied_until_it_tells_its_fields(
    rig: Rig, manager: GraphManagerStage
) -> None:
    del rig.source[keys.SCHEMA]
    assert "no source has told its fields yet" in rig.ask(manager, "add", text=SHOTS)["reason"]
    rig.source[keys.SCHEMA] = SCHEMA.to_json()
    assert rig.ask(manager, "add", text=SHOTS)["accepted"]


def test_a_schema_that_is_none_is_a_reason_and_no_bug(rig: Rig, manager: GraphManagerStage) -> None:
    rig.source[keys.SCHEMA] = "{broken"
    assert "not the text of a schema" in rig.ask(manager, "add", text=SHOTS)["reason"]


def test_where_user_code_must_be_signed_unsigned_code_is_denied(
    make: Callable[..., Rig], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sixteen bytes, at the least")
    security = SecurityConfig(secret_file=str(secret), user_code="signed")
    rig = make(security=security)
    stage = rig.stage()
    text = CODE.format(body="return 2 * x")
    assert "not signed" in rig.ask(stage, "add", text=text)["reason"]
    assert rig.ask(stage, "add", text=SHOTS)["accepted"]  # no code in it
    signed = sign({"id": next(ids), "client": "anna", "action": "add", "text": text}, security)
    rig.store.queue(keys.REQUESTS).put(signed)
    steps(stage, lambda: stage.counters["version"] == 2)
    assert rig.answer(signed["id"])["accepted"]  # type: ignore[index]
    tampered = {**signed, "id": next(ids)}
    rig.store.queue(keys.REQUESTS).put(
        {**tampered, "text": CODE.format(body="return 3 * x"), "action": "replace"}
    )
    steps(stage, lambda: stage.counters["denied"] == 2)
    assert "another secret" in rig.answer(tampered["id"])["reason"]  # type: ignore[index]
    stage.close()


def test_where_user_code_is_refused_none_is_run(make: Callable[..., Rig]) -> None:
    rig = make(security=SecurityConfig(user_code="refused"))
    stage = rig.stage()
    answer = rig.ask(stage, "add", text=CODE.format(body="return 2 * x"))
    assert "user_code is 'refused'" in answer["reason"]
    assert rig.ask(stage, "add", text=SHOTS)["accepted"]
    stage.close()


@pytest.mark.parametrize(("memory_bytes", "possible"), [(512 << 20, 5), (4 << 30, 7)])
def test_states_that_a_worker_has_no_memory_for_are_refused(
    make: Callable[..., Rig], memory_bytes: int, possible: int
) -> None:
    rig = make(worker=WorkerConfig(memory_bytes=memory_bytes))
    stage = rig.stage()
    square = "histogram2d(x + {}, x, x_bins=2000, y_bins=2000, x_low=0, x_high=9, y_low=0, y_high=9)"
    for count in range(1, 8):  # of 31 MiB
        name = f"h{count}"
        answer = rig.ask(stage, "add", text=f"results: {{{name}: '{square.format(count)}'}}")
        assert answer["accepted"] == (count <= possible)
        assert answer["accepted"] or "a third of worker.memory_bytes" in answer["reason"]
    stage.close()


@pytest.mark.parametrize(
    "plain",
    [
        None,
        5,
        "text",
        [],
        {},
        {"id": 5},
        {"id": "\ud800", "client": "a", "action": "add"},
        {"id": "x" * 10_000},
    ],
    ids=str,
)
def test_what_is_no_request_is_passed_over(rig: Rig, manager: GraphManagerStage, plain: Any) -> None:
    rig.store.queue(keys.REQUESTS).put(plain)
    assert rig.ask(manager, "add", text=SHOTS)["accepted"]


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"{", b"[]", b'{"id": 1, "value": 2}', b"[" * 5000])
def test_bytes_that_are_no_item_are_passed_over(
    rig: Rig, manager: GraphManagerStage, link: ClusterLink, raw: bytes
) -> None:
    link.one(keys.full(rig.store.prefix, keys.REQUESTS, tagged=True), "RPUSH", raw, repeat=False)
    assert rig.ask(manager, "add", text=SHOTS)["accepted"]


def test_a_thousand_that_are_none_are_passed_over_in_a_few_steps(
    rig: Rig, manager: GraphManagerStage, link: ClusterLink
) -> None:
    steps(manager, lambda: manager.counters["requests"] == 0, most=1)
    queue = keys.full(rig.store.prefix, keys.REQUESTS, tagged=True)
    some = [b"\xff", b"5", b'{"id": "a", "value": {"id": "x", "client": 3}}', b"x" * 5000]
    for _ in range(20):
        link.one(queue, "RPUSH", *some * 25, repeat=False)
    one = rig.put("add", text=SHOTS)
    steps(manager, lambda: rig.answer(one), most=12)
    assert rig.waiting() == 0


class Died(BaseException):
    """What nobody catches: the end of the process, as far as a test can have one."""


def kill(*_: object, **__: object) -> None:
    raise Died


def let_one_die(rig: Rig, patch: pytest.MonkeyPatch) -> None:
    """Let a manager end while it looks at a request."""
    with patch.context() as within:
        within.setattr(graph_manager.requests, "apply", kill)
        stage = rig.stage()
        with pytest.raises(Died):
            steps(stage, lambda: False)
        stage._leadership.release()


def test_a_request_of_which_a_manager_dies_is_refused_when_it_is_taken_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, after = rig.put("add", text=SHOTS), rig.put("add", text="results: {n: sum_events(x)}")
    let_one_die(rig, monkeypatch)
    apply = graph_manager.requests.apply

    def die_of_it(request: Any, *rest: Any) -> Any:
        if request.id == poisoned:
            os._exit(3)
        return apply(request, *rest)

    monkeypatch.setattr(graph_manager.requests, "apply", die_of_it)
    stage = rig.stage()
    steps(stage, lambda: rig.waiting() == 0)
    reason = rig.answer(poisoned)["reason"]  # type: ignore[index]
    assert "ended while it looked at this, and to look again ends the process with exit code 3" in reason
    assert rig.answer(after)["accepted"]  # type: ignore[index]
    assert rig.graph().results == ("n",)
    stage.close()


def test_a_request_in_the_hands_of_a_manager_that_somebody_killed_is_carried_out_by_the_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rig.put("add", text=SHOTS)
    let_one_die(rig, monkeypatch)
    stage = rig.stage()
    steps(stage, lambda: rig.waiting() == 0)
    assert rig.answer(one)["accepted"]  # type: ignore[index]
    assert rig.graph().results == ("shots",)
    stage.close()


def test_a_request_of_which_two_managers_died_is_looked_at_by_none(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rig.put("add", text=SHOTS)
    let_one_die(rig, monkeypatch)
    monkeypatch.setattr(GraphManagerStage, "_try_apart", lambda *_: {})
    let_one_die(rig, monkeypatch)
    monkeypatch.undo()
    monkeypatch.setattr(graph_manager.requests, "apply", kill)
    stage = rig.stage()
    steps(stage, lambda: rig.waiting() == 0)
    assert "more than one graph manager ended" in rig.answer(one)["reason"]  # type: ignore[index]
    stage.close()


def children() -> set[str]:
    """Return the processes of which this one is the parent, whichever thread began them."""
    found = Path("/proc/self/task").glob("*/children")
    return {pid for path in found for pid in path.read_text().split()}


def put_of_many(rig: Rig, count: int) -> list[str]:
    return [rig.put("add", f"client{n}", text=f"results: {{n{n}: count(x + {n})}}") for n in range(count)]


@pytest.mark.parametrize("bad", [(), (0,), (7, 8, 19), tuple(range(20))], ids=str)
def test_what_many_ask_for_at_once_is_one_version_or_a_few_and_who_is_wrong_is_denied_alone(
    rig: Rig, manager: GraphManagerStage, bad: tuple[int, ...]
) -> None:
    manager.step()
    asked = put_of_many(rig, 20)
    text = "results: {{b{0}: 'sum(image)', c{0}: count(there_is_none)}}"
    wrong = [rig.put("add", f"bad{n}", text=text.format(n)) for n in bad]
    also = rig.put("add", "dora", text="results: {n3: count(x + 3), d: count(x)}")
    steps(manager, lambda: manager.counters["requests"] == len(asked + wrong) + 1)
    answers = [rig.answer(one) for one in (*asked, also)]
    assert all(answer["accepted"] for answer in answers)  # type: ignore[index]
    assert answers[-1]["changes"] == {"added": ["d"], "published": ["d"], "shared": ["n3"]}  # type: ignore[index]
    assert all("is_none" in rig.answer(one)["reason"] for one in wrong)  # type: ignore[index]
    assert sorted(rig.graph().results) == sorted([*(f"n{n}" for n in range(20)), "d"])
    assert rig.graph()["n3"].owners == ("client3", "dora")
    if not bad:
        assert rig.graph().version == 1
        assert {answer["version"] for answer in answers} == {1}  # type: ignore[index]
    assert rig.ask(manager, "undo", "client3")["changes"]["shared"] == ["n3"]
    assert sorted(rig.ask(manager, "undo", "dora")["changes"]["removed"]) == ["d", "n3"]
    assert len(rig.graph().results) == 19


def test_who_sends_many_waits_for_them_himself_and_who_sends_too_many_is_told(
    rig: Rig, manager: GraphManagerStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_OF_ONE", 30)
    manager.step()
    greedy = [rig.put("add", "greedy", text=f"results: {{g{n}: count(x + {n})}}") for n in range(40)]
    modest = rig.put("add", "modest", text=SHOTS)
    manager.step()
    assert rig.answer(modest)["version"] == 1  # type: ignore[index]
    steps(manager, lambda: rig.waiting() == 0)
    answers = [rig.answer(one) for one in greedy]
    assert [answer["version"] for answer in answers[:30]] == list(range(1, 31))  # type: ignore[index]
    assert all("too many requests of yours" in answer["reason"] for answer in answers[30:])  # type: ignore[index]


def test_while_somebodys_function_is_tried_others_edit_and_his_own_edits_wait_for_it(rig: Rig) -> None:
    rig.waits = replace(SHORT, check_s=1.0)
    stage = rig.stage()
    stage.step()
    slow = rig.put("add", text=CODE.format(body="while True: pass"))
    his_next = rig.put("add", text=SHOTS)
    steps(stage, lambda: stage._trials)
    other = rig.put("add", "bert", text="results: {n: count(x + 1)}")
    steps(stage, lambda: stage.counters["requests"] == 1)
    assert rig.answer(other)["accepted"]  # type: ignore[index]
    steps(stage, lambda: rig.waiting() == 0)
    assert "runs for more than" in rig.answer(slow)["reason"]  # type: ignore[index]
    assert rig.answer(his_next)["version"] == 2  # type: ignore[index]
    stage.close()


def test_who_ends_while_a_function_is_tried_leaves_no_child_and_the_request_to_the_next(rig: Rig) -> None:
    rig.waits = replace(SHORT, check_s=60.0)
    stage = rig.stage()
    before = children()
    one = rig.put("add", text=CODE.format(body="while True: pass"))
    steps(stage, lambda: children() != before)
    stage.close()
    assert children() == before
    rig.waits = replace(SHORT, check_s=1.0)
    successor = rig.stage()
    steps(successor, lambda: rig.waiting() == 0)
    assert "runs for more than" in rig.answer(one)["reason"]  # type: ignore[index]
    successor.close()


@pytest.mark.parametrize("deaths", [1, 2])
def test_among_many_in_hand_the_one_that_managers_end_of_is_found_and_all_others_are_carried_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    asked = put_of_many(rig, 12)
    poisoned = asked.pop(7)
    apply = graph_manager.requests.apply

    def die_of_it(request: Any, *rest: Any) -> Any:
        if request.id == poisoned:
            kill()
        return apply(request, *rest)

    monkeypatch.setattr(graph_manager.requests, "apply", die_of_it)
    for _ in range(deaths):
        stage = rig.stage()
        with monkeypatch.context() as patch:
            patch.setattr(GraphManagerStage, "_try_apart", lambda *_: {})
            with pytest.raises(Died):
                steps(stage, lambda: False)
        stage._leadership.release()
    successor = rig.stage()
    steps(successor, lambda: rig.waiting() == 0)
    assert all(rig.answer(one)["accepted"] for one in asked)  # type: ignore[index]
    assert "a graph manager ended while it looked at this" in rig.answer(poisoned)["reason"]  # type: ignore[index]
    assert len(rig.graph().results) == 11
    successor.close()


def test_answers_expire(rig: Rig, manager: GraphManagerStage) -> None:
    one = rig.put("add", text=SHOTS)
    steps(manager, lambda: manager.counters["version"] == 1)
    (facts,) = [facts for facts in rig.store.scan("*") if facts.key.endswith(keys.reply(one))]
    assert 0 < facts.ttl_s <= rig.config.manager.reply_s  # type: ignore[operator]


def test_the_lease_is_renewed_while_it_waits_for_a_source(
    rig: Rig, manager: GraphManagerStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.step()
    manager._leadership._renew_at = 0.0
    renewed: list[float] = []
    lease = manager._leadership.lease
    renew = lease.renew
    monkeypatch.setattr(lease, "renew", lambda: (renewed.append(time.monotonic()), renew()))
    del rig.source[keys.SCHEMA]
    rig.ask(manager, "add", text=SHOTS)
    assert renewed


def test_a_function_that_was_tried_is_not_tried_at_an_edit_beside_it(
    rig: Rig, manager: GraphManagerStage, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    body = f"open({str(marks)!r}, 'a').write('x'); return 2 * x"
    assert rig.ask(manager, "add", text=CODE.format(body=body))["accepted"]
    tried = len(marks.read_text())
    assert tried > 0
    assert rig.ask(manager, "add", text="values: {four: twice(2 * x)}")["accepted"]
    again = len(marks.read_text())
    assert again > tried
    assert rig.ask(manager, "add", text=SHOTS)["accepted"]
    assert rig.ask(manager, "reset", names=["shots"])["accepted"]
    assert len(marks.read_text()) == again
    rig.source[keys.SCHEMA] = Schema((*SCHEMA.fields, Field("more", "f8"))).to_json()
    assert rig.ask(manager, "add", text="results: {n: count(more)}")["accepted"]
    assert len(marks.read_text()) > again
