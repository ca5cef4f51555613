"""Keep a supervisord and its programs as children of this process, and see that nothing is left of them.

The programs are those of ``conf/supervisord.conf`` as they stand there, with other folders: so what
tests start is what operators start.
"""

from __future__ import annotations

import configparser
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ami.cluster import memory, orphans
from ami.cluster.servers import save
from ami.cluster.supervisor import NO_ANSWER, Supervisor
from ami.config import Config, load
from ami.errors import AmiError, ConfigError, RingBusy
from ami.ring import find_leaked, reclaim

PROJECT = Path(__file__).resolve().parents[2]
START_S = 100.0  # what fails says so at once; a busy machine only takes long
# As for systemd: the programs are stopped one after the other, the source after up to 15 s, others 10 s.
STOP_S = 100.0

_LIBC = ctypes.CDLL(None)  # loaded here, because little is safe between fork and exec


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What an orderly stop did not remove, and force then did."""

    processes: tuple[str, ...] = ()  # "PID TYPE", or its command
    segments: tuple[str, ...] = ()  # POSIX names of shared memory and semaphores
    sockets: tuple[str, ...] = ()  # paths
    unsaved: tuple[str, ...] = ()  # which store stays in memory, and why

    def __bool__(self) -> bool:
        return bool(self.processes or self.segments or self.sockets or self.unsaved)


class Supervised:
    """A supervisord of a node and its programs, as children of this process.

    Programs are named as in keys: ``source``, ``worker:0``, ``local-redis``, ...

    Args:
        environment: of all processes; its ``AMI_*`` variables are the node's settings.
        workers: how many; None is what the settings say.
        programs: those to start; None is all.
        enter: words before supervisord's command, which lead it to another machine: ``nsenter ... --``.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        workers: int | None = None,
        programs: Collection[str] | None = None,
        enter: Sequence[str] = (),
    ) -> None:
        if workers is not None:
            environment = {**environment, "AMI_WORKER_COUNT": str(workers)}
        self.config = load(environ=environment)
        self.run_dir = self.config.node.run_dir
        # The launchers in bin/ shall use the Python that runs this.
        self.environment = {"AMI_PYTHON": sys.executable} | dict(environment)
        self.supervisor = Supervisor(self.config.monitor.supervisor_socket)
        self._programs = programs
        self._enter = tuple(enter)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def supervisor_pid(self) -> int:
        if self._process is None:
            raise AmiError("the node was not started")
        return self._process.pid

    def is_alive(self) -> bool:
        """Say whether supervisord lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, within_s: float = START_S) -> Self:
        """Start the programs and wait until all of them run.

        Raises:
            ConfigError: a program says that settings are wrong.
            AmiError: a program does not come up in time.
        """
        self.launch()
        try:
            self.wait_until_running(within_s)
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self) -> None:
        """Start supervisord, and with it the programs, and wait for nothing."""
        settings = write_settings(self.config, self._programs)
        log_dir = self.run_dir / "log"
        # -P: a folder of files named like libraries may be the current one.
        daemon = ("-m", "supervisor.supervisord", "-n", "-c", str(settings))
        command = [*self._enter, sys.executable, "-P", *daemon]
        with (log_dir / "supervisord.out").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for this process only, which then stops the programs in their order.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # calls one function of libc
            )

    def stop(self, within_s: float = STOP_S, *, keep: bool = True) -> Leftovers:
        """Stop the programs in their order, then remove what is left, and say what that was.

        ``keep``: what the stores have is brought to the disk, for the next start.
        """
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._hurry(within_s)
        processes = orphans.end(self.config)
        segments = tuple(name for name in find_leaked(self.config.ring.name) if name == self.config.ring.name)
        for name in segments:
            # Busy again: another node has a ring of this name, and it is that node's now.
            with contextlib.suppress(RingBusy):
                reclaim(name)
        sockets = tuple(sorted(str(path) for path in self.run_dir.glob("*.sock*") if path.is_socket()))
        for path in sockets:
            os.unlink(path)
        return Leftovers(processes, segments, sockets, tuple(self._empty_memory(keep)))

    def _empty_memory(self, keep: bool) -> list[str]:
        if keep:
            return save(self.config.node)
        for tier in memory.TIERS:
            memory.discard(memory.folder_of(self.config.node, tier))
        return []

    def pid(self, process: str) -> int:
        """Return the process number; 0 while it does not run."""
        return int(self.supervisor.getProcessInfo(process)["pid"])

    def kill(self, process: str, signum: int = signal.SIGKILL) -> int:
        """Send a signal to a process, and return its number."""
        pid = self.pid(process)
        if pid == 0:
            raise AmiError(f"{process} does not run")
        os.kill(pid, signum)
        return pid

    def kill_all(self) -> None:
        """Kill -9 supervisord with its whole group, as a power cut would; ``start`` starts the node again."""
        if self._process is not None:
            self._process.kill()
        orphans.end(self.config)
        if self._process is not None:
            self._process.wait()

    def logs(self, process: str) -> str:
        """Return what a process has written so far."""
        path = self.run_dir / "log" / f"{process.replace(':', '-')}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _hurry(self, within_s: float) -> None:
        """Wait until supervisord has ended."""
        assert self._process is not None
        deadline = time.monotonic() + within_s
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
            # supervisord stops the next program when it wakes, which is once a second or when
            # it is asked something. Without asking, a stop takes 5 s instead of less than 1 s.
            with contextlib.suppress(*NO_ANSWER):
                self.supervisor.getState()
            time.sleep(0.02)

    def wait_until_running(self, within_s: float = START_S) -> None:
        """Wait until all programs run.

        Raises:
            ConfigError: a program says that settings are wrong.
            AmiError: a program does not come up in time.
        """
        deadline = time.monotonic() + within_s
        waiting_for = {"supervisord": "no answer"}
        while waiting_for:
            if not self.is_alive():
                raise AmiError(f"supervisord ended at once: {_tail(self._output())}")
            if time.monotonic() > deadline:
                seen = "; ".join(
                    f"{name}: {state}: {_tail(self.logs(name))}" for name, state in waiting_for.items()
                )
                raise AmiError(f"not running after {within_s:g} s: {seen}")
            time.sleep(0.05)
            try:
                waiting_for = self._not_running()
            except NO_ANSWER:
                continue

    def _not_running(self) -> dict[str, str]:
        """Return the programs that do not run, with the state of each."""
        found: dict[str, str] = {}
        for program in self.supervisor.programs():
            name = program.address
            if program.state == "EXITED" and program.exit_code == 2:
                raise ConfigError(f"{name} refuses its settings: {_tail(self.logs(name))}")
            if program.state == "FATAL":
                raise AmiError(f"{name} does not start: {_tail(self.logs(name))}")
            if not (program.runs or program.is_done):
                found[name] = program.state
        return found

    def _output(self) -> str:
        return (self.run_dir / "log" / "supervisord.out").read_text(errors="replace")


def write_settings(config: Config, programs: Collection[str] | None = None) -> Path:
    """Write supervisord's settings into the node's folder, and make one for its logs; return their path.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    path = config.node.run_dir / "supervisord.conf"
    try:
        (config.node.run_dir / "log").mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(supervisor_settings(config, programs))
    except OSError as error:
        raise ConfigError(
            f"node.run_dir: {error.filename or path}: {error.strerror}; nothing can run without its logs: "
            f"make room or let it be written to, or set AMI_NODE_RUN_DIR"
        ) from error
    return path


def supervisor_settings(config: Config, programs: Collection[str] | None = None) -> str:
    """Return ``conf/supervisord.conf`` with the folders of ``config``.

    Raises:
        ConfigError: this installation has no ``conf/supervisord.conf``, or no such program.
    """
    path = PROJECT / "conf" / "supervisord.conf"
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    if not parser.read(path):
        raise ConfigError(f"{path}: cannot be read; a node needs ami's folder with conf and bin")
    folders = {
        "%(here)s/../var/supervisor.sock": str(config.monitor.supervisor_socket),
        "%(here)s/../var": str(config.node.run_dir),
        "%(here)s/../bin": str(PROJECT / "bin"),
        "%(here)s/..": str(Path.cwd()),  # relative paths in a source's URI begin where the caller is
    }
    known = [section for section in parser.sections() if section.startswith("program:")]
    wanted = known if programs is None else [f"program:{program}" for program in programs]
    if unknown := set(wanted) - set(known):
        raise ConfigError(f"{path}: no such section: {', '.join(sorted(unknown))}")
    for section in parser.sections():
        if section in known and section not in wanted:
            parser.remove_section(section)
            continue
        for name, text in parser.items(section):
            for old, new in folders.items():
                text = text.replace(old, new.replace("%", "%%"))
            parser.set(section, name, text)
    lines = ["; Written at each start from conf/supervisord.conf."]
    for section in parser.sections():
        lines += ["", f"[{section}]", *(f"{name}={text}" for name, text in parser.items(section))]
    return "\n".join(lines) + "\n"


def _die_with_parent() -> None:
    # Runs in the child: if this process is killed, the kernel asks supervisord to stop.
    _LIBC.prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG


def _tail(text: str, lines: int = 3) -> str:
    return " | ".join(text.splitlines()[-lines:]) or "it wrote nothing"
