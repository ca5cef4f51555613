"""Turn the nodes' batches into results, interval by interval; knows no store.

A batch is merged as soon as it comes: merging is commutative, so neither nodes nor supplements need an
order within a run. What is published says which nodes are in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ami.event import Transition
from ami.graph import Graph
from ami.graph.partial import Partial
from ami.graph.windows import Accumulator, Computed
from ami.result import Events, Result

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Totals:
    """The account of a run: ``expected`` = ``reduced`` + ``dropped`` + ``set_aside`` + what is under way."""

    expected: int = 0
    reduced: int = 0
    dropped: int = 0
    set_aside: int = 0


@dataclass(slots=True)
class Reach:
    """From when to when, and through whose hands, the events of a window came; ns."""

    first_ns: int | None = None
    last_ns: int | None = None
    nodes: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)
    incomplete: int = 0  # entries of which a part is still to come

    def add(self, node: str, batch: Mapping[str, Any]) -> None:
        first, last = batch["first_ns"], batch["last_ns"]
        if first is not None:
            self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
            self.last_ns = last if self.last_ns is None else max(self.last_ns, last)
        self.nodes.add(node)
        self.workers.update(batch["workers"])
        if batch["supplement"]:
            self.incomplete -= 1
        elif not batch["complete"]:
            self.incomplete += 1
