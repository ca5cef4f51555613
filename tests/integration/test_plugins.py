"""A package that adds to ami from outside, really installed into an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from ami.client import connect
from ami.cluster.node import Node
from tests.node_rig import running
from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
GRAPH = """
results:
  calm:  mean_events(clipped(diode, 0, 0.5))
  same:  mean_events(clip(diode, 0, 0.5))
  seen:  spectrum(waveform, first=7000, step=2)
  plain: mean_events(waveform)
"""
SOURCE = "sim://pump-probe?stop=2000&rate=max"


class Environment:
    """A virtual environment in which ami is installed; what ami needs is the test environment's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "venv"
        venv.create(self.folder, with_pip=False, symlinks=True)
        self.python = self.folder / "bin" / "python"
        paths = sysconfig.get_path("purelib", vars={"base": str(self.folder)})
        Path(paths, "test.pth").write_text(sysconfig.get_path("purelib"))
        # In a copy of the project's folder: an installation writes into it, and a node needs conf and bin.
        copy = folder / "project"
        # Compiled modules come along: otherwise each process of a node would compile all of them at once.
        for name in ("ami", "bin", "conf"):
            shutil.copytree(PROJECT / name, copy / name)
        for name in ("setup.cfg", "pyproject.toml", "README.md"):
            shutil.copy(PROJECT / name, copy)
        self.install("--editable", str(copy))

    def install(self, *what: str) -> None:
        """Install a package from its sources, without a network."""
        pip = (sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet")
        offline = ("--no-index", "--no-deps", "--no-build-isolation")
        command = [*pip, *offline, *what]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def ami(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "bin" / "ami"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="module")
def graph(environment: Environment) -> str:
    (environment.folder / "graph.yaml").write_text(GRAPH)
    return str(environment.folder / "graph.yaml")


@pytest.fixture(scope="module")
def with_example(environment: Environment, graph: str) -> Environment:
    """The environment after the package was installed; before, it says what is missing."""
    without = environment.ami("run", graph, SOURCE)
    assert (without.returncode, without.stdout) == (1, "")
    assert "there is no operation 'clipped'" in without.stderr
    copy = environment.folder / "example"
    shutil.copytree(PROJECT / "tests" / "plugin", copy)
    environment.install(str(copy))
    return environment


def test_operations_of_an_installed_package_are_used_like_ours(with_example: Environment, graph: str) -> None:
    done = with_example.ami("run", graph, SOURCE, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["calm"]["value"] == found["same"]["value"]
    assert found["seen"]["value"]["intensity"] == found["plain"]["value"]
    assert found["seen"]["value"]["energies"] == [7000.0 + 2 * n for n in range(256)]
    assert "refused: ami has one of that name" in done.stderr  # its operation 'sum'
    shown = with_example.ami("run", graph, SOURCE).stdout
    assert "256 energies" in next(line for line in shown.splitlines() if line.startswith("seen"))


def test_a_package_that_cannot_be_imported_costs_its_own_operation_only(with_example: Environment) -> None:
    (with_example.folder / "broken.yaml").write_text("results: {b: last(broken(diode))}")
    done = with_example.ami("run", str(with_example.folder / "broken.yaml"), SOURCE)
    assert done.returncode == 1
    assert "operation 'broken' of package ami-example is refused: it cannot be imported" in done.stderr
    assert "a_module_that_nobody_has" in done.stderr


@pytest.mark.system
def test_a_node_computes_what_a_package_adds(with_example: Environment, graph: str) -> None:
    done = with_example.ami("verify", graph, SOURCE, "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 4 results agree" in done.stdout


@pytest.mark.system
def test_a_node_hands_results_to_an_export_of_a_package(with_example: Environment) -> None:
    path = with_example.folder / "results.jsonl"
    settings = {"AMI_PYTHON": str(with_example.python), "AMI_EXPORT_URIS": f"journal://{path}?results=shots"}
    node = Node(source="sim://pump-probe?rate=1000&stop=1500", workers=1, settings=settings)
    with running(node):
        with connect(node.config, timeout_s=20.0) as client:
            client.add("results: {shots: count(laser), other: count(diode)}")

        def count_last() -> int:
            lines = path.read_text().splitlines() if path.exists() else []
            return int(json.loads(lines[-1])["value"] or 0) if lines else 0

        wait_until(lambda: count_last() == 1500, what="the last event in the file")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["name"] for line in lines} == {"shots"}
    assert [line["value"] for line in lines] == sorted(line["value"] for line in lines)
