"""Say of what form the messages are that nodes send to the cluster, so that another version is found."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import fields
from typing import Any, Final

from ami.graph import graph
from ami.graph.execution import windows
from ami.graph.execution.partial import ErrorRecord, Partial
from ami.messages.batch import Batch
from ami.messages.flush import Covers, EntryFacts
from ami.messages.large import IntervalPart, LargeBatch

SENT: Final[tuple[type[Any], ...]] = (
    Batch,
    EntryFacts,
    Covers,
    Partial,
    ErrorRecord,
    LargeBatch,
    IntervalPart,
)


@functools.cache
def sign_sent() -> str:
    """Return what differs where one version of ami could not read what another one sends."""
    told = [
        f"{one.__name__} {getattr(one, 'FORMAT', 1)}: {', '.join(field.name for field in fields(one))}"
        for one in SENT
    ]
    told += [f"graph {graph.FORMAT}", f"windows {windows.FORMAT}"]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
