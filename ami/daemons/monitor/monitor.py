"""Be the node's robustness monitor: find the processes that hang, and have supervisord restart them.

supervisord restarts what dies (told by the monitor, at once); it cannot see what hangs. A process
hangs when its heartbeat stops, when neither its loop comes round nor bytes go through its hands, when the
same is so of a piece of work beside its loop, or when a worker stays at one block. The monitor judges
nobody by heartbeats while Control does not answer: then silence means nothing.

A server hangs when it answers nothing at its own address. What it cannot do now (it loads its file, another
machine's share of the cluster is down) it says, alive; the servers alone decide who takes whose place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ami.cluster import proc, whose
from ami.cluster.accounts import Accounts
from ami.cluster.halting import Halting
from ami.cluster.proc import OwnTime
from ami.cluster.supervisor import NO_ANSWER, Program, Supervisor
from ami.daemons.monitor.deaths import Deaths
from ami.daemons.monitor.files import Files
from ami.daemons.monitor.judgement import START_S, Attention, Judgement, Sign
from ami.daemons.monitor.neighbours import Neighbours
from ami.daemons.process.stage import Setup
from ami.errors import RingError, StoreError
from ami.messages.heartbeat import BEGINNING, PROGRESS_BYTES, Heartbeat
from ami.processes import DAEMONS
from ami.ring.observer import RingObserver
from ami.stores import keys, roles
from ami.stores.opened import Stores
from ami.stores.server import LocalServerLink, OneServer, ServerLink

logger = logging.getLogger(__name__)

# Each look wakes supervisord and asks Control for each heartbeat, of which there is one a second.
LOOK_S = 1.0
SOON_S, RECENT_S = 0.3, 1.0  # after a death, for so long: the next process is not watched yet
ANSWER_S = 0.5
STOPPING_LOOK_S = 0.05  # while the cluster is stopped, phase by phase: others wait for this node
ACCOUNTS_LOOKS = 5  # of looks one is for accounts
SELF = "monitor:0"
LAUNCHER = "ami.cluster.servers"
BEATEN = ("heartbeat", "beginning", "piece")  # kinds of signs that go through Control
BY_OWN = ("block", "beginning")  # kinds that are judged by the process' own time, as every start is
# A piece of work beside the loop may compute so many times longer than the loop.
PIECE_TIMES = 20


class MonitorStage:
    """Watches the processes of one node."""

    def __init__(self, setup: Setup) -> None:
        self._config = config = setup.config
        # Stores of its own, of short patience: a server that is slow to answer is what it is to find out.
        hurried = replace(config, global_store=replace(config.global_store, timeout_s=ANSWER_S))
        self._stores = Stores(hurried, roles.MONITOR)
        self._global = self._stores.host("monitor", setup.number)
        own = config.global_store
        self._servers: dict[str, OneServer] = {
            "local-redis:0": LocalServerLink(config.local_store, answer_s=ANSWER_S),
            "global-redis:0": ServerLink(own, (own.host, own.port), answer_s=ANSWER_S),
            "replica-redis:0": ServerLink(own, (own.host, own.replica_port), answer_s=ANSWER_S),
        }
        cluster = self._stores.cluster
        self._accounts = Accounts(cluster("graph-manager"))
        self._neighbours = Neighbours(config, cluster("global-reducer"), cluster("monitor"))
        self._supervisor = Supervisor(config.monitor.supervisor_socket)
        self._halting = Halting(config, cluster("graph-manager"), self._supervisor)
        self._deaths = Deaths()
        self._files = Files()
        self._ring: RingObserver | None = None
        hang_s = config.monitor.hang_s
        patience_s = {"answers": hang_s, "heartbeat": hang_s, "piece": PIECE_TIMES * hang_s}
        patience_s["beginning"] = START_S
        patience_s["block"] = 2 * config.worker.hang_s
        # Events in which a worker hung are tried apart by its successor. It interrupts by itself what it can.
        self._judgement = Judgement(patience_s, strict={"block"}, by_own=BY_OWN)
        self._attention, self._now = Attention(), 0.0
        self._own: dict[int, OwnTime] = {}
        self._looks = 0
        self._soon_until = 0.0
        self._hears = False  # whether Control answered at the last look
        self._restarts = 0

    @property
    def state(self) -> str:
        gone = self._neighbours.gone
        return f"running; gone: {', '.join(gone)}" if gone else "running"

    @property
    def counters(self) -> Mapping[str, float]:
        return {"restarts": self._restarts, "watched": self._judgement.watched}

    def start(self) -> None:
        """There is nothing to wait for: it is to watch how the others come up."""

    def step(self) -> None:
        # supervisord looks after dead children when it wakes: once a second, or when it is asked
        # something. Asked at the moment of the death, it starts the next one 0.03 s later.
        look_s = SOON_S if time.monotonic() < self._soon_until else LOOK_S
        if self._deaths.wait(STOPPING_LOOK_S if self._halting.is_asked else look_s):
            self._soon_until = time.monotonic() + RECENT_S
        try:
            programs = self._supervisor.programs()
            processes = {program.name: program for program in programs if program.runs}
        except NO_ANSWER as error:
            logger.debug("supervisord does not answer: %s", error)
            return
        self._deaths.watch(program.pid for program in processes.values())
        processes.pop(SELF, None)
        self._looks += 1
        self._now = self._attention.look(time.monotonic())
        if self._attention.was_away:
            self._judgement.forget("block")  # which is judged by the workers' own time
        self._judgement.keep(processes)
        pids = [program.pid for program in processes.values()]
        self._own = {pid: self._own.get(pid) or OwnTime(pid) for pid in pids}
        for how, name, sign in self._signs(processes):
            if name in processes:
                self._judge(how, processes[name], sign)
        self._look_at_files(processes)
        if self._hears:  # or it would wait once more
            self._obey(programs)
            if self._looks % ACCOUNTS_LOOKS == 1:
                self._tell_accounts(processes)
        if self._config.global_store.start_nodes:
            self._neighbours.look()

    def _look_at_files(self, processes: Mapping[str, Program]) -> None:
        for name in self._servers.keys() & processes.keys():
            try:
                self._files.look(name, self._servers[name])
            except StoreError as error:
                logger.debug("%s does not say how its file is: %s", name, error)

    def _signs(self, processes: Mapping[str, Program]) -> Iterator[tuple[str, str, Sign]]:
        """Yield how each process shows that it lives: by what, which process, and the sign."""
        for name in self._servers.keys() & processes.keys():
            # One that waits for room, or for a port, is no server yet, and says so itself.
            waits = LAUNCHER in proc.command(processes[name].pid)
            # A new sign each time that it answers, the same one while it is silent.
            yield "answers", name, self._looks if waits or self._servers[name].answers() else None
        try:
            beats = self._beats(processes)
            self._hears = True
        except StoreError:
            self._hears = False
            for kind in BEATEN:
                self._judgement.forget(kind)
        else:
            for name, beat in beats.items():
                moved = None if beat is None else beat.moved_bytes // PROGRESS_BYTES
                sign = None if beat is None else (beat.steps, moved)
                begins = beat is not None and beat.state.startswith(BEGINNING)
                yield "heartbeat", name, self._looks if begins else sign
                yield "beginning", name, sign if begins else self._looks
                busy = beat is not None and beat.piece
                yield "piece", name, (busy, moved) if busy else self._looks
        yield from self._blocks()

    def _beats(self, processes: Mapping[str, Program]) -> dict[str, Heartbeat | None]:
        """Return each daemon's heartbeat, None without one.

        Its own time is no sign: its thread beats also while the main loop hangs.
        """
        beats: dict[str, Heartbeat | None] = {}
        for name in processes:
            kind, _, number = name.rpartition(":")
            if kind not in DAEMONS:  # a server, or what an operator added: it has no heartbeat
                continue
            beat = self._stores.host(kind, int(number)).get(keys.HEARTBEAT)
            # That of a predecessor is there for half a minute, and says nothing of one that is starting.
            mine = isinstance(beat, Heartbeat) and beat.pid == processes[name].pid
            beats[name] = beat if mine else None
        return beats

    def _blocks(self) -> Iterator[tuple[str, str, Sign]]:
        """Yield what each worker is running; one that runs nothing gives a new sign each time."""
        try:
            if self._ring is not None and self._ring.replaced:
                self._ring.close()
                self._ring = None
            if self._ring is None:
                whose.refuse_foreign(self._config)
                self._ring = RingObserver(self._config.ring.name)
            for number, place in self._ring.workers().items():
                if place.alive:
                    yield "block", f"worker:{number}", place.since_ns if place.count else self._looks
        except RingError:
            if self._ring is not None:
                self._ring.close()
            self._ring = None

    def _obey(self, programs: Sequence[Program]) -> None:
        """Stop what is to be stopped, if somebody stops the cluster."""
        try:
            self._halting.step(programs)
        except (StoreError, *NO_ANSWER) as error:
            logger.debug("nothing stopped: %s", error)

    def _tell_accounts(self, processes: Mapping[str, Program]) -> None:
        """Let in at this node's servers who was given access to the cluster, and nobody else."""
        for name in ("global-redis:0", "replica-redis:0"):
            server = self._servers[name]
            if name in processes and isinstance(server, ServerLink):
                try:
                    self._accounts.tell(server)
                except StoreError as error:
                    logger.debug("accounts not told to %s: %s", server, error)

    def _judge(self, how: str, process: Program, sign: Sign) -> None:
        # What code, and a start, had of a core: on a loaded machine they wait for one most of the time.
        counts = sign is None or (how in BY_OWN and sign != self._looks)
        own = self._own[process.pid].read() if counts else None
        silent_s = self._judgement.silent_s(how, process.name, process.pid, sign, self._now, own)
        if silent_s is None or (how in BEATEN and self._nobody_can_write()):
            return
        logger.error("%s hangs: no new %s for %.1f s; restarting it", process.name, how, silent_s)
        self._restarts += 1
        try:
            self._supervisor.signalProcess(process.address, "KILL")
        except NO_ANSWER as error:
            logger.error("supervisord did not kill it: %s", error)

    def _nobody_can_write(self) -> bool:
        """Say whether heartbeats stay the same because Control, which is read, takes nothing."""
        try:
            trouble = bool(self._global.troubles())
        except StoreError:
            trouble = True
        return trouble

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._deaths.close()
        self._neighbours.close()
        for server in self._servers.values():
            server.close()
        self._stores.close()
