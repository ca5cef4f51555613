"""Agree with the sources of other nodes on which run it is.

All who play one experiment are in one run. Its number is in a book in the global store, which is changed in
one step or not at all: whoever comes first takes a number that was never given, the others adopt it. So there
is no process that has to live for a run to begin. (Rejected: the leader of the reducers hands out numbers.
While there is none, no source could begin, and nothing is gained: the book is the authority.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from ami.config import NodeConfig
from ami.daemons.process import durable
from ami.daemons.process.orders import RUNS_KEPT
from ami.errors import Conflict, SourceError, StoreUnavailable
from ami.messages.message import read
from ami.messages.run_book import RunBook, RunEntry
from ami.stores import ABSENT, Store, keys

logger = logging.getLogger(__name__)


class Runs:
    """The runs of the cluster, as the source of one node begins and ends them.

    Args:
        store: what belongs to the cluster's source.
        here: returns the nodes that live.
    """

    def __init__(self, store: Store, node: NodeConfig, here: Callable[[], Collection[str]]) -> None:
        self._store = store
        self._host = node.host
        self._here = here
        self._path = durable.folder_of(node) / "run"

    def begin(self, whole: str, beginning: str, number: int = 0) -> int:
        """Return the number of the run that begins: the others', or one that was never given.

        Args:
            whole: of :func:`name_whole`, with :attr:`ami.sources.base.Source.whole`.
            beginning: what this node's beginning differs in from all of its others. Asked again with the same
                one, as by a successor of who died before the run was in the ring, this gives the same run.
            number: which the data acquisition gave it; 0: none.

        Raises:
            StoreUnavailable: nobody can say now; call again.
            SourceError: the number was given to another run.
        """
        least = self.least
        while True:
            book = read(self._store, keys.RUN_BOOK, RunBook)
            new, run = enter(
                book or RunBook(last=0, runs=()), self._host, whole, beginning,
                here=self._here(), least=least, number=number,
            )  # fmt: skip
            if new == book or self._write(book, new):
                break
        self._keep(run)
        return run

    def end(self, number: int) -> None:
        """Say that this node ended a run: a node that comes late does not join what nobody is in any more."""
        try:
            while (book := read(self._store, keys.RUN_BOOK, RunBook)) is not None:
                new = leave(book, self._host, number)
                if new == book or self._write(book, new):
                    return
        except StoreUnavailable as error:
            # It is in the ring, and must not be said twice.
            logger.warning("run %d stays open in the book: %s", number, error)

    def _write(self, book: RunBook | None, new: RunBook) -> bool:
        try:
            expected = {keys.RUN_BOOK: ABSENT if book is None else book}
            self._store.commit(None, {keys.RUN_BOOK: new}, expected=expected, copied=True)
        except Conflict:
            return False
        return True

    @property
    def least(self) -> int:
        """The highest number of a run that this machine knows of."""
        kept = durable.read(self._path, "run-number")
        return kept if isinstance(kept, int) else 0

    def _keep(self, run: int) -> None:
        """Remember the number where it outlives the machine: the store may come back without it."""
        try:
            durable.store(self._path, "run-number", run)
        except OSError as error:
            logger.error("run %d may be given again after a power cut: %s", run, error)


def enter(
    book: RunBook, host: str, whole: str, beginning: str, *, here: Collection[str], least: int = 0,
    number: int = 0,
) -> tuple[RunBook, int]:  # fmt: skip
    """Return the book with a node in a run that begins there, and its number; see :meth:`Runs.begin`.

    Adopted is the oldest run that the node has not been in, of those behind its last one

    - that a node which lives has not ended,
    - or of the same whole, if it is the newest, or the node was in an earlier run of it: it is behind.
    """
    mine = [one for one in book.runs if host in one.begun]
    for one in mine:
        if one.begun[host] == beginning:
            return book, one.number
    last = max((one.number for one in mine), default=0)
    if number:
        return _enter_numbered(book, host, beginning, least, number)
    behind = any(_base(one.whole) == _base(whole) for one in mine)
    for one in book.runs:
        if one.number <= last:
            continue
        open_ = any(other in here and other not in one.ended for other in one.begun)
        same = bool(whole) and one.whole == whole and (behind or one is book.runs[-1])
        if same or open_:
            return _join(book, one, host, beginning), one.number
    run = max(book.last, least) + 1
    return _append(book, RunEntry(number=run, whole=whole, begun={host: beginning}, ended=())), run


def _enter_numbered(book: RunBook, host: str, beginning: str, least: int, number: int) -> tuple[RunBook, int]:
    """Return the book with a node in the run of this number: one that the others know, or a new one."""
    for one in book.runs:
        if one.number == number:
            return _join(book, one, host, beginning), number
    last = max(book.last, least)
    if number <= last:
        raise SourceError(
            f"the sender begins run {number}, and run {last} was here before, which is not its own: let it "
            f"number from {last + 1} on"
        )
    return _append(book, RunEntry(number=number, whole="", begun={host: beginning}, ended=())), number


def _join(book: RunBook, run: RunEntry, host: str, beginning: str) -> RunBook:
    joined = replace(run, begun={**run.begun, host: beginning})
    return replace(book, runs=tuple(joined if one is run else one for one in book.runs))


def _append(book: RunBook, run: RunEntry) -> RunBook:
    return RunBook(last=run.number, runs=(*book.runs, run)[-RUNS_KEPT:])


def name_whole(whole: str, said: int) -> str:
    """Return what is equal for all nodes in the run that an input calls ``said``; 0: it does not."""
    return f"{whole} run {said}" if said else whole


def _base(whole: str) -> str:
    return whole.partition(" ")[0]


def leave(book: RunBook, host: str, number: int) -> RunBook:
    """Return the book with a run ended by a node."""
    runs = tuple(
        replace(one, ended=(*one.ended, host)) if one.number == number and host not in one.ended else one
        for one in book.runs
    )
    return replace(book, runs=runs)
