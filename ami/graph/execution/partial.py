"""Hold what was reduced of the events of one entry, with the account of those events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ami.errors import GraphError
from ami.graph.library.base import Reduction, State, bytes_of

OFF = "switched off: "  # how the reason begins why an operation does not run any more


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
        """Return the record of both; the text is that of the earlier event, unless it was switched off."""
        first = min(self, other, key=lambda record: record.first_sequence)
        told = min(self, other, key=lambda record: (not record.text.startswith(OFF), record.first_sequence))
        return ErrorRecord(self.count + other.count, told.text, first.first_sequence)


@dataclass(slots=True)
class Partial:
    """States of the reductions of one graph version over some of the events of one entry.

    ``seen`` events were given to the plan; ``used[fingerprint]`` of them reached that reduction;
    ``set_aside`` were never given to it, because they kill workers. ``errors`` are by operation.
    """

    FORMAT: ClassVar[int] = 2  # of what is stored of it

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
            self.fail(key, unbound[key])

    def fail(self, fingerprint: str, reasons: Mapping[str, str]) -> None:
        """Count the events that reached a reduction as failed, for the operations that the reasons name."""
        used = self.used.pop(fingerprint, 0)
        if used:
            merge_errors(self.errors, {name: ErrorRecord(used, reason) for name, reason in reasons.items()})

    def bound(self, growing: Mapping[str, Sequence[str]], most_bytes: int) -> dict[str, str]:
        """Let go of the largest of the states that grow with what comes, until they have so many bytes.

        Their events count as failed. What a store never takes would be tried for ever. Returns what went, by
        fingerprint, with the reason.

        Args:
            growing: by fingerprint, the operations that are told of it.
        """
        sizes = {key: bytes_of(self.states[key]) for key in growing if key in self.states}
        gone: dict[str, str] = {}
        while sum(sizes.values()) > most_bytes:
            key = max(sizes, key=sizes.__getitem__)
            gone[key] = text = (
                f"its state had {sizes.pop(key) >> 20} MiB after one interval, and {most_bytes >> 20} MiB are"
                f" the most that is sent at once; use fewer keys, or width="
            )
            del self.states[key]
            self.fail(key, dict.fromkeys(growing[key], text))
        return gone

    def measure(self) -> int:
        """Return about how many bytes the states have."""
        return sum(map(bytes_of, self.states.values()))

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
