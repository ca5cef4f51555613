"""See this node's processes as supervisord does, by the names that their keys have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ami.cluster.supervisor import Supervisor

RUNNING = 20  # supervisor.states.ProcessStates.RUNNING


@dataclass(frozen=True, slots=True)
class Program:
    """A running process. ``name`` is TYPE:N, as in the prefix of its keys; ``address`` is supervisord's."""

    name: str
    address: str
    pid: int


def running(supervisor: Supervisor) -> dict[str, Program]:
    """Return the processes that run, by name. Raises what ``ami.cluster.supervisor.NO_ANSWER`` lists."""
    programs = (_program(row) for row in supervisor.getAllProcessInfo() if row["state"] == RUNNING)
    return {program.name: program for program in programs}


def _program(row: dict[str, Any]) -> Program:
    group, name = str(row["group"]), str(row["name"])
    number = name if name.isdigit() else "0"
    return Program(f"{group}:{number}", f"{group}:{name}", int(row["pid"]))
