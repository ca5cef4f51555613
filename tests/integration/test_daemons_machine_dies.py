"""The machine dies, the stores are empty: edits, run numbers and windows come from their owners' files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ami.config import GlobalStoreConfig
from ami.daemons.process import durable
from ami.daemons.source.runs import Runs
from ami.event import Transition
from ami.graph.language.text import graph_of
from ami.stores import keys
from ami.stores.client import ClusterLink
from tests.batches import batch, border
from tests.conftest import empty
from tests.daemons_rig import SCHEMA, steps
from tests.integration import test_daemons_global_reducer as reducers
from tests.integration import test_daemons_graph_manager as managers

pytestmark = pytest.mark.integration

SHOTS, TOTAL = "results: {shots: count(x)}", "results: {total: sum_events(x)}"


@pytest.fixture
def edits(cluster: GlobalStoreConfig, link: ClusterLink) -> managers.Rig:
    return managers.Rig(cluster, link)


def reboot(rig: managers.Rig) -> None:
    empty(rig.link)
    rig.source[keys.SCHEMA] = SCHEMA.to_json()


def edit_twice(rig: managers.Rig) -> str:
    """Let a manager accept two edits; return the id of the second."""
    manager = rig.stage()
    rig.ask(manager, "add", text=SHOTS)
    second = rig.ask(manager, "add", text=TOTAL)
    manager.close()
    return str(second["id"])


def history(rig: managers.Rig) -> list[tuple[int, str]]:
    return [(one["version"], one["action"]) for one in rig.store[keys.STATE]["history"]]  # type: ignore[index]


def test_accepted_edits_come_back_with_their_history_and_their_answers(edits: managers.Rig) -> None:
    second = edit_twice(edits)
    graph = edits.graph()
    reboot(edits)
    manager = edits.stage()
    steps(manager, lambda: edits.store.get(keys.CURRENT))
    assert edits.graph() == graph
    assert history(edits) == [(1, "add"), (2, "add"), (2, "taken up")]
    note = edits.store[keys.STATE]["history"][-1]  # type: ignore[index]
    assert note["summary"] == "2 versions from the files of here: the store was empty"
    # A client that never heard asks again.
    edits.store.queue(keys.REQUESTS).put({"id": second, "client": "anna", "action": "add", "text": TOTAL})
    steps(manager, lambda: edits.waiting() == 0)
    assert edits.answer(second)["accepted"]  # type: ignore[index]
    assert edits.ask(manager, "undo")["version"] == 3
    assert edits.graph().results == ("shots",)
    manager.close()


def test_what_a_newer_store_has_is_never_replaced(edits: managers.Rig) -> None:
    edit_twice(edits)
    reboot(edits)
    files = edits.config
    # Another life of the cluster: as on a host whose files know nothing of the first.
    edits.config = replace(files, node=replace(files.node, run_dir=files.node.run_dir / "other"))
    manager = edits.stage()
    edits.ask(manager, "add", text=TOTAL)
    manager.close()
    edits.config = files
    manager = edits.stage()
    steps(manager, lambda: manager.state == "running")
    manager.close()
    assert history(edits) == [(1, "add")]
    assert edits.graph().results == ("total",)
    # And what is in the store is what would come back from now on.
    reboot(edits)
    manager = edits.stage()
    steps(manager, lambda: edits.store.get(keys.CURRENT))
    manager.close()
    assert history(edits) == [(1, "add"), (1, "taken up")]
    assert edits.graph().results == ("total",)


def test_edits_that_a_store_on_a_disk_had_lost_follow_on_what_it_has(edits: managers.Rig) -> None:
    edit_twice(edits)
    names = (keys.CURRENT, keys.STATE, keys.graph(1), keys.document(1))
    after_both = {name: edits.store[name] for name in (keys.graph(1), keys.document(1))}
    state = edits.store[keys.STATE]
    reboot(edits)
    first = {"history": state["history"][:1], "answers": {}}  # type: ignore[index, call-overload]
    current = {"version": 1, "hash": first["history"][0]["hash"]}
    edits.store.update({**after_both, keys.STATE: first, keys.CURRENT: current})
    assert all(name in edits.store for name in names)
    manager = edits.stage()
    steps(manager, lambda: edits.store[keys.CURRENT]["version"] == 2)  # type: ignore[index, call-overload]
    manager.close()
    assert edits.graph().results == ("shots", "total")


def test_a_damaged_version_is_passed_over(edits: managers.Rig, caplog: pytest.LogCaptureFixture) -> None:
    edit_twice(edits)
    path = durable.folder_of(edits.config.node) / "graph" / "1"
    path.write_bytes(path.read_bytes()[:-1])
    reboot(edits)
    manager = edits.stage()
    steps(manager, lambda: edits.store.get(keys.CURRENT))
    assert history(edits) == [(2, "add"), (2, "taken up")]
    assert "it was cut" in caplog.text
    assert not edits.ask(manager, "undo")["accepted"]
    manager.close()


def test_an_edit_that_the_disk_did_not_take_is_accepted_with_a_warning_and_written_when_it_can_be(
    edits: managers.Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    manager = edits.stage()
    monkeypatch.setattr(durable, "store", full)
    answer = edits.ask(manager, "add", text=SHOTS)
    assert answer["accepted"]
    assert answer["warnings"] == [
        "version 1 would not outlive a power cut: [Errno 28] No space left on device"
    ]
    assert manager.state == f"running, but {answer['warnings'][0]}"
    assert edits.ask(manager, "add", text=TOTAL)["warnings"] == [answer["warnings"][0].replace("1", "2", 1)]
    monkeypatch.undo()
    steps(manager, lambda: manager.state == "running")
    manager.close()
    reboot(edits)
    manager = edits.stage()
    steps(manager, lambda: edits.store.get(keys.CURRENT))
    assert history(edits) == [(1, "add"), (2, "add"), (2, "taken up")]
    manager.close()


def test_only_so_many_versions_are_kept(cluster: GlobalStoreConfig, link: ClusterLink) -> None:
    rig = managers.Rig(cluster, link, manager=managers.ManagerConfig(keep_versions=2))
    manager = rig.stage()
    for number in range(4):
        rig.ask(manager, "add", text=f"results: {{r{number}: count(x)}}")
    manager.close()
    folder = durable.folder_of(rig.config.node) / "graph"
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4"]


def restart(rig: reducers.Rig) -> reducers.GlobalReducerStage:
    """Empty the stores, as the death of the machine does; return the next global reducer."""
    empty(rig.link)
    rig._numbers.clear()
    rig.graph(reducers.GRAPH)
    rig.store.set(keys.NODES).update(("a", "b"))
    return rig.stage()


def test_the_windows_come_back_and_the_batches_of_a_new_life_are_added(
    cluster: GlobalStoreConfig, link: ClusterLink
) -> None:
    rig = reducers.Rig(cluster, link)
    rig.send(*reducers.RUN)
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 4, "b": 3})
    stage.close()
    successor = restart(rig)
    steps(successor, lambda: len(rig.results()) == 3)
    reducers.check_the_run(rig)
    # Numbered from 1 again, and of the same run: none of it is taken for what came before.
    rig.send(batch(3, [5], node="a"), batch(3, [6], node="b"))
    steps(successor, lambda: rig.applied() == {"a": 1, "b": 1})
    assert (rig.results()["shots"].value, rig.results()["total"].value) == (10, 121)
    successor.close()


def test_the_windows_are_copied_while_it_runs_and_never_over_a_newer_state(
    cluster: GlobalStoreConfig, link: ClusterLink
) -> None:
    rig = reducers.Rig(cluster, link)
    rig.config = replace(rig.config, reducer=replace(rig.config.reducer, durable_s=0.01))
    path = durable.folder_of(rig.config.node) / "windows"
    stage = rig.stage()
    rig.send(*reducers.RUN[:3])
    steps(stage, lambda: rig.applied() == {"a": 2, "b": 1})
    steps(stage, path.exists)
    old = path.read_bytes()
    rig.send(*reducers.RUN[3:])
    steps(stage, lambda: rig.applied() == {"a": 4, "b": 3} and path.read_bytes() != old)
    stage.close()
    path.write_bytes(old)
    successor = rig.stage()
    steps(successor, lambda: successor.counters["results"])
    reducers.check_the_run(rig)
    successor.close()


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-3], lambda raw: raw[:128] + b"{}\n"])
def test_windows_that_cannot_be_used_are_passed_over(
    cluster: GlobalStoreConfig, link: ClusterLink, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    rig = reducers.Rig(cluster, link)
    rig.send(*reducers.RUN)
    stage = rig.stage()
    steps(stage, lambda: rig.applied() == {"a": 4, "b": 3})
    stage.close()
    path = durable.folder_of(rig.config.node) / "windows"
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    successor = restart(rig)
    rig.send(border(Transition.BEGIN_RUN, 1, node="a"), batch(1, [7], node="a"))
    steps(successor, lambda: rig.applied() == {"a": 2})
    assert rig.results()["total"].value == 7
    assert f"{path} is passed over" in caplog.text
    successor.close()


def test_a_run_number_is_never_given_twice(cluster: GlobalStoreConfig, link: ClusterLink) -> None:
    rig = reducers.Rig(cluster, link)
    store = rig.stores.cluster("source")

    def runs(host: str) -> Runs:
        return Runs(store, replace(rig.config.node, host=host), lambda: ("a", "b"))

    mine = runs("a")
    assert [mine.begin("", "1"), mine.begin("", "2"), mine.begin("", "2")] == [1, 2, 2]
    empty(link)
    assert [runs("a").begin("", "1"), runs("a").begin("", "2")] == [3, 4]
    # A store that is further, because another node counted on, is right; and that one is in its run still.
    runs("b").begin("", "1", 14)
    assert [runs("a").begin("", "3"), runs("a").begin("", "4")] == [14, 15]


def test_a_file_says_what_it_is(edits: managers.Rig) -> None:
    edit_twice(edits)
    path: Path = durable.folder_of(edits.config.node) / "graph" / "2"
    assert path.read_bytes().startswith(b"ami-durable-1 graph-version-2 ")
    assert graph_of(durable.read(path, "graph-version-2")["text"]).results == ("shots", "total")  # type: ignore[index, call-overload]
