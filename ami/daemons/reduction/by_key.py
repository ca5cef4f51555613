"""Publish a scan of large arrays key by key, so that of it only what changed travels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field, replace

from ami.daemons.reduction.publisher import Publisher
from ami.graph.execution.bucket import Place
from ami.messages.pieces import Keyed
from ami.result import Result
from ami.stores.codec import Value


@dataclass(slots=True)
class _Published:
    """The pieces of a result by key, of one bucket; and those that the result before the last one named."""

    place: Place
    names: dict[Hashable, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)


class ByKey:
    """The results of one leader that lie in a piece for each key."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._published: dict[str, _Published] = {}
        self._fresh: list[str] = []  # of a result that is not stored yet, or of which nobody knows

    def publish(
        self,
        result: Result,
        place: Place,
        keys: Collection[Hashable],
        make: Callable[[Hashable], Value],
        changed: Collection[Hashable],
    ) -> None:
        """Store the pieces of the keys that changed, then the result, which names all of them in their order.

        Args:
            place: of the bucket; nothing of another one is used again.
            make: gives the value of a key.

        Raises:
            Conflict: another global reducer holds the lease.
        """
        # Of a try that failed in between: a store that is full would be filled by each further one.
        self._publisher.remove(self._fresh)
        self._fresh.clear()
        before = self._published.get(result.name)
        if before is None or before.place != place:
            self._forget([result.name])
            before = _Published(place)
        names: dict[Hashable, str] = {}
        for key in keys:
            if key in before.names and key not in changed:
                names[key] = before.names[key]
                continue
            names[key] = self._publisher.name_piece(result.name)
            self._fresh.append(names[key])
            self._publisher.put_piece(names[key], make(key))
        self._publisher.store({result.name: replace(result, value=Keyed(names=tuple(names.values())))})
        # Only now, and only what the result before named: somebody may be reading the last one.
        self._publisher.remove(before.stale)
        kept = set(names.values())
        stale = [name for name in before.names.values() if name not in kept]
        self._published[result.name] = _Published(place, names, stale)
        self._fresh.clear()

    def keep_only(self, results: Collection[str]) -> None:
        """Remove the pieces of all other results."""
        self._forget([name for name in self._published if name not in results])

    def _forget(self, results: Collection[str]) -> None:
        for name in results:
            if name in self._published:
                gone = self._published.pop(name)
                self._publisher.remove([*gone.stale, *gone.names.values()])
