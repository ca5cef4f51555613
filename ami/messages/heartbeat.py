"""What a process says of itself about once a second."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from ami.messages.message import message


@message
class Heartbeat:
    """That a process lives, what it does, and what it counted.

    ``step_age_s``: how long ago its loop came round. ``operations`` and ``timing`` are of workers: see
    :meth:`ami.daemons.worker.costs.Costs.tell`.
    """

    process: str
    pid: int
    started_ns: int
    beat_ns: int
    steps: int
    step_age_s: float
    state: str
    counters: dict[str, float]
    operations: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
