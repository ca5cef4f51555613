"""Hold what was reduced of the events of one entry, with the account of those events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ami.errors import GraphError
from ami.graph.library.base import Reduction, State

FORMAT = 1  # of the plain form


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

    def to_plain(self) -> dict[str, Any]:
        """Return it as what the stores' codec carries; the states are not copied."""
        return {
            "format": FORMAT,
            "graph_version": self.graph_version,
            "seen": self.seen,
            "states": self.states,
            "used": self.used,
            "errors": errors_to_plain(self.errors),
            "set_aside": self.set_aside,
        }

    @classmethod
    def from_plain(cls, plain: Any) -> Partial:
        """Return what :meth:`to_plain` described.

        Raises:
            GraphError: it is not a partial, or one of another format.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
            raise GraphError(f"not a partial of format {FORMAT}: {str(plain)[:80]}")
        try:
            return cls(
                graph_version=int(plain["graph_version"]),
                seen=int(plain["seen"]),
                states=dict(plain["states"]),
                used={str(key): int(count) for key, count in plain["used"].items()},
                errors=errors_from_plain(plain["errors"]),
                set_aside=int(plain["set_aside"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GraphError(f"not a partial: {error!r}") from error


def merge_errors(into: dict[str, ErrorRecord], other: Mapping[str, ErrorRecord]) -> None:
    """Add the error records ``other`` to ``into``."""
    for name, record in other.items():
        into[name] = into[name].merged(record) if name in into else record


def errors_to_plain(errors: Mapping[str, ErrorRecord]) -> dict[str, Any]:
    """Return error records as plain values."""
    return {name: (e.count, e.text, e.first_sequence) for name, e in errors.items()}


def errors_from_plain(plain: Any) -> dict[str, ErrorRecord]:
    """Return what :func:`errors_to_plain` described; TypeError or ValueError if it is none."""
    return {
        str(name): ErrorRecord(int(count), str(text), int(first))
        for name, (count, text, first) in plain.items()
    }
