"""Publish a scan of large arrays key by key, so that of it only what changed travels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace

from ami.daemons.reduction.publisher import Publisher
from ami.graph.execution.bucket import Place
from ami.graph.execution.windows import Changed
from ami.messages.large_checkpoint import Published
from ami.messages.pieces import Keyed
from ami.result import Result
from ami.stores.codec import Value

Of = tuple[str, Place]  # the fingerprint of a reduction, and the place of a bucket
NOTHING: Of = ("", (0, -1))


@dataclass(slots=True)
class _Published:
    """The pieces of a result by key, of one bucket; and those that the result before the last one named."""

    of: Of
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
        of: Of,
        keys: Collection[Hashable],
        make: Callable[[Hashable], Value],
        changed: Collection[Hashable],
    ) -> None:
        """Store the pieces of the keys that changed, then the result, which names all of them in their order.

        Args:
            of: which bucket; nothing of another one is used again.
            make: gives the value of a key.

        Raises:
            Conflict: another global reducer holds the lease.
        """
        # Of a try that failed in between: a store that is full would be filled by each further one.
        self._publisher.remove(self._fresh)
        self._fresh.clear()
        before = self._published.get(result.name)
        if before is None or before.of != of:
            self._forget([result.name])
            before = _Published(of)
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
        self._published[result.name] = _Published(of, names, stale)
        self._fresh.clear()

    def describe(self, unpublished: Collection[Changed]) -> Published:
        """Return which pieces are of the states as they are now.

        Args:
            unpublished: states that changed since.
        """
        return Published(
            pieces={
                result: (
                    one.of,
                    {key: name for key, name in one.names.items() if (*one.of, key) not in unpublished},
                )
                for result, one in self._published.items()
            }
        )

    def resume(self, found: Published, shown: Mapping[str, Collection[str]], there: Collection[str]) -> None:
        """Go on after an earlier leader: use its pieces again.

        Args:
            found: as it described them, with the states that were taken up.
            shown: the pieces that results name just now: somebody may be reading them.
            there: the pieces that there are.
        """
        for result in {*found.pieces, *shown}:
            of, names = found.pieces.get(result, (NOTHING, {}))
            kept = {key: name for key, name in names.items() if name in there}
            stale = [name for name in shown.get(result, ()) if name in there and name not in kept.values()]
            self._published[result] = _Published(of, kept, stale)

    @property
    def names(self) -> set[str]:
        """Names of all pieces."""
        return {name for one in self._published.values() for name in (*one.stale, *one.names.values())}

    def keep_only(self, results: Collection[str]) -> None:
        """Remove the pieces of all other results."""
        self._forget([name for name in self._published if name not in results])

    def _forget(self, results: Collection[str]) -> None:
        for name in results:
            if name in self._published:
                gone = self._published.pop(name)
                self._publisher.remove([*gone.stale, *gone.names.values()])
