"""Ask this host's supervisord which processes should run; heartbeats only say which ones do.

A process that stays dead has no heartbeat any more after a while. supervisord still knows of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ami.cluster.supervisor import NO_ANSWER, Supervisor

logger = logging.getLogger(__name__)

PATIENCE_S = 0.5
STOPPED = ("STOPPED", "STOPPING")  # somebody asked for that


@dataclass(frozen=True, slots=True)
class Program:
    """A process that should run. ``state`` is supervisord's word; ``pid`` is None while it does not run."""

    type: str
    number: int
    state: str
    pid: int | None

    @property
    def runs(self) -> bool:
        return self.state == "RUNNING"


def programs(socket: Path) -> tuple[Program, ...] | None:
    """Return what should run on this host; None when no supervisord answers here, as on a client's host."""
    try:
        return expected(Supervisor(socket, timeout_s=PATIENCE_S).getAllProcessInfo())
    except NO_ANSWER as error:
        logger.debug("supervisord does not answer: %s", error)
        return None


def expected(rows: Iterable[Mapping[str, Any]]) -> tuple[Program, ...]:
    """Return the processes of supervisord's rows, without those that were stopped, or are done."""
    found = []
    for row in rows:
        state, name = str(row["statename"]), str(row["name"])
        if state in STOPPED or (state == "EXITED" and row["exitstatus"] == 0):
            continue
        # Several of one program are GROUP:0, GROUP:1, ...; one alone has the name of its group.
        number = int(name) if name.isdecimal() else 0
        found.append(Program(str(row["group"]), number, state, int(row["pid"]) or None))
    return tuple(found)
