"""The client on a real cluster store and a real graph manager; results as the global reducer writes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import redis

from ami.client import Client, connect
from ami.client.survey import heartbeats, survey
from ami.cluster.node import Node
from ami.errors import AmiError, GraphError, Undecodable
from ami.messages.table import Moment, Table
from ami.result import Events, Row
from ami.stores import Store, keys, open_global, open_local
from ami.stores.client import ClusterLink
from ami.stores.opened import Stores
from ami.values import Histogram, Scan
from tests.client_rig import SCHEMA, emptied, made, publish
from tests.daemons_rig import Faults, FaultyLink
from tests.node_rig import running
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """The two servers and the graph manager of a node."""
    with running(Node(programs=("local-redis", "global-redis", "graph-manager"))) as started:
        yield started


@pytest.fixture
def client(node: Node) -> Iterator[Client]:
    with connect(node.config, name="ann", timeout_s=10.0) as opened:
        yield opened


@pytest.fixture
def reducer(node: Node) -> Iterator[Store]:
    """What the global reducer writes through; empty."""
    store = emptied(node)
    yield store
    store.close()


@pytest.fixture
def graph(node: Node, client: Client) -> Client:
    """A client of a manager that has an empty graph, and knows the fields of events."""
    source = open_global(node.config.global_store, keys.prefix("ami", "source", 0))
    source.put(keys.SCHEMA, SCHEMA.to_json())
    source.close()
    client.set("results: {}", force=True)
    return client


@pytest.mark.parametrize(
    "value",
    [
        None, 5, 2.5, np.arange(12.0).reshape(3, 4), Histogram(np.array([1, 2]), np.arange(3.0), overflow=4),
        Scan(np.array([1.0]), np.array([3]), np.array([2.0]), np.array([np.nan])),
    ],
)  # fmt: skip
def test_a_result_is_read_as_it_was_published(client: Client, reducer: Store, value: object) -> None:
    publish(reducer, made("level", value))
    found = client.get("level")
    assert found.events == Events(expected=10, used=9, dropped=1)
    np.testing.assert_equal(found.to_plain()["value"], made("level", value).to_plain()["value"])
    assert type(found.value) is type(value)


def test_all_results_come_in_the_order_of_the_catalogue(client: Client, reducer: Store) -> None:
    publish(reducer, made("zeta", 1), made("alpha", 2))
    assert list(client.results()) == ["zeta", "alpha"]


def test_a_name_that_is_not_published_is_refused_with_one_that_is_similar(
    client: Client, reducer: Store
) -> None:
    publish(reducer, made("brightness", 1))
    with pytest.raises(AmiError, match=r"no result 'brigthness'; there is brightness"):
        client.get("brigthness")
    with pytest.raises(AmiError, match=r"no result 'brigthness'; there is brightness"):
        client.history("brigthness")
    assert client.history("brightness") == []


def test_a_first_value_is_waited_for(client: Client, reducer: Store) -> None:
    timer = threading.Timer(0.3, publish, [reducer, made("level", 7)])
    timer.start()
    assert client.get("level", wait_s=10.0).value == 7
    timer.join()


def test_a_watch_begins_with_what_is_there_and_ends_after_silence(client: Client, reducer: Store) -> None:
    publish(reducer, made("level", 1), made("other", 2))
    assert [result.value for result in client.watch(["level"], timeout_s=0.3)] == [1]


def test_a_watch_yields_each_new_value_of_its_names_only(client: Client, reducer: Store) -> None:
    updates = client.updates(["level"])
    assert updates.take(0.0) == {}
    for value in (1, 2, 3):
        publish(reducer, made("level", value))
        assert {name: r.value for name, r in updates.take(10.0).items()} == {"level": value}
    publish(reducer, made("other", 9))
    assert updates.take(0.3) == {}


def test_a_slow_reader_gets_the_newest_and_no_queue(client: Client, reducer: Store) -> None:
    updates = client.updates(["level"])
    updates.take(0.0)
    for value in range(50):
        publish(reducer, made("level", value))
    assert updates.take(10.0)["level"].value == 49
    assert updates.take(0.2) == {}


def test_a_watch_without_names_hears_of_results_that_did_not_exist_before(
    client: Client, reducer: Store
) -> None:
    updates = client.updates()
    updates.take(0.0)
    publish(reducer, made("new", 1))
    assert list(updates.take(10.0)) == ["new"]


@pytest.mark.parametrize(
    "notice", [None, 5, "level", [], {"names": 5}, {"names": None}, {"names": [None, 3]}]
)
def test_a_notification_that_is_none_does_not_end_a_watch(
    client: Client, reducer: Store, notice: object
) -> None:
    updates = client.updates(["level"])
    updates.take(0.0)
    reducer.commit(None, {}, notify={keys.RESULTS: notice})
    publish(reducer, made("level", 1))
    assert updates.take(10.0)["level"].value == 1


def test_what_is_no_result_is_not_taken_for_one(client: Client, reducer: Store) -> None:
    publish(reducer, made("level", 1))
    reducer.put(keys.result("level"), {"value": 5})
    assert client.results() == {}
    with pytest.raises(AmiError, match="no result 'level'"):
        client.get("level")


def test_the_history_of_a_scalar_is_oldest_first(client: Client, reducer: Store) -> None:
    for interval in range(5):
        results = [made("level", interval * 2.0, interval=interval)]
        publish(reducer, *results)
        moment = Moment.of([Row.of(one) for one in results], Table.of(results))
        reducer.commit(None, {}, notify={keys.history(keys.SMALL): moment})
    assert [record["interval"] for record in client.history("level", 3)] == [2, 3, 4]
    assert client.history("level")[-1] == {"interval": 4, "time_ns": 1, "value": 8.0, "used": 9}


def test_a_definition_becomes_an_operation_of_mine(graph: Client) -> None:
    reply = graph.add("bright = mean_vs(sum(camera), key=delay)")
    now = graph.graph()
    assert (now.version, now.hash) == (reply["version"], reply["hash"])
    assert now.results == ("bright",)
    assert now["bright"].owners == ("ann",)


def test_a_denied_request_says_why_and_changes_nothing(graph: Client) -> None:
    before = graph.graph_version()
    with pytest.raises(GraphError, match="camra"):
        graph.add("bright = mean_events(camra)")
    assert graph.graph_version() == before


def test_an_edit_of_a_graph_that_changed_meanwhile_is_refused(graph: Client) -> None:
    seen = graph.graph_version()[0]
    graph.add("a = count(x)")
    with pytest.raises(GraphError, match="edited version"):
        graph.add("b = count(x)", expected_version=seen)


def test_what_was_done_can_be_undone_and_gone_back_to(graph: Client) -> None:
    version = graph.add("a = count(x)")["version"]
    graph.remove("a")
    assert graph.graph().results == ()
    graph.undo()
    assert graph.graph().results == ("a",)
    graph.set("results: {b: count(x)}")
    graph.rollback(version)
    assert graph.graph().results == ("a",)
    actions = [record["action"] for record in graph.graph_history()[-5:]]
    assert actions == ["add", "remove", "undo", "set", "rollback"]
    assert graph.graph(version).results == ("a",)


def test_a_graph_is_shown_as_it_was_written_and_set_whatever_was_there(graph: Client) -> None:
    graph.set("level = mean_events( x-3 )", "half = level/2")
    document = graph.document()
    assert {name: document[name].text for name in document.results} == {
        "level": "mean_events( x-3 )", "half": "level/2",
    }  # fmt: skip
    graph.set("shots = count(x)")
    assert graph.document().results == ("shots",)
    assert graph.document(document.version) == document
    with pytest.raises(GraphError, match="no graph version 123456"):
        graph.document(123456)


def test_mine_goes_and_yours_stays(node: Node, graph: Client) -> None:
    graph.add("mine = count(x)", "ours = count(delay)")
    with connect(node.config, name="bob", timeout_s=10.0) as bob:
        bob.add("ours = count(delay)", "his = mean_events(x)")
    graph.remove_mine()
    assert set(graph.graph().results) == {"ours", "his"}


def test_a_replaced_operation_is_another_and_a_reset_one_begins_anew(graph: Client) -> None:
    graph.add("a = count(x)")
    first = graph.graph().fingerprint("a")
    graph.replace("a = count(delay)")
    second = graph.graph().fingerprint("a")
    graph.reset("a")
    assert len({first, second, graph.graph().fingerprint("a")}) == 3


def test_a_version_that_never_was_is_refused(graph: Client) -> None:
    with pytest.raises(GraphError, match="no graph version 123456"):
        graph.graph(123456)


def test_without_a_manager_a_request_ends_in_time_and_says_so(node: Node) -> None:
    elsewhere = replace(node.config, node=replace(node.config.node, cluster="elsewhere"))
    with connect(elsewhere, timeout_s=0.5) as client:
        with pytest.raises(AmiError, match=r"no answer from the graph manager within 0\.5 s"):
            client.undo()
        assert client.graph_version() == (0, "")
        assert client.graph().operations == ()
        assert client.schema() is None


def test_the_manager_lives_and_what_is_missing_is_a_problem(client: Client) -> None:
    host = client.config.node.host
    status = client.status()
    alive = [process.name for process in status.processes if process.alive]
    assert alive == [f"{host}:graph-manager:0"]
    assert f"{host}:global-reducer:0 does not run" in status.problems


def test_keys_of_both_tiers_are_found_with_their_owners(node: Node, client: Client, reducer: Store) -> None:
    publish(reducer, made("level", 5))
    local = open_local(node.config.local_store, "host:worker:3")
    local.put("covered", {"flush": 1}, expire_s=60.0)
    local.close()
    found = {(view.tier, view.prefix, view.name): view for view in client.keys("*")}
    assert found["global", "ami:global-reducer:0", "result:level"].type == "string"
    ttl_s = found["local", "host:worker:3", "covered"].ttl_s
    assert ttl_s is not None
    assert 0 < ttl_s <= 60


def test_a_key_is_shown_with_its_value_with_or_without_braces(client: Client, reducer: Store) -> None:
    publish(reducer, made("level", 5))
    for spelt in ("ami:global-reducer:0:result:level", "{ami:global-reducer:0}:result:level"):
        (view,) = client.key(spelt)
        assert view.value.value == 5


def test_the_key_of_a_table_shows_results_by_their_names(client: Client, reducer: Store) -> None:
    reducer.put(keys.table(keys.SMALL), Table.of([made(f"m{number}", number) for number in range(30)]))
    (view,) = client.key("ami:global-reducer:0:table:small")
    shown = view.to_plain()["value"]
    assert (shown["type"], shown["items"], len(shown["value"])) == ("Table", 30, 20)
    assert shown["value"]["m7"]["value"] == {"type": "int", "value": 7}
    assert client.get("m29").value == 29


def test_a_pattern_in_a_name_of_a_key_is_no_pattern(client: Client, reducer: Store) -> None:
    publish(reducer, made("level", 5), made("l*[e]?", 6))
    (view,) = client.key("ami:global-reducer:0:result:l*[e]?")
    assert view.value.value == 6


HOSTILE = b"\x80\x05cos\nsystem\n(S'true'\ntR."


@pytest.fixture
def raw(node: Node) -> Iterator[redis.Redis]:
    """A way past the codec."""
    where = node.config.global_store
    password = where.password_file.read_text().strip()
    connection = redis.Redis(host=where.host, port=where.port, password=password)
    yield connection
    connection.delete("{ami:global-reducer:0}:result:evil")
    connection.close()


def test_foreign_bytes_under_a_key_are_shown_and_not_run(
    client: Client, reducer: Store, raw: redis.Redis
) -> None:
    raw.set("{ami:global-reducer:0}:result:evil", HOSTILE)
    (view,) = client.key("ami:global-reducer:0:result:evil")
    assert view.value == HOSTILE
    assert view.to_plain()["value"]["type"] == "bytes"


def test_a_result_of_foreign_bytes_has_an_error_and_hides_no_other(
    client: Client, reducer: Store, raw: redis.Redis
) -> None:
    publish(reducer, made("level", 5), made("evil", 6))
    raw.set("{ami:global-reducer:0}:result:evil", HOSTILE)
    found = client.results()
    assert found["level"].value == 5
    assert found["evil"].value is None
    assert found["evil"].error
    assert client.updates().take(1.0).keys() == {"level", "evil"}
    with pytest.raises(Undecodable):
        client.get("evil")


def test_status_asks_the_store_once_for_each_process_and_a_few_times_more(node: Node, client: Client) -> None:
    """What takes the time of a person: round trips, not seconds, which are the machine's."""
    link, faults = ClusterLink(node.config.global_store), Faults()
    stores = Stores(node.config, cluster=FaultyLink(link, faults))
    wait_until(lambda: heartbeats(stores), what="the manager's heartbeat")
    beat = next(iter(heartbeats(stores).values()))
    prefixes = [keys.prefix("elsewhere", "worker", number) for number in range(10)]
    views = [stores.cluster("graph-manager").view(prefix) for prefix in prefixes]
    asked = []
    for view in (None, *views):
        if view is not None:
            view.put(keys.HEARTBEAT, beat, expire_s=60)
        before = faults.calls
        survey(node.config, stores)
        asked.append(faults.calls - before)
    for view in views:
        del view[keys.HEARTBEAT]
    stores.close()
    assert asked == [asked[0] + number for number in range(11)]
    assert asked[0] <= 10
