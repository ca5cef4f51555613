"""Start a node in the background and stop it, whatever an earlier one left: what `ami up` and `ami down` do.

A supervisord that was killed leaves its programs. So "stopped" is said when no process of the node is left,
not when no supervisord answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ami.cluster import orphans, proc
from ami.cluster.servers import refuse_taken_ports, save
from ami.cluster.supervised import PROJECT, STOP_S, write_settings
from ami.cluster.supervisor import NO_ANSWER, Supervisor
from ami.config import Config, load
from ami.errors import AmiError

Say = Callable[[str], None]
LOOK_S = 0.05


def supervisor_pid(config: Config) -> int:
    """Return the process number of the supervisord that answers; 0 when none does."""
    with contextlib.suppress(*NO_ANSWER):
        return int(Supervisor(config.monitor.supervisor_socket).getPID())
    return 0


def start(config_path: Path | None, say: Say) -> Config:
    """Start a node that goes on when this process has ended; return its settings.

    Raises:
        ConfigError: settings are wrong, or another node is in the way.
        AmiError: supervisord does not start.
    """
    environment = {"AMI_PYTHON": sys.executable} | dict(os.environ)
    if config_path is not None:
        environment["AMI_CONFIG"] = str(config_path.absolute())
    config = load(environ=environment)
    for process in orphans.end(config):
        say(f"ended {process}, which a supervisord that was killed had left")
    refuse_taken_ports(config.global_store)
    command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(_settings(config))]
    done = subprocess.run(
        command, check=False, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        said = " ".join((done.stderr + done.stdout).split())
        raise AmiError(f"supervisord does not start: {said[-400:]}")
    return config


def _settings(config: Config) -> Path:
    """Return supervisord's settings: those of the project, or a copy for a node with folders of its own."""
    path = PROJECT / "conf" / "supervisord.conf"
    if config.monitor.supervisor_socket == PROJECT / "var" / "supervisor.sock":
        (config.node.run_dir / "log").mkdir(mode=0o700, parents=True, exist_ok=True)
        return path
    return write_settings(config)


def stop(config: Config, say: Say) -> bool:
    """Stop the node of these settings, and name what was left of it; return whether there was any.

    Raises:
        AmiError: something still runs, or could not be saved.
    """
    with _alone(config):
        return _stop(config, say)


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Wait until nobody else stops this node: two at once would save the same files."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where nobody can write, nobody saves
            lock = stack.enter_context((config.node.run_dir / "down.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stop(config: Config, say: Say) -> bool:
    ran = _stop_supervisor(config, say)
    why = "did not stop" if ran else "a supervisord that was killed had left"
    ended = orphans.end(config, gently=True)
    for process in ended:
        say(f"ended {process}, which {why}")
    left = orphans.find(config)
    if left:
        named = ", ".join(f"{pid} {kind}" for pid, kind in left.items())
        raise AmiError(f"still running, although asked and killed: {named}")
    problems = save(config.node)
    if problems:
        raise AmiError("; ".join(problems))
    return ran or bool(ended)


def _stop_supervisor(config: Config, say: Say) -> bool:
    """Let supervisord stop its programs in their order, and end itself."""
    supervisor = Supervisor(config.monitor.supervisor_socket)
    pid = supervisor_pid(config)
    if not pid:
        return _kill_silent(config, say)
    supervisor.shutdown()
    deadline = time.monotonic() + STOP_S
    while proc.is_alive(pid):
        if time.monotonic() > deadline:
            raise AmiError(f"supervisord {pid} still runs; see {config.node.run_dir}/log/supervisord.log")
        # It stops the next program when it wakes: once a second, or when it is asked something.
        with contextlib.suppress(*NO_ANSWER):
            supervisor.getState()
        time.sleep(LOOK_S)
    return True


def _kill_silent(config: Config, say: Say) -> bool:
    """Kill a supervisord that lives and does not answer: it would start again what is ended."""
    try:
        pid = int((config.node.run_dir / "supervisord.pid").read_text())
    except (OSError, ValueError):
        return False
    if "supervisord" not in proc.command(pid):
        return False
    say(f"supervisord {pid} does not answer: killed")
    os.kill(pid, signal.SIGKILL)
    return True
