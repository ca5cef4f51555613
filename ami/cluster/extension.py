"""Extend supervisord from within: end orphans, start as many workers as told, count deaths, tell systemd.

supervisord imports this at its start, when its socket is its own, so that no other one runs here, and before
it starts anything. (Rejected: `numprocs` that somebody edits; workers that the monitor starts, for which 250
lines of `supervisorctl status` would say that they do not run; orphans that each program looks for.)
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import Any

from supervisor import events

from ami.cluster import orphans
from ami.cluster.notify import Notifier
from ami.config import Config, load
from ami.errors import ConfigError

KEPT = 100  # deaths of each program
LATELY_S = 60.0
BY_SIGNAL = -1  # as supervisord has it


class Extension:
    """Methods that supervisord answers to under ``ami.``."""

    def __init__(self) -> None:
        self._deaths: dict[str, deque[float]] = {}
        self._signalled: dict[str, bool] = {}
        for kind in (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent):
            events.subscribe(kind, self._note)

    def _note(self, event: Any) -> None:
        if not getattr(event, "expected", True) or isinstance(event, events.ProcessStateBackoffEvent):
            process = event.process
            address = f"{process.group.config.name}:{process.config.name}"
            self._deaths.setdefault(address, deque(maxlen=KEPT)).append(time.monotonic())
            self._signalled[address] = process.exitstatus == BY_SIGNAL

    def deaths(self) -> dict[str, tuple[int, bool]]:
        """Return by GROUP:NAME how often a program died within a minute, and whether by a signal at last."""
        since = time.monotonic() - LATELY_S
        counts = {address: sum(at > since for at in deaths) for address, deaths in self._deaths.items()}
        return {address: (count, self._signalled[address]) for address, count in counts.items() if count}


def tell_systemd() -> None:
    """Say from now on when supervisord runs and when it begins to stop, and that its loop comes round."""
    notifier = Notifier()
    for kind, text in (
        (events.SupervisorRunningEvent, "READY=1"),
        (events.Tick5Event, "WATCHDOG=1"),
        (events.SupervisorStoppingEvent, "STOPPING=1"),
    ):
        events.subscribe(kind, lambda _event, text=text: notifier.tell(text))


def make(supervisord: Any, **_: object) -> Extension:
    """Prepare what is about to start; supervisord calls this."""
    tell_systemd()
    try:
        config = load()
    except ConfigError:
        return Extension()  # each program says it, in a log of its own
    ended = orphans.end(config)
    if ended:
        text = f"ended what was left of a node whose supervisord was killed: {', '.join(ended)}"
        sys.stderr.write(f"ami: {text}\n")
        supervisord.options.logger.warn(text)
    choose(supervisord.process_groups, config)
    return Extension()


def choose(groups: dict[str, Any], config: Config) -> None:
    """Take away the workers, exports and replica for which the settings, or the cores, have no use."""
    wanted = {
        "worker": config.worker.count or len(os.sched_getaffinity(0)),
        "export": len(config.export.uris),
    }
    for kind, count in wanted.items():
        names = list(groups[kind].processes) if kind in groups else []
        for name in [name for name in names if int(name) >= count]:
            del groups[kind].processes[name]
    if not config.global_store.replica_port:
        groups.pop("replica-redis", None)
    if not config.web.host:
        groups.pop("web", None)
