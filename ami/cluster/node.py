"""Run a node: in the foreground for people, privately for tests and benchmarks.

A private node has a folder, a ring and a port of its own, so that it meets no other, and leaves
nothing behind.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Self

from ami.cluster import orphans
from ami.cluster.servers import BUS, is_taken, refuse_taken_ports
from ami.cluster.signals import ignore_signals, stoppable
from ami.cluster.supervised import STOP_S, Leftovers, Supervised
from ami.cluster.supervisor import NO_ANSWER
from ami.config import Config, load
from ami.errors import AmiError, ConfigError

LOOK_S = 5.0
PRIVATE_RING_BYTES = 64 << 20


class Node(Supervised):
    """A private node: own folder, ring and port, default settings but those given; gone after ``stop``.

    As a context it is discarded at the end.

    Args:
        source: URI; None is the default source.
        settings: more ``AMI_*`` variables.
        below: where its folder is made. Not where TMPDIR says: the path of a socket may have 107 bytes.
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        workers: int = 2,
        settings: Mapping[str, str] | None = None,
        programs: Collection[str] | None = None,
        below: Path = Path("/tmp"),
    ) -> None:
        run_dir = Path(tempfile.mkdtemp(prefix="ami-", dir=below))
        (run_dir / "ami.toml").touch()
        environment = {name: text for name, text in os.environ.items() if not name.startswith("AMI_")}
        environment |= {
            "AMI_CONFIG": str(run_dir / "ami.toml"),
            "AMI_NODE_RUN_DIR": str(run_dir),
            "AMI_RING_NAME": f"/{run_dir.name}",
            "AMI_RING_BYTES": str(PRIVATE_RING_BYTES),
            "AMI_GLOBAL_STORE_PORT": str(free_port()),
            "AMI_EXPORT_URIS": "prometheus://127.0.0.1:0",
            "AMI_WEB_HOST": "",  # who looks at a private node's page asks for one
            "AMI_WEB_PORT": "0",
        }
        if source is not None:
            environment["AMI_SOURCE_URI"] = source
        try:
            super().__init__(environment | dict(settings or {}), workers=workers, programs=programs)
        except ConfigError:
            shutil.rmtree(run_dir)
            raise

    def stop(self, within_s: float = STOP_S, *, keep: bool = False) -> Leftovers:
        """Stop it and remove its folder; ``keep``: leave that for another start."""
        leftovers = super().stop(within_s, keep=keep)
        if not keep:
            shutil.rmtree(self.run_dir, ignore_errors=True)
        return leftovers

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        with ignore_signals():
            self.discard()

    def discard(self) -> None:
        """Kill it and remove what it leaves. What it has not handed on nobody wants; a stop takes seconds."""
        if self.is_alive():
            # It restarts nothing any more. Should this process be killed now, it stops the node by itself.
            os.kill(self.supervisor_pid, signal.SIGTERM)
        orphans.end(self.config)
        self.stop()


def run_foreground(
    config_path: Path | None,
    source: str | None,
    graph: Path | None,
    on_ready: Callable[[Config, Path | None], None],
    on_look: Callable[[Config], None] = lambda _config: None,
) -> int:
    """Run a node until SIGINT, SIGTERM or SIGHUP, then stop it and leave no process, socket or segment.

    Args:
        source: URI instead of the settings' one.
        graph: handed on to ``on_ready``.
        on_ready: called once all programs run; what it raises stops the node.
        on_look: called every few seconds from then on.

    Returns:
        Exit code: 0 stopped as asked, 1 supervisord died.

    Raises:
        ConfigError: settings are wrong, or another node is in the way.
    """
    environment = dict(os.environ)
    if config_path is not None:
        environment["AMI_CONFIG"] = str(config_path.absolute())
    if source is not None:
        environment["AMI_SOURCE_URI"] = source
    environment["AMI_NODE_RUN_DIR"] = str(load(environ=environment).node.run_dir)
    node = Supervised(environment)
    _refuse_neighbours(node)

    with stoppable():
        try:
            _say(f"starting a node; its logs are in {node.run_dir}/log")
            node.start()
            on_ready(node.config, graph)
            _look_after(node, on_look)
            _say("supervisord died; see its log")
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            with ignore_signals():
                _say("stopping: source, workers, reducers, stores")
                leftovers = node.stop()
                for process in leftovers.processes:
                    _say(f"had to kill {process}")
                for problem in leftovers.unsaved:
                    _say(problem)
                _say(f"stopped; graphs and results stay in {node.run_dir}")


def _look_after(node: Supervised, on_look: Callable[[Config], None]) -> None:
    """Look at a node every few seconds, until its supervisord has died."""
    looked_at = time.monotonic()
    while node.is_alive():
        time.sleep(0.2)
        if time.monotonic() - looked_at > LOOK_S:
            on_look(node.config)
            looked_at = time.monotonic()


def free_port() -> int:
    """Return a port that is free, and whose neighbour 10000 higher, for the cluster's bus, is free too."""
    # Below the kernel's ephemeral ports, so that no outgoing connection takes it in the meantime.
    for port in random.sample(range(10000, 20000), 100):
        if not any(is_taken("127.0.0.1", candidate) for candidate in (port, port + BUS)):
            return port
    raise AmiError("found no free port between 10000 and 20000")


def _refuse_neighbours(node: Supervised) -> None:
    try:
        pid = node.supervisor.getPID()
    except NO_ANSWER:
        pass
    else:
        raise ConfigError(
            f"a node runs already in {node.run_dir} (supervisord {pid}): stop it with make down"
        )
    refuse_taken_ports(node.config.global_store)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
