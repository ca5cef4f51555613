"""Hold what was reduced of the events of one entry, with the account of those events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ami.errors import GraphError
from ami.graph.library.base import Reduction, State


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """For how many events an operation failed, how (a traceback), and the first one's sequence.

    A reducer does not know which events the states that it cannot merge are of: then that is -1.
    """

    count: int
    text: str
    first_sequence: int = -1

    def __str__(self) -> str:
        first = f", first for {self.first_sequence}" if self.first_sequence >= 0 else ""
        return f"failed for {self.count} events{first}: {self.text}"

    def merged(self, other: ErrorRecord) -> ErrorRecord:
        """Return the record of both; the text is that of the earlier event."""
        first = min(self, other, key=lambda record: record.first_sequence)
        return ErrorRecord(self.count + other.count, first.text, first.first_sequence)


@dataclass(slots=True)
class Partial:
    """States of the reductions of one graph version over some of the events of one entry.

    ``seen`` events were given to the plan; ``used[fingerprint]`` of them reached that reduction;
    ``set_aside`` were never given to it, because they kill workers. ``errors`` are by operation.
    """

    graph_version: int
    seen: int = 0
    states: dict[str, State] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    errors: dict[str, ErrorRecord] = field(default_factory=dict)
    set_aside: int = 0

    def set_event_aside(self, operation: str, text: str, sequence: int) -> None:
        """Count an event that must not be run because of what ``operation`` does with it."""
        self.set_aside += 1
        merge_errors(self.errors, {operation: ErrorRecord(1, text, sequence)})

    def leave_out(self, unbound: Mapping[str, Mapping[str, str]]) -> None:
        """Let go of the states of reductions that cannot be merged here: their events count as failed.

        Args:
            unbound: by fingerprint, the reason for each operation of that fingerprint.
        """
        for key in unbound.keys() & self.states.keys():
            del self.states[key]
            used = self.used.pop(key, 0)
            if used:
                records = {name: ErrorRecord(used, reason) for name, reason in unbound[key].items()}
                merge_errors(self.errors, records)

    def merge(self, other: Partial, reductions: Mapping[str, Reduction]) -> None:
        """Add ``other``, which must not be used afterwards: its states may live on in this one.

        Raises:
            GraphError: it is of another graph version, or has states of unknown reductions;
                nothing was merged.
        """
        if other.graph_version != self.graph_version:
            raise GraphError(
                f"partials of graph versions {self.graph_version} and {other.graph_version} cannot be merged"
            )
        unknown = sorted(set(other.states) - set(reductions))
        if unknown:
            raise GraphError(
                f"a partial has states of {len(unknown)} reductions that the graph does not have"
            )
        self.seen += other.seen
        self.set_aside += other.set_aside
        for key, state in other.states.items():
            there = key in self.states
            self.states[key] = reductions[key].merge(self.states[key], state) if there else state
        for key, count in other.used.items():
            self.used[key] = self.used.get(key, 0) + count
        merge_errors(self.errors, other.errors)


def merge_errors(into: dict[str, ErrorRecord], other: Mapping[str, ErrorRecord]) -> None:
    """Add the error records ``other`` to ``into``."""
    for name, record in other.items():
        into[name] = into[name].merged(record) if name in into else record
