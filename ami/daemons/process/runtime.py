"""Run one stage as a process: settings, signals, retries, heartbeat, exit code.

A stage steps; this loops. Everything that all daemons must do alike is here, so that a stage
holds only its own work and tests can step it without a process.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType

from ami.config import Config
from ami.daemons.process.heartbeat import Heart
from ami.daemons.process.name import NodeName
from ami.daemons.process.stage import Patience, Setup, Stage, Stopping
from ami.errors import FAULTS, AmiError, ConfigError, RingError, StoreFull, StoreUnavailable
from ami.stores import roles
from ami.stores.opened import Stores
from ami.stores.wire import Traffic

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_BUG = 1
EXIT_CONFIG = 2

# What heals by itself is tried again: soon at first, because a killed store is back within
# a fraction of a second, then once a second.
RETRY_FIRST_S = 0.05
RETRY_LAST_S = 1.0
SAY_AGAIN_S = 10.0
LIVE_S = 1.0  # the least that a process lives that ends by a bug


MakeStage = Callable[[Setup], Stage]


class _Patience:
    """How long to wait before the next try, and whether to say so again."""

    def __init__(self) -> None:
        self._wait_s = RETRY_FIRST_S
        self._said = ""
        self._said_at = 0.0

    def over(self) -> None:
        self._wait_s = RETRY_FIRST_S
        self._said = ""

    def next_s(self, error: AmiError) -> float:
        now = time.monotonic()
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, RETRY_LAST_S)
        if str(error) != self._said or now - self._said_at > SAY_AGAIN_S:
            logger.warning("%s; trying again", error)
            self._said, self._said_at = str(error), now
        return wait_s


def run(process_type: str, make: MakeStage, config: Config, number: int = 0) -> int:
    """Make the stage and step it until SIGTERM or SIGINT, then close it. Returns an exit code."""
    stopping = _listen()
    started = time.monotonic()
    stores = Stores(config, roles.of_process(process_type))
    shared, patience = Traffic(), Patience()
    traffic = {**stores.traffic, "shared": shared}
    name = NodeName(stores.cluster("global-reducer"), config.node)
    every_s, own = config.monitor.heartbeat_s, stores.host(process_type, number)
    heart = Heart(own, every_s, traffic, patience, name, lost=stopping.set)
    setup = Setup(
        config=config,
        stores=stores,
        number=number,
        stopping=stopping,
        shared=shared,
        patience=patience,
        gets_on=heart.count_step,
        alone=True,
        name=name,
    )
    stage: Stage | None = None
    try:
        heart.start()
        stage = make(setup)
        # The monitor is to see to servers that do not answer: it takes the name when one does.
        if _start(stage, stopping, heart, None if process_type == "monitor" else name):
            logger.info("started")
            heart.watch(stage)
            _loop(stage, stopping, heart)
        if name.taken_by:
            raise ConfigError(name.taken_by)
    except ConfigError as error:
        logger.critical("%s", error)
        return EXIT_CONFIG
    except FAULTS:
        logger.exception("stopped by a bug")
        # supervisord starts the next one at once, and that may meet the same bug at once.
        stopping.wait(started + LIVE_S - time.monotonic())
        return EXIT_BUG
    finally:
        _close(stage)
        heart.stop()
        stores.close()
    logger.info("stopped as asked")
    return EXIT_OK


def _listen() -> Stopping:
    """Return what is set when the process is asked to stop."""
    stopping = Stopping()

    def ask_to_stop(_signum: int, _frame: FrameType | None) -> None:
        # Nothing else may happen here. A handler runs between two bytecodes of the main
        # thread, which may hold the log's lock or be half through a Redis command.
        stopping.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, ask_to_stop)
    return stopping


def _start(stage: Stage, stopping: Stopping, heart: Heart, name: NodeName | None) -> bool:
    """Start the stage as soon as that is possible; return whether it was, before it was to stop."""
    patience = _Patience()
    while not stopping.is_set():
        try:
            if name is not None:
                name.take()
            stage.start()
        except (StoreUnavailable, StoreFull, RingError) as error:
            heart.wait_for(str(error))
            stopping.wait(patience.next_s(error))
        else:
            return True
    return False


def _loop(stage: Stage, stopping: Stopping, heart: Heart) -> None:
    patience = _Patience()
    while not stopping.is_set():
        try:
            stage.step()
        except (StoreUnavailable, StoreFull) as error:
            stopping.wait(patience.next_s(error))
        else:
            patience.over()
        heart.count_step()


def _close(stage: Stage | None) -> None:
    try:
        if stage is not None:
            stage.close()
    except AmiError as error:
        logger.error("not everything could be handed on: %s", error)
