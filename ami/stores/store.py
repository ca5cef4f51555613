"""What every store offers: a mapping of names to values, and what a mapping cannot say.

``RedisStore`` keeps it in Redis, on either tier; ``MemoryStore`` is its double for tests. Both pass
``tests/contracts``.
"""

from __future__ import annotations

import collections
from abc import abstractmethod
from collections.abc import (
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from ami.stores.codec import Value

if TYPE_CHECKING:
    from ami.stores.counter import Counter
    from ami.stores.deque import Deque

# Aliases, because Store has methods of the names of these types.
Entries = list[tuple[str, Value]]
Values = dict[str, Value]
Names = list[str]


class Absent:
    """The type of :data:`ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""What :meth:`Store.compare_and_set` and :meth:`Store.commit` expect of a name that must not exist."""


@dataclass(frozen=True, slots=True)
class Record:
    """A journal's record."""

    number: int
    value: Value


@dataclass(frozen=True, slots=True)
class Item:
    """A queue's item: plain data, and the id that it was put under."""

    id: str
    value: Any
    raw: bytes = field(repr=False, compare=False, default=b"")


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A key as it lies in Redis. ``ttl_s`` is None when it never expires; ``size_bytes`` of memory."""

    key: str
    type: str
    size_bytes: int
    ttl_s: float | None
    prefix: str


class Queue(Protocol):
    """A list of requests: whoever takes one has it until it is done.

    Items are JSON, not pickles, because they come from clients. An item may arrive twice (a consumer
    died before it was done), so whoever carries it out must know it by its id.
    """

    def put(self, value: Any) -> str:
        """Append an item of plain data; return its id.

        Raises:
            TypeError: not what JSON can say.
            StoreUnavailable: it is not known whether the item was appended, if the connection broke.
        """

    def take(self, timeout_s: float) -> Item | None:
        """Return the oldest item, or None when there is none within ``timeout_s``.

        Raises:
            Undecodable: it was no item; it has been removed.
        """

    def done(self, item: Item) -> None:
        """Remove an item that was taken."""

    def recover(self) -> int:
        """Put back, in order, what was taken and not done; only when no other consumer lives."""

    def __len__(self) -> int:
        """Return how many items wait to be taken."""


class Journal(Protocol):
    """Records with ascending numbers, given by the one writer; each is appended at most once."""

    @property
    def key(self) -> str:
        """Its key, which no other journal of this tier has."""

    def append(
        self,
        number: int,
        value: Value,
        *,
        also: Mapping[str, Value] | None = None,
        expire_s: float | None = None,
    ) -> bool:
        """Append record ``number`` (from 1) and set the values ``also``, all of it or nothing.

        Returns False, and changes nothing, when this number or a higher one was appended before,
        even if it was removed since. So an append may be repeated whenever its answer was lost.
        ``expire_s``: the payload disappears after this time if nobody removes the record.
        """

    def read(self, after: int = 0, limit: int = 100) -> list[Record]:
        """Return the first ``limit`` records beyond number ``after``.

        Raises:
            BadRecord: a payload cannot be decoded; ``number`` says which, so that it can be removed.
        """

    def remove(self, numbers: Iterable[int]) -> int:
        """Remove records and their payloads; return how many there were."""

    def trim(self, upto: int) -> int:
        """Remove every record up to number ``upto``, this included; return how many there were."""

    def last(self) -> int:
        """Return the highest number ever taken, also when its record was removed since; 0 at first."""

    def fence(self) -> int:
        """Take the next number and leave it empty; return it.

        For a writer that follows a dead one: an append that the dead one has sent, and that the store
        has not come to yet, is refused from now on. So what is read after this stays true.
        """

    def pending(self) -> int:
        """Return how many records there are."""


class Lease(Protocol):
    """The right to act, for a while. Of all who ask for the same lease, at most one has it."""

    token: int  # ascends with each new holder; 0 while this one is not the holder

    def acquire(self) -> bool:
        """Take the lease if nobody has it; True, also when we have it already (for ``ttl_s`` anew)."""

    def renew(self) -> None:
        """Keep it for ``ttl_s`` from now.

        Raises:
            Conflict: we do not have it any more.
        """

    def release(self) -> None:
        """Give it up, if we have it."""


class Store(MutableMapping[str, Value]):
    """One owner's values, by name.

    ``store[name] = value`` makes a list, dict, set, deque or Counter a live collection: it lies in a
    Redis type of its own, ``store[name]`` is a window on it, and methods of it change what is stored.
    Containers inside of other values stay plain. :meth:`put`, :meth:`update` and all others store
    any value whole: what they stored comes back as a plain copy, with read-only arrays.

    Iteration and ``len`` see the names of this prefix only, without those that expired. Journals,
    queues, streams and leases are not items of the mapping.
    """

    prefix: str

    @abstractmethod
    def view(self, prefix: str) -> Store:
        """Return another owner's values, over the same connections."""

    @abstractmethod
    def put(self, name: str, value: Value, *, expire_s: float | None = None) -> None:
        """Store ``value`` whole, for ``expire_s`` or for good."""

    @abstractmethod
    def update(self, mapping: Any = (), /, *, expire_s: float | None = None, **more: Value) -> None:
        """Store many values whole, in one round trip."""

    @abstractmethod
    def get_many(self, names: Iterable[str]) -> Values:
        """Return those values of ``names`` that exist, in one round trip."""

    @abstractmethod
    def delete_many(self, names: Iterable[str]) -> int:
        """Remove what has one of ``names``, streams included; return how many there were."""

    @abstractmethod
    def expire(self, name: str, after_s: float) -> bool:
        """Let ``name``, whatever it is, disappear after this time; False if there is no such name."""

    @abstractmethod
    def compare_and_set(self, name: str, expected: Value | Absent, new: Value) -> None:
        """Store ``new`` whole if ``name`` still has a value equal to ``expected``.

        Raises:
            Conflict: it has not.
        """

    @abstractmethod
    def take(self, name: str) -> Value:
        """Remove a value and return it; of several who try, one succeeds.

        Raises:
            KeyError: there is none.
        """

    @abstractmethod
    def notify(
        self,
        name: str,
        value: Value,
        *,
        keep: int = 1000,
        also: Mapping[str, Value] | None = None,
        expire_s: float | None = None,
    ) -> str:
        """Append to the stream ``name`` and set the values ``also``, together; return the entry's id.

        The stream keeps at least ``keep`` entries and not many more. ``expire_s`` is for both the
        stream and the values.
        """

    @abstractmethod
    def watch(self, name: str, after: str = "$", timeout_s: float = 0.0) -> Entries:
        """Return what was appended to the stream beyond id ``after``, waiting for it up to ``timeout_s``.

        ``"$"`` is the end of now, ``"0"`` the beginning. Hand the last id in again the next time.
        """

    @abstractmethod
    def history(self, name: str, limit: int) -> Entries:
        """Return the newest ``limit`` entries of a stream, oldest first."""

    @abstractmethod
    def list(self, name: str) -> MutableSequence[Any]:
        """Return the live list ``name``, made empty if there is none. TypeError: it is something else."""

    @abstractmethod
    def dict(self, name: str) -> MutableMapping[Any, Any]:
        """Return the live dict ``name``, made empty if there is none. TypeError: it is something else."""

    @abstractmethod
    def set(self, name: str) -> MutableSet[Any]:
        """Return the live set ``name``, made empty if there is none. TypeError: it is something else."""

    @abstractmethod
    def deque(self, name: str, maxlen: int | None = None) -> Deque | collections.deque[Any]:
        """Return the live deque ``name``, made empty if there is none. TypeError: it is something else."""

    @abstractmethod
    def counter(self, name: str) -> Counter | collections.Counter[Any]:
        """Return the live Counter ``name``, made empty if there is none. TypeError: it is something else."""

    @abstractmethod
    def queue(self, name: str) -> Queue: ...

    @abstractmethod
    def journal(self, name: str) -> Journal: ...

    @abstractmethod
    def lease(self, name: str, ttl_s: float, *, place: str = "") -> Lease:
        """Return a candidate for the lease ``name``.

        ``place`` names what only one process is at a time, as ``HOST:global-reducer:0``: when a holder
        of that place has died, the next one there need not wait until the lease ends. The first
        ``acquire`` takes it over, under a higher token; a later one does not, so that two processes that are
        at one place by mistake do not take it from each other for ever.
        """

    @abstractmethod
    def commit(
        self,
        lease: Lease,
        values: Mapping[str, Value],
        *,
        expected: Mapping[str, Value | Absent] | None = None,
        notify: Mapping[str, Value] | None = None,
        keep: int = 1000,
    ) -> None:
        """Store ``values`` whole and append to the streams ``notify``: all of it or nothing.

        Raises:
            Conflict: ``lease`` is not ours any more, or an ``expected`` value is another now.
        """

    @abstractmethod
    def scan(self, pattern: str = "*") -> Iterator[KeyFacts]:
        """Look at every key of the tier, whoever owns it, that fits a glob pattern. For people."""

    @abstractmethod
    def look(self, key: str, limit: int = 10) -> Any:
        """Return what lies under a full key, decoded: of long ones ``limit`` elements. For people.

        Raises:
            KeyError: there is no such key.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connections, for every view of them."""


def read_journals(
    journals: Mapping[str, Journal] | Sequence[Journal],
    after: Mapping[str, int],
    timeout_s: float,
    limit: int = 32,
) -> list[tuple[str, Record]]:
    """Wait up to ``timeout_s`` for records of several journals of one tier (and, there, of one prefix).

    ``after`` and the answer name a journal as ``journals`` does; a sequence's by their ``key``.
    """
    from ami.stores.journal import RedisJournal, read_many
    from ami.stores.memory_parts import MemoryJournal, read_many_in_memory

    named = journals if isinstance(journals, Mapping) else {journal.key: journal for journal in journals}
    if not named:
        return []
    if all(isinstance(journal, RedisJournal) for journal in named.values()):
        redis_journals = {n: j for n, j in named.items() if isinstance(j, RedisJournal)}
        return read_many(redis_journals, after, timeout_s, limit)
    memory = {n: j for n, j in named.items() if isinstance(j, MemoryJournal)}
    return read_many_in_memory(memory, after, timeout_s, limit)
