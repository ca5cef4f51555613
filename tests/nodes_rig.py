"""Several nodes of one cluster, each on a machine of its own, as ``ami chaos --nodes`` has them.

A test is skipped, with the reason, where such machines cannot be made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ami.lab import nodes as lab
from ami.lab.machines import NoMachines, refuse_without_namespaces
from ami.lab.nodes import PORT, MachineNode, Nodes

__all__ = ["PORT", "MachineNode", "Nodes", "nodes"]

class MachineNode(Supervised):
    """The node of a machine; ``start``, ``stop``, ``kill`` and ``kill_all`` as of any other.

    Args:
        folder: of all nodes.
        settings: more ``AMI_*`` variables.
    """

    def __init__(
        self,
        machine: Machine,
        folder: Path,
        settings: Mapping[str, str],
        *,
        workers: int,
        programs: Collection[str] | None,
    ) -> None:
        run_dir = folder / machine.name
        run_dir.mkdir()
        (run_dir / "ami.toml").touch()
        environment = {name: text for name, text in os.environ.items() if not name.startswith("AMI_")}
        environment |= {
            "AMI_CONFIG": str(run_dir / "ami.toml"),
            "AMI_NODE_RUN_DIR": str(run_dir),
            "AMI_NODE_HOST": machine.name,
            "AMI_RING_NAME": f"/{folder.name}-{machine.name}",
            "AMI_RING_BYTES": str(64 << 20),
            "AMI_EXPORT_URIS": "prometheus://127.0.0.1:0",
            "AMI_WEB_HOST": "",
            **settings,
        }
        super().__init__(environment, workers=workers, programs=programs, enter=machine.enter)
        own = {name: text for name, text in self.environment.items() if name.startswith("AMI_")}
        (run_dir / _SETTINGS).write_text(json.dumps(own))
        self.machine = machine

    def ami(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line on this machine, as its operator would."""
        check = more.pop("check", True)
        command = (str(PROJECT / "bin" / "ami"), *words)
        done = self.machine.run(*command, env=self.environment, check=False, **more)
        assert not (check and done.returncode), f"ami {' '.join(words)}: {done.returncode}: {done.stderr}"
        return done

    def processes(self) -> dict[int, str]:
        """Return the type (or command) of each process of the node, supervisord's too, by number."""
        return orphans.find(self.config) | {self.supervisor_pid: "supervisord"}

    def freeze(self) -> None:
        """Let all of its processes stand still; others cannot tell it from a machine that hangs."""
        for pid in sorted(self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def end(self) -> None:
        """Kill it, whoever started it, and remove what it leaves: the machine is as if it was never there."""
        with suppress(OSError, ValueError):
            os.kill(int((self.run_dir / "supervisord.pid").read_text()), signal.SIGKILL)
        self.kill_all()
        self.stop(keep=False)
        await_end(self.config.ring.name)

    def thaw(self) -> None:
        """Let them go on, as if no time had passed."""
        for pid in sorted(self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Nodes:
    """Some machines with a node each. Items are nodes, in the order of their machines."""

    def __init__(self, nodes: list[MachineNode]) -> None:
        self._nodes = nodes

    def __getitem__(self, number: int) -> MachineNode:
        return self._nodes[number]

    def __iter__(self) -> Iterator[MachineNode]:
        return iter(self._nodes)

    def start(self) -> Nodes:
        """Start all of them, at once."""
        # Not by threads: supervisord ends with the thread that started it.
        for node in self._nodes:
            node.launch()
        for node in self._nodes:
            node.wait_until_running()
        return self

    def stop(self) -> list[Leftovers]:
        """Stop all of them as operators do, at once."""
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            return list(pool.map(lambda node: node.stop(), self._nodes))

    def end(self) -> None:
        """Kill all of them, whatever was done to them before, and remove what they leave."""
        for node in self._nodes:
            node.end()

    def client(self, number: int = 0, **more: Any) -> Client:
        """Return a client of the cluster with the settings of a node, on the test's own machine."""
        return connect(self._nodes[number].config, **{"name": "test", "timeout_s": PATIENCE_S, **more})


@contextmanager
def nodes(count: int = 3, **how: Any) -> Iterator[Nodes]:
    """See :func:`ami.lab.nodes.nodes`."""
    try:
        refuse_without_namespaces()
    except NoMachines as error:
        pytest.skip(str(error))
    with lab.nodes(count, **how) as found:
        yield found
