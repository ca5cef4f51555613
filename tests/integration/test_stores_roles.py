"""Each role may do what it must, and nothing else: asked of a real server, for names of the key table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ami.access import Access, read_access, use_access, write_access
from ami.cluster import servers
from ami.cluster.accounts import Accounts
from ami.cluster.forming import Forming
from ami.config import Config, GlobalStoreConfig
from ami.errors import AmiError, ConfigError, NotLetIn
from ami.processes import DAEMONS
from ami.stores import Store, keys, open_global, roles
from ami.stores.client import ClusterLink, split_address
from ami.stores.link import NotAllowed
from ami.stores.queue import GATHER_ITEMS
from ami.stores.server import ServerLink
from tests.conftest import Server, answers, free_ports
from tests.waiting import wait_until

MANAGER, REDUCER, SOURCE = "{ami:graph-manager:0}:", "{ami:global-reducer:0}:", "{ami:source:0}:"
RESULTS = [REDUCER + name for name in (keys.result("n"), keys.table("small"), keys.RESULTS, keys.CATALOGUE)]
GRAPHS = [MANAGER + name for name in (keys.graph(3), keys.document(3), keys.CURRENT, keys.VERSIONS)]
INBOXES = [REDUCER + name for name in (keys.inbox("here"), keys.large_inbox("here"), keys.mark("here"))]
WRITES = (
    ("SET", "x"),
    ("DEL",),
    ("XADD", "*", "a", "b"),
    ("RPUSH", "x"),
    ("RENAME", REDUCER + "y"),
)
MINISTRY = (
    "FLUSHALL", "CONFIG GET dir", "CONFIG SET dir /", "ACL LIST", "ACL SETUSER x on nopass +@all",
    "CLUSTER RESET", "CLUSTER FAILOVER", "SHUTDOWN NOSAVE", "DEBUG SLEEP 0", "KEYS *", "SCRIPT FLUSH",
    "REPLICAOF no one", "CLIENT KILL TYPE normal", "CLIENT LIST", "MODULE LIST", "BGREWRITEAOF", "MONITOR",
    "FUNCTION LIST", "SLOWLOG GET", "SWAPDB 0 0", "MIGRATE h 1 k 0 1", "RESTORE k 0 x", "PUBLISH a b",
)  # fmt: skip


@pytest.fixture
def server(cluster: GlobalStoreConfig) -> Iterator[ServerLink]:
    """The administrator's connection to the one server of a cluster."""
    with ServerLink(cluster, (cluster.host, cluster.port)) as link:
        yield link


def may(server: ServerLink, user: str, *command: str) -> bool:
    return bytes(server.ask("ACL", "DRYRUN", user, *command)) == b"OK"


def writes(server: ServerLink, user: str, key: str) -> bool:
    return any(may(server, user, command[0], key, *command[1:]) for command in WRITES)


def add(server: ServerLink, user: str) -> None:
    rules = roles.rights(user).rules().split()
    server.ask("ACL", "SETUSER", user, "reset", "on", f"#{'0' * 64}", *rules)


@pytest.mark.parametrize("role", roles.ROLES)
def test_no_role_may_ask_for_what_is_not_about_keys(server: ServerLink, role: str) -> None:
    assert [text for text in MINISTRY if may(server, role, *text.split())] == []


@pytest.mark.parametrize("user", ["reader", "client", "reader:ann", "client:ann"])
def test_who_only_looks_or_asks_writes_neither_results_nor_graphs_and_runs_no_script(
    server: ServerLink, user: str
) -> None:
    add(server, user) if ":" in user else None
    for key in (
        *RESULTS,
        *GRAPHS,
        *INBOXES,
        MANAGER + keys.ACCOUNTS,
        MANAGER + keys.LEASE,
        SOURCE + keys.SCHEMA,
        SOURCE + keys.RUN_ORDERS,
    ):
        assert not writes(server, user, key), key
    for key in (*RESULTS, *GRAPHS):
        assert may(server, user, "GET", key)
        assert may(server, user, "XREAD", "STREAMS", key, "0")
    for script in (("EVAL", "return 1", "0"), ("EVALSHA", "0" * 40, "0"), ("FCALL", "f", "0")):
        assert not may(server, user, *script)
    for secret in (keys.ACCOUNTS, keys.REQUESTS, keys.taken(keys.REQUESTS), keys.requests_of("bob")):
        assert not may(server, user, "GET", MANAGER + secret)
        assert not may(server, user, "LRANGE", MANAGER + secret, "0", "1")


def test_an_account_asks_in_its_own_queue_and_fetches_its_own_answers(server: ServerLink) -> None:
    add(server, "client:ann")
    add(server, "reader:eve")
    own, answer = MANAGER + keys.requests_of("ann"), MANAGER + keys.reply(roles.request_id("ann", "1"))
    assert may(server, "client:ann", "RPUSH", own, "x")
    assert may(server, "client:ann", "BLMOVE", answer, keys.taken(answer), "LEFT", "RIGHT", "1")
    others = keys.requests_of("bob"), keys.requests_of("ann2"), keys.REQUESTS, keys.reply("bob.1")
    for name in (*others, keys.reply("1"), keys.reply("ann2.1"), keys.taken(keys.REQUESTS)):
        assert not writes(server, "client:ann", MANAGER + name), name
    assert not any(
        writes(server, "reader:eve", key) for key in (own, MANAGER + keys.requests_of("eve"), answer)
    )


@pytest.mark.parametrize(
    ("role", "mine", "others"),
    [
        ("source", [SOURCE + keys.SCHEMA, *INBOXES], [*RESULTS[:1], *GRAPHS]),
        ("worker", ["{here:worker:3}:heartbeat"], [*RESULTS, *GRAPHS, *INBOXES, SOURCE + keys.SCHEMA]),
        ("reducer", [*RESULTS, *INBOXES], [*GRAPHS, SOURCE + keys.SCHEMA, MANAGER + keys.REQUESTS]),
        ("manager", [*GRAPHS, MANAGER + keys.REQUESTS], [*RESULTS, *INBOXES, SOURCE + keys.SCHEMA]),
        ("monitor", [MANAGER + keys.ACCOUNTS], [*RESULTS, *GRAPHS, *INBOXES, SOURCE + keys.SCHEMA]),
        (
            "web",
            ["{here:web:0}:heartbeat", "{ami:web:0}:layouts"],
            [*RESULTS, *GRAPHS, *INBOXES, SOURCE + keys.SCHEMA],
        ),
        ("export", ["{here:export:0}:heartbeat"], [*RESULTS, *GRAPHS, *INBOXES, SOURCE + keys.SCHEMA]),
    ],
)
def test_each_process_writes_what_is_its_own(
    server: ServerLink, role: str, mine: list[str], others: list[str]
) -> None:
    assert [key for key in mine if not may(server, role, "SET", key, "x")] == []
    assert [key for key in others if writes(server, role, key)] == []
    assert may(server, role, "SET", REDUCER + keys.node("here"), "x")  # the name of its node


def test_each_type_of_process_has_a_role() -> None:
    assert {roles.of_process(kind) for kind in DAEMONS} <= roles.ROLES.keys()


def test_who_may_not_is_told_so(cluster: GlobalStoreConfig, global_store: Store) -> None:
    global_store["x"] = 1
    with closing(Store(ClusterLink(cluster, "worker"), keys.prefix("ami", "graph-manager", 0))) as store:
        assert store.get(keys.CURRENT) is None
        with pytest.raises(NotAllowed, match="may not|NOPERM"):
            store.put(keys.CURRENT, {})


def test_no_password_is_in_a_server_s_file_of_users_or_on_its_command_line(tmp_path: Path) -> None:
    config = GlobalStoreConfig(port=free_ports(1)[0], password_file=tmp_path / "secret", append_to="disk")
    command = servers.prepare_global(config, tmp_path / "global")
    path = tmp_path / "global" / servers.USERS
    secret = config.password_file.read_text().strip()
    passwords = [secret, *(roles.derive(secret, role) for role in roles.ROLES)]
    assert path.stat().st_mode & 0o077 == 0
    assert not any(password in text for password in passwords for text in (path.read_text(), *command))
    assert len(set(passwords)) == len(passwords)


def test_a_server_of_an_earlier_version_lets_every_role_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It knows one user, whose password is the secret: a node goes on until it is started anew."""
    config = GlobalStoreConfig(port=free_ports(1)[0], password_file=tmp_path / "secret", append_to="disk")
    command = servers.prepare_global(config, tmp_path / "global")
    path = tmp_path / "global" / servers.USERS
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with Server(command).running():
        wait_until(lambda: answers(ClusterLink(config)), what="the server")
        with closing(ClusterLink(config, "worker")) as link:
            assert answers(link)
    assert "earlier version" in caplog.text


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[GlobalStoreConfig, Server]]:
    """A server that can be started again."""
    config = GlobalStoreConfig(port=free_ports(1)[0], password_file=tmp_path / "secret", append_to="disk")
    with Server(servers.prepare_global(config, tmp_path / "global")).running() as process:
        wait_until(lambda: answers(ClusterLink(config)), what="the server")
        yield config, process


def test_access_is_given_and_taken_away(alone: tuple[GlobalStoreConfig, Server], tmp_path: Path) -> None:
    config, process = alone
    path, nodes = tmp_path / "home" / "ann", (f"127.0.0.1:{config.port}",)
    with (
        closing(open_global(config, "ami:graph-manager:0")) as store,
        ServerLink(config, (config.host, config.port)) as server,
    ):
        accounts = Accounts(store)
        user, password, problems = accounts.add("ann", "client", [server])
        assert (user, problems) == ("client:ann", [])
        write_access(path, Access(cluster="ami", user=user, password=password, nodes=nodes))
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(AmiError, match="has access already, as client:ann"):
            accounts.add("ann", "reader", [server])
        for name, role in (
            ("Ann", "client"),
            ("a:b", "client"),
            ("x", "worker"),
            ("*", "reader"),
            ("", "reader"),
        ):
            with pytest.raises(AmiError, match="a role is one of"):
                accounts.add(name, role, [server])
        assert password not in (tmp_path / "global" / servers.USERS).read_text()

        mine = replace(config, access_file=str(path), password_file=tmp_path / "nothing", start_nodes=nodes)
        with closing(ClusterLink(mine, roles.CLIENT)) as link:
            other = Store(link, "ami:graph-manager:0")
            assert other.get(keys.CURRENT) is None
            # Known from its first moment on when it is started again.
            process.kill()
            servers.prepare_global(config, tmp_path / "global")
            process.start()
            wait_until(lambda: answers(ClusterLink(config)), what="the server")
            assert other.get(keys.CURRENT) is None
            assert accounts.read() == {"client:ann": roles.digest(password)}
            server.close()  # of the one before
            assert accounts.remove("ann", [server]) == []
            with pytest.raises(NotLetIn):
                other.get(keys.CURRENT)
        with pytest.raises(AmiError, match="nobody of the name 'ann'"):
            accounts.remove("ann", [server])


def test_a_server_that_was_away_is_told_of_those_who_came_and_went(
    alone: tuple[GlobalStoreConfig, Server], tmp_path: Path
) -> None:
    config, _ = alone
    with (
        closing(open_global(config, "ami:graph-manager:0")) as store,
        ServerLink(config, (config.host, config.port)) as server,
    ):
        accounts = Accounts(store)
        add(server, "client:gone")
        accounts.add("ann", "client", [])
        assert accounts.tell(server)
        assert not accounts.tell(server)
        users = {bytes(user).decode() for user in server.ask("ACL", "USERS")}
        assert users == {"default", "client:ann", *roles.ROLES}
        # A store that lost the list gets it from the server.
        store.delete_many([keys.ACCOUNTS])
        assert not accounts.tell(server)
        assert store[keys.ACCOUNTS].keys() == {"client:ann"}


def test_what_is_gathered_says_whose_it_is_and_no_text_can_say_otherwise(global_store: Store) -> None:
    queue, anns = global_store.queue(keys.REQUESTS), global_store.queue(keys.requests_of("ann"))
    others = {"ann": keys.requests_of("ann"), "bob": keys.requests_of("bob")}
    link, key = global_store._link, f"{{{global_store.prefix}}}:{keys.requests_of('ann')}"
    queue.put("operator")
    anns.put("first", surely=True)
    forged = (b'bob {"id": "1", "value": 2}', b' {"id": "1", "value": 2}', b"", b"{}", b"\xff {}")
    for raw in forged:
        link.one(key, "RPUSH", raw, repeat=False)
    anns.put("last", surely=True)
    global_store.queue(keys.requests_of("bob")).put("other")
    assert queue.gather(others) == len(forged) + 3
    assert queue.gather(others) == 0
    found = []
    while len(found) < 5:
        items, broken = queue.take_some(0.0)
        found += [(item.sender, item.value) for item in items]
        queue.done(*items)
        assert items or broken
    assert found == [("", "operator"), ("ann", "first"), ("ann", 2), ("ann", "last"), ("bob", "other")]


def test_a_flood_of_one_account_is_gathered_in_parts(
    global_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ami.stores.queue.ITEM_BYTES", 1000)
    queue, others = (
        global_store.queue(keys.REQUESTS),
        {"ann": keys.requests_of("ann"), "bob": keys.requests_of("bob")},
    )
    link, key = global_store._link, f"{{{global_store.prefix}}}:{keys.requests_of('ann')}"
    for _ in range(3 * GATHER_ITEMS):
        link.one(key, "RPUSH", b"x" * 1001, repeat=False)
    global_store.queue(keys.requests_of("ann")).put("hers")
    global_store.queue(keys.requests_of("bob")).put("his")
    # What is too large is dropped, and bob waits for none of it.
    assert [queue.gather(others) for _ in range(4)] == [1, 0, 0, 1]
    assert len(queue) == 2


def test_every_server_of_a_cluster_is_told(three_masters: GlobalStoreConfig) -> None:
    seeds = [split_address(node) for node in three_masters.start_nodes]
    forming = Forming(three_masters, seeds, lambda _text: None)

    def told(link: ServerLink) -> set[str]:
        return set(roles.accounts_in(bytes(line).decode() for line in link.ask("ACL", "LIST")))

    with closing(open_global(three_masters, "ami:graph-manager:0")) as store, closing(forming):
        links = [forming.link(server.address) for server in forming.known().servers]
        accounts = Accounts(store)
        accounts.add("ann", "reader", links)
        assert list(map(told, links)) == [{"reader:ann"}] * 3
        silent = ServerLink(three_masters, ("127.0.0.1", free_ports(1)[0]))
        assert [text.partition(":")[0] for text in accounts.remove("ann", [*links, silent])] == ["127.0.0.1"]
        assert list(map(told, links)) == [set()] * 3


def test_an_access_file_is_read_only_where_nobody_else_can(tmp_path: Path) -> None:
    path = tmp_path / "access"
    access = Access(
        cluster="ami", user="reader:ann", password='a "word"', nodes=("10.0.0.1:7379",), ca="a\nb"
    )
    write_access(path, access)
    assert read_access(path) == access
    assert read_access(path).name == "ann"
    with pytest.raises(ConfigError, match="cannot be written"):
        write_access(path, access)
    used = use_access(replace(Config(), global_store=GlobalStoreConfig(access_file=str(path))))
    assert (used.global_store.start_nodes, used.node.cluster) == (("10.0.0.1:7379",), "ami")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read"):
        read_access(path)
    path.chmod(0o600)
    for text in ("", "nodes = 3", "nodes = [1]\nuser = 'reader:a'", "nodes = []\nuser = 'ann'", "no toml"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="no access file"):
            read_access(path)


def test_the_file_in_the_home_folder_is_used_where_there_is_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".config" / "ami" / "access"
    write_access(path, Access(cluster="theirs", user="reader:ann", password="x", nodes=("10.0.0.1:7379",)))
    secret = tmp_path / "secret"
    config = replace(Config(), global_store=GlobalStoreConfig(password_file=secret))
    assert use_access(config).global_store.access_file == str(path)
    secret.write_text("a node's own")
    assert use_access(config) is config
    shutil.rmtree(path.parent)
    secret.unlink()
    assert use_access(config) is config
