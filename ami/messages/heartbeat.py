"""What a process says of itself about once a second."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from ami.messages.message import message

# Who moved so much more has got on. Heartbeats and looks at the graph, which never end, are less.
PROGRESS_BYTES = 1 << 20
# How states begin of who does something for the first time: that may take long, and nobody else waits for it.
BEGINNING = ("starting", "waiting", "begins")


@message
class Heartbeat:
    """That a process lives, what it does, and what it counted.

    ``step_age_s``: how long ago its loop came round, or it got on in its step. ``moved_bytes`` went over its
    connections and through shared memory so far. ``piece``: number of the large piece of work that a thread
    beside the loop does now; 0: none. ``operations`` and ``timing`` are of workers: see
    :meth:`ami.daemons.worker.costs.Costs.tell`.

    ``failing``, of global reducers: operations that fail for events of this run, in lines for people.

    Bytes a second: ``traffic`` by where they go ("shared", "local", "global", "disk"), ``states`` that are
    handed on by fingerprint of their reduction, ``results`` that are published by name.
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
    moved_bytes: int = 0
    piece: int = 0
    traffic: dict[str, float] = field(default_factory=dict)
    states: dict[str, float] = field(default_factory=dict)
    results: dict[str, float] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)
