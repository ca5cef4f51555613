"""A node as a child of this process, under the real supervisord; its programs are replaced by sleepers.

The programs themselves are run by the tests in tests/system.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ami.cluster import extension, orphans, supervised
from ami.cluster.node import Node, free_port, run_foreground
from ami.cluster.supervised import supervisor_settings
from ami.cluster.supervisor import list_programs
from ami.config import load
from ami.errors import AmiError, ConfigError
from ami.processes import BY_TYPE
from tests.waiting import PATIENCE_S, wait_until

PROJECT = Path(__file__).resolve().parents[2]
SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Replace the project by one whose programs sleep; returns a way to give one of them another text."""
    project = tmp_path / "the project"
    shutil.copytree(PROJECT / "conf", project / "conf")
    (project / "bin").mkdir()

    def replace(name: str, text: str) -> None:
        path = project / "bin" / name
        path.write_text(f'#!/bin/sh\necho "$0 $*: $AMI_SOURCE_URI"\n{text}\n')
        path.chmod(0o755)

    for path in (PROJECT / "bin").glob("ami-*"):
        replace(path.name, SLEEP)
    monkeypatch.setattr(supervised, "PROJECT", project)
    return replace


Programs = Callable[[str, str], None]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_private_node_runs_everything_and_leaves_nothing(programs: Programs) -> None:
    node = Node(source="sim://x?a=1", workers=3).start()
    pids = [node.pid(name) for name in ("source", "worker:0", "worker:2", "local-redis", "monitor")]
    assert node.run_dir.is_dir()
    assert all(pids)
    wait_until(lambda: "--id 2: sim://x?a=1" in node.logs("worker:2"), what="a worker's log")
    assert not node.stop()
    assert not node.run_dir.exists()
    assert all(is_gone(pid) for pid in [*pids, node.supervisor_pid])


def test_two_private_nodes_do_not_meet(programs: Programs) -> None:
    with Node() as one, Node() as other:
        assert one.run_dir != other.run_dir
        assert one.config.ring.name != other.config.ring.name
        assert one.config.global_store.port != other.config.global_store.port
        assert one.pid("source") != other.pid("source")


def test_a_killed_process_comes_back(programs: Programs) -> None:
    with Node(programs=["worker"]) as node:
        killed = node.kill("worker:1")
        wait_until(lambda: node.pid("worker:1") not in (0, killed), what="another worker:1")


def test_only_the_programs_that_were_asked_for_run(programs: Programs) -> None:
    with Node(programs=["local-redis"]) as node:
        assert [info["name"] for info in node.supervisor.getAllProcessInfo()] == ["local-redis"]


def test_a_process_that_was_hidden_from_supervisord_is_killed_and_reported(programs: Programs) -> None:
    programs(
        "ami-source",
        f"setsid sh -c '{SLEEP.replace(chr(39), chr(34))}' & echo $! > $AMI_NODE_RUN_DIR/pid\n{SLEEP}",
    )
    node = Node(programs=["source"]).start()
    wait_until((node.run_dir / "pid").exists, what="the hidden process")
    leftovers = node.stop()
    assert leftovers
    assert all(is_gone(int(line.split()[0])) for line in leftovers.processes)


def test_a_node_whose_supervisord_was_killed_is_stopped_all_the_same(programs: Programs) -> None:
    node = Node(workers=2).start()
    pid = node.pid("worker:0")
    os.kill(node.supervisor_pid, signal.SIGKILL)
    leftovers = node.stop()
    assert str(pid) in [line.split()[0] for line in leftovers.processes]
    assert is_gone(pid)
    assert not node.run_dir.exists()


def test_wrong_settings_of_a_process_are_reported_at_once(programs: Programs) -> None:
    programs("ami-source", "echo 'source.uri: no such file'; exit 2")
    node = Node()
    with pytest.raises(ConfigError, match="source refuses its settings: .*no such file"):
        node.start()
    assert not node.run_dir.exists()


def test_a_process_that_does_not_come_up_is_named_with_its_last_words(programs: Programs) -> None:
    programs("ami-redis", "echo 'port is taken'; exit 1")
    for within_s in (1.5, 10, PATIENCE_S):  # it may take long until it has said anything
        with pytest.raises(AmiError) as caught:
            Node(programs=["global-redis"]).start(within_s=within_s)
        if "port is taken" in str(caught.value):
            assert "global-redis: " in str(caught.value)
            break
    else:
        pytest.fail(f"only {caught.value}")


def test_a_source_that_has_come_to_its_end_counts_as_started(programs: Programs) -> None:
    programs("ami-source", "exit 0")
    with Node(programs=["source"]) as node:
        wait_until(lambda: node.supervisor.getProcessInfo("source")["statename"] == "EXITED", what="its end")


def test_wrong_settings_of_a_private_node_leave_no_folder(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    mkdtemp = tempfile.mkdtemp

    def note(**where: str) -> str:
        folders.append(mkdtemp(**where))
        return folders[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", note)
    with pytest.raises(ConfigError, match="AMI_NO_SUCH"):
        Node(settings={"AMI_NO_SUCH": "1"})
    assert [Path(folder).exists() for folder in folders] == [False]


def test_an_unknown_program_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no such section: program:wroker"):
        supervisor_settings(load(environ={}), ["wroker"])


class _Group:
    def __init__(self, count: int) -> None:
        self.processes = {str(number): None for number in range(count)}


@pytest.mark.parametrize("exports", [0, 1, 2, 7])
@pytest.mark.parametrize("workers", [0, 1, 3, 250])
def test_supervisord_keeps_the_workers_and_exports_that_are_asked_for(workers: int, exports: int) -> None:
    uris = ",".join(f"prometheus://127.0.0.1:{number}" for number in range(exports))
    config = load(environ={"AMI_EXPORT_URIS": uris, "AMI_WORKER_COUNT": str(workers)})
    groups = {"worker": _Group(BY_TYPE["worker"].count), "export": _Group(BY_TYPE["export"].count)}
    extension.choose(groups, config)
    count = workers or len(os.sched_getaffinity(0))
    assert list(groups["worker"].processes) == [str(number) for number in range(count)]
    assert list(groups["export"].processes) == [str(number) for number in range(exports)]


def test_a_supervisord_that_follows_a_killed_one_ends_what_that_left(programs: Programs) -> None:
    programs("ami-source", "exit 1")
    node = Node(workers=1).start()
    try:
        left = {node.pid(name) for name in ("worker:0", "local-reducer", "monitor")}
        wait_until(lambda: node.supervisor.deaths().get("source:source", (0,))[0] >= 3, what="a crash loop")
        loop = next(p for p in list_programs(node.config.monitor.supervisor_socket) if p.type == "source")
        assert loop.is_in_trouble
        assert loop.reason.startswith(str(supervised.PROJECT / "bin" / "ami-source"))  # what it said last
        os.kill(node.supervisor_pid, signal.SIGKILL)
        wait_until(lambda: not node.is_alive(), what="the death of supervisord")
        assert not any(map(is_gone, left))
        assert set(orphans.find(node.config)) >= left
        node.start()
        assert all(map(is_gone, left))
        said = (node.run_dir / "log" / "supervisord.log").read_text()
        assert all(f"{pid} " in said.split("ended what was left")[1].splitlines()[0] for pid in left)
    finally:
        node.stop()


def test_an_installation_without_conf_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "PROJECT", tmp_path)
    with pytest.raises(ConfigError, match="supervisord.conf: cannot be read"):
        supervisor_settings(load(environ={}))


def test_a_percent_sign_in_a_folder_is_escaped_for_supervisord() -> None:
    text = supervisor_settings(load(environ={"AMI_NODE_RUN_DIR": "/tmp/50%s"}))
    assert "logfile=/tmp/50%%s/log/supervisord.log" in text
    assert "here" not in text.replace("there", "")


def test_a_free_port_and_its_bus_can_be_bound() -> None:
    port = free_port()
    assert port + 10000 < 45000
    for candidate in (port, port + 10000):
        with socket.socket() as server:
            server.bind(("127.0.0.1", candidate))


FOREGROUND = """
import sys
from pathlib import Path
from ami.cluster import extension, orphans, supervised
from ami.errors import AmiError
from ami.cluster.node import run_foreground
supervised.PROJECT = Path(sys.argv[1])
def on_ready(config, graph):
    print("ready", config.source.uri, graph, flush=True)
try:
    sys.exit(run_foreground(None, "static://x", Path("g.yaml"), on_ready))
except AmiError as error:
    print(error)
    sys.exit(3)
"""


def foreground(run_dir: Path, port: int) -> subprocess.Popen[str]:
    run_dir.mkdir(exist_ok=True)
    (run_dir / "ami.toml").touch()
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AMI_")} | {
        "AMI_CONFIG": str(run_dir / "ami.toml"),
        "AMI_NODE_RUN_DIR": str(run_dir),
        "AMI_RING_NAME": f"/ami-{run_dir.name}",
        "AMI_GLOBAL_STORE_PORT": str(port),
        "PYTHONPATH": str(PROJECT),
    }
    command = [sys.executable, "-c", FOREGROUND, str(supervised.PROJECT)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    assert len(str(path)) < 90
    return path


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_in_the_foreground_stops_cleanly_on_a_signal(
    programs: Programs, run_dir: Path, signum: signal.Signals
) -> None:
    port = free_port()
    with foreground(run_dir, port) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"starting a node; its logs are in {run_dir}/log\n"
        assert process.stdout.readline() == "ready static://x g.yaml\n"
        pid = int((run_dir / "supervisord.pid").read_text())
        process.send_signal(signum)
        rest = process.stdout.read()
        assert process.wait(PATIENCE_S) == 0
    assert rest.splitlines()[-1].startswith("stopped; ")
    assert "had to kill" not in rest
    assert is_gone(pid)
    assert not [path for path in run_dir.iterdir() if path.is_socket()]


def test_a_second_node_in_the_same_folder_is_refused(programs: Programs, run_dir: Path) -> None:
    with foreground(run_dir, free_port()) as first:
        assert first.stdout is not None
        first.stdout.readline()
        first.stdout.readline()
        with foreground(run_dir, free_port()) as second:
            assert second.stdout is not None
            assert "a node runs already in" in second.stdout.read()
            assert second.wait(PATIENCE_S) == 3
        assert first.poll() is None
        first.terminate()


def test_a_port_that_is_taken_is_named_before_anything_starts(programs: Programs, run_dir: Path) -> None:
    with socket.socket() as server:
        port = free_port()
        server.bind(("127.0.0.1", port))
        server.listen()
        with foreground(run_dir, port) as process:
            assert process.stdout is not None
            assert f"global_store.port {port} of 127.0.0.1 is taken" in process.stdout.read()
            assert process.wait(PATIENCE_S) == 3


def test_a_node_dies_with_the_process_that_started_it(programs: Programs, run_dir: Path) -> None:
    with foreground(run_dir, free_port()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        pid = int((run_dir / "supervisord.pid").read_text())
        process.kill()
    wait_until(lambda: is_gone(pid), what="supervisord to stop after its parent")


def test_what_on_ready_raises_stops_the_node(
    programs: Programs, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AMI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AMI_NODE_RUN_DIR", str(run_dir))
    monkeypatch.setenv("AMI_GLOBAL_STORE_PORT", str(free_port()))
    monkeypatch.setenv("AMI_RING_NAME", f"/ami-{run_dir.name}")

    def on_ready(*_: object) -> None:
        raise AmiError("a graph that nobody can run")

    with pytest.raises(AmiError, match="nobody can run"):
        run_foreground(None, None, None, on_ready)
    assert not (run_dir / "supervisord.pid").exists()
