"""Servers become one cluster, which grows and shrinks while somebody writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ami.cluster import memory, servers
from ami.cluster.forming import Forming
from ami.cluster.joining import Machine
from ami.cluster.succession import Succession
from ami.cluster.topology import SLOTS
from ami.config import GlobalStoreConfig
from ami.errors import StoreError
from ami.stores import open_global
from ami.stores.held import Address
from ami.stores.server import ServerLink
from tests.conftest import Server, free_ports
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.integration


class Place:
    """Four servers that know nobody, on addresses of this machine's own network."""

    def __init__(self, config: GlobalStoreConfig, folder: Path) -> None:
        # Each its own host: 127.0.0.0/8 is all this machine.
        ports = free_ports(4)
        servers.read_or_make_password(config.password_file)
        self.config = config
        self.addresses: list[Address] = [(f"127.0.0.{n}", port) for n, port in enumerate(ports, start=1)]
        self.servers = []
        for host, port in self.addresses:
            own = replace(config, host=host, port=port, start_nodes=("127.0.0.1:1",))
            self.servers.append(Server(servers.prepare_global(own, folder / str(port))))
        self.said: list[str] = []

    def forming(self, *seeds: int) -> Forming:
        asked = [self.addresses[n] for n in seeds] or self.addresses
        return Forming(self.config, asked, self.said.append, PATIENCE_S)

    def clients_settings(self) -> GlobalStoreConfig:
        listed = tuple(f"{host}:{port}" for host, port in self.addresses)
        return replace(self.config, start_nodes=listed)


@pytest.fixture
def four(short_path: Path, tmp_path: Path) -> Iterator[Place]:
    config = GlobalStoreConfig(password_file=short_path / "four.secret", append_to="disk")
    place = Place(config, tmp_path)
    for server in place.servers:
        server.start()
    for address in place.addresses:
        wait_until(ServerLink(config, address).answers, what="a server")
    yield place
    for server in place.servers:
        server.kill()


def test_a_cluster_is_formed_grows_and_gives_a_place_back_while_values_are_written(four: Place) -> None:
    with pytest.raises(StoreError, match="is in no cluster yet"):
        four.forming().known()
    forming = four.forming()
    seen = forming.create(four.addresses[:2])
    assert [server.slot_count for server in seen.servers] == [SLOTS // 2] * 2
    said = len(four.said)
    assert forming.create(four.addresses[:2]).layout() == seen.layout()
    assert four.said[said:] == []  # nothing was left to do

    stop, written = threading.Event(), [0]
    stores = [open_global(four.clients_settings(), f"here:test:{n}") for n in range(8)]
    lists = [store.queue("q") for store in stores]  # of eight slots

    def write() -> None:
        while not stop.is_set():
            for queue in lists:
                queue.put(written[0], surely=True)
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        # A third one, which knows only the second: an equal share of all.
        grown = four.forming(1).join(four.addresses[2])
        assert sorted(server.slot_count for server in grown.servers) == [5461, 5461, 5462]
        replica = four.forming(0).replicate(four.addresses[3], None)
        assert replica.host != four.addresses[3][0]
        before = written[0]
        wait_until(lambda: written[0] > before, what="values that are written afterwards")
    finally:
        stop.set()
        writer.join()
    for queue in lists:
        items = []
        while (item := queue.take(0.1)) is not None:
            items.append(item.value)
            queue.done(item)
        assert items == list(range(written[0]))
    for store in stores:
        store.close()
    seen = forming.known()
    third = seen.at(four.addresses[2])
    assert third is not None
    forming.balance(without=[third.id])
    assert forming.known()[third.id].slot_count == 0


def test_a_copy_that_began_anew_takes_the_place_of_a_machine_that_is_gone_for_good(
    four: Place,
) -> None:
    """By itself it waits for ever, and what it has would be given up with the machine."""
    forming = four.forming(1)
    forming.create(four.addresses[:2])
    forming.replicate(four.addresses[2], four.addresses[0])
    stores = [open_global(four.clients_settings(), f"here:test:{n}") for n in range(8)]
    for number, store in enumerate(stores):
        store.queue("q").put(number, surely=True)
    for number in (0, 2):
        four.servers[number].kill()
    four.servers[2].start()
    wait_until(ServerLink(four.config, four.addresses[2]).answers, what="the copy")
    gone = four.addresses[0][0]
    forming.wait("its taking over", Succession(forming, gone, four.said.append, 1.0).find_left)
    third = forming.known().at(four.addresses[2])
    assert third is not None
    assert third.slot_count == SLOTS // 2
    forming.forget(server.id for server in forming.known().on(gone))
    forming.agree()
    for number, store in enumerate(stores):
        item = store.queue("q").take(0.1)
        assert item is not None
        assert item.value == number
        store.close()


def test_a_server_that_left_is_not_taken_for_the_cluster_whose_settings_still_name_it_first(
    four: Place,
) -> None:
    """It is alone, with all slots, and lets the same secret in."""
    four.forming(3).create(four.addresses[3:])
    four.forming().create(four.addresses[:2])
    assert len(four.forming(3, 0, 1).known().servers) == 2
    assert len(four.forming(3, 2).known().servers) == 1
    settings = four.clients_settings()
    listed = [settings.start_nodes[number] for number in (3, 2, 1)]
    for start_nodes, found in [(listed, 7), (listed[1:], 7), (listed[:2], None), (listed[:1], None)]:
        store = open_global(replace(settings, start_nodes=tuple(start_nodes)), "here:test:0")
        if start_nodes is listed:
            store.put("value", 7)
        assert store.get("value") == found
        store.close()


def test_a_machine_that_is_back_under_another_address_is_known_by_its_server_and_keeps_its_share(
    four: Place, tmp_path: Path
) -> None:
    forming = four.forming(0)
    forming.create(four.addresses[:2])
    path, port = tmp_path / "ami.toml", four.addresses[1][1]
    secret = four.config.password_file
    path.write_text(f"[node]\nrun_dir = '{tmp_path}'\n[global_store]\npassword_file = '{secret}'\n")
    machine = Machine(path, four.said.append, 1.0)
    assert not machine.was_in(forming.known())
    folder = memory.folder_of(machine.config.node, "global")
    folder.symlink_to(tmp_path / str(port))
    assert not machine.was_in(forming.known()), "whose folder this is a copy of runs"
    four.servers[1].kill()
    assert machine.was_in(forming.known())
    moved = replace(four.config, host="127.0.0.9", port=port, start_nodes=("127.0.0.1:1",))
    four.servers[1] = Server(servers.prepare_global(moved, tmp_path / str(port)))
    four.servers[1].start()
    wait_until(lambda: forming.known().at(("127.0.0.9", port)), what="the new address")
    forming.agree()
    assert [server.slot_count for server in forming.known().servers] == [SLOTS // 2] * 2
