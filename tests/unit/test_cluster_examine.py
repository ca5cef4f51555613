"""What `ami doctor` finds on a machine, and that each finding has its mend."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ami.cluster import examine_machine
from ami.cluster.findings import PROBLEM, WARNING, Finding
from ami.cluster.node import free_port
from ami.config import Config, load

Doctor = Callable[..., dict[str, Finding]]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of a machine on which everything is right."""
    root = tmp_path / "root"
    for path, text in {
        "proc/mounts": "tmpfs /dev/shm tmpfs rw 0 0\n",
        "proc/meminfo": "MemTotal:       64000000 kB\n",
        "proc/sys/vm/overcommit_memory": "1\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "dev").mkdir()
    (root / "dev/shm").symlink_to("/dev/shm")
    return root


@pytest.fixture
def config(tmp_path: Path) -> Config:
    run_dir = tmp_path / "var"
    run_dir.mkdir(mode=0o700)
    return load(environ={"AMI_NODE_RUN_DIR": str(run_dir), "AMI_GLOBAL_STORE_PORT": str(free_port())})


def find(config: Config, machine: Path) -> dict[str, Finding]:
    """Return the findings but those of this test's own limits, by what they are about."""
    found = examine_machine.examine(config, machine)
    return {one.about: one for one in found if one.about not in ("open files", "processes", "size of files")}


def test_where_all_is_right_nothing_is_said(config: Config, machine: Path) -> None:
    assert find(config, machine) == {}


@pytest.mark.parametrize(
    ("path", "text", "about", "severity", "mend"),
    [
        ("proc/mounts", "disk /dev/shm ext4 rw 0 0\n", "/dev/shm", PROBLEM, "tmpfs"),
        ("proc/meminfo", "MemTotal: 4000000 kB\n", "memory", WARNING, "max_memory_bytes"),
        ("proc/sys/vm/overcommit_memory", "0\n", "overcommit", WARNING, "sysctl vm.overcommit_memory=1"),
        ("proc/sys/vm/overcommit_memory", "2\n", "overcommit", PROBLEM, "sysctl vm.overcommit_memory=1"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] never\n", "huge pages", WARNING, "madvise"),
    ],
)
def test_each_fault_of_the_machine_is_found_with_its_mend(
    config: Config, machine: Path, path: str, text: str, about: str, severity: str, mend: str
) -> None:
    (machine / path).write_text(text)
    found = find(config, machine)
    assert found.keys() == {about}
    assert found[about].severity == severity
    assert mend in found[about].mend


@pytest.mark.parametrize(
    ("user", "settings", "found"),
    [(1001, "#RemoveIPC=yes\n", True), (1001, "RemoveIPC=no\n", False), (999, "RemoveIPC=yes\n", False)],
)
def test_that_systemd_removes_a_persons_shared_memory_is_found(
    config: Config, machine: Path, monkeypatch: pytest.MonkeyPatch, user: int, settings: str, found: bool
) -> None:
    (machine / "run/systemd/system").mkdir(parents=True)
    (machine / "etc/systemd").mkdir(parents=True)
    (machine / "etc/systemd/logind.conf").write_text(settings)
    monkeypatch.setattr(os, "getuid", lambda: user)
    assert ("RemoveIPC" in find(config, machine)) == found


def test_a_secret_and_a_folder_that_others_may_touch_are_found(config: Config, machine: Path) -> None:
    config.global_store.password_file.write_text("0123456789abcdef\n")
    config.global_store.password_file.chmod(0o644)
    config.node.run_dir.chmod(0o777)
    found = find(config, machine)
    assert found["secret"].mend == f"`chmod 600 {config.global_store.password_file}`"
    assert found["permissions"].mend == f"`chmod go-w {config.node.run_dir}`"


def test_a_taken_port_and_a_foreign_address_are_found(config: Config, machine: Path) -> None:
    port = config.global_store.port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 10000))
        assert f"port {port + 10000} of 127.0.0.1 is taken" in find(config, machine)["ports"].seen
    environment = {"AMI_NODE_RUN_DIR": str(config.node.run_dir), "AMI_GLOBAL_STORE_HOST": "203.0.113.1"}
    assert "no address 203.0.113.1" in find(load(environ=environment), machine)["address"].seen


def test_a_node_of_a_cluster_without_its_secret_or_without_an_address_is_found(
    config: Config, machine: Path
) -> None:
    environment = {
        "AMI_NODE_RUN_DIR": str(config.node.run_dir), "AMI_GLOBAL_STORE_START_NODES": "10.0.0.1:7379",
        "AMI_GLOBAL_STORE_PORT": str(config.global_store.port),
    }  # fmt: skip
    found = find(load(environ=environment), machine)
    assert "copy the file" in found["secret"].mend
    assert "ami cluster join" in found["address"].mend
