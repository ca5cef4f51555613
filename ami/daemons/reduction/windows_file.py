"""Copy the state of the windows to the disk now and then, for when the machine dies and with it the store.

What is copied is what the last checkpoint left in the store, as it lies there: nothing is encoded again.
A thread does it, because a disk may take seconds.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ami.daemons.process import durable
from ami.daemons.process.stage import Setup
from ami.errors import GraphError, StoreError, Undecodable
from ami.messages.checkpoint import Checkpoint
from ami.messages.message import expect
from ami.stores import Lease, Store, codec, keys
from ami.stores.codec import Buffer

logger = logging.getLogger(__name__)

WHAT = "windows"
BYTES_PER_S = 10e6  # on the average, at the most
ReadRaw = Callable[[Sequence[str]], list[Buffer | None]]


class WindowsFile:
    """The file, and the thread that writes it.

    Args:
        store: of the global reducer.

    Attributes:
        problem: why the last copy could not be written; "" when it was.
    """

    def __init__(self, setup: Setup, store: Store) -> None:
        self._store = store
        self._path = durable.folder_of(setup.config.node) / "windows"
        self._every_s = setup.config.reducer.durable_s
        self._at = 0.0
        self._behind = False
        self._names: tuple[str, ...] = ()  # of what was copied last
        self._thread: threading.Thread | None = None
        self.problem = ""

    def note(self) -> None:
        """Say that there is another checkpoint."""
        self._behind = True

    def copy(self, names: Sequence[str], read_raw: ReadRaw, *, final: bool = False) -> None:
        """Copy the values ``names``, which belong together, if it is time; ``final``: now, and wait.

        Args:
            read_raw: gives values encoded, None for what there is no more.
        """
        if self._thread is not None and (final or not self._thread.is_alive()):
            self._thread.join()
            self._thread = None
        # The large lane leaves its checkpoints when it has time, also behind the last one of the small lane.
        self._behind = self._behind or (bool(self._names) and tuple(names) != self._names)
        if not self._behind or self._thread is not None or (time.monotonic() < self._at and not final):
            return
        self._behind, self._names = False, tuple(names)
        if final:
            self._copy(names, read_raw)
        else:
            work = partial(self._copy, names, read_raw)
            self._thread = threading.Thread(target=work, name="durable", daemon=True)
            self._thread.start()

    def _copy(self, names: Sequence[str], read_raw: ReadRaw) -> None:
        length = 0
        try:
            values = [value for value in read_raw(names) if value is not None]
            if len(values) < len(names):  # one was just replaced by another of another name
                self._behind = True
                return
            index = [[name, len(value)] for name, value in zip(names, values, strict=True)]
            length = sum(map(len, values))
            durable.write(self._path, WHAT, [json.dumps(index).encode() + b"\n", *values])
            self.problem = ""
        except (StoreError, OSError) as error:
            self._behind = True
            self.problem = f"the windows would not outlive a power cut: {error}"
            logger.error("%s", self.problem)
        self._at = time.monotonic() + max(self._every_s, length / BYTES_PER_S)

    def take_up(self, lease: Lease, use: Callable[[Checkpoint], None]) -> Checkpoint | None:
        """Put what the file has into a store that is empty; return its checkpoint, None if there is none.

        In an empty store the nodes number their batches anew, so none of them has been applied.

        Args:
            use: raises GraphError if the checkpoint is of no use; then it stays where it is.

        Raises:
            Conflict: somebody else leads.
        """
        values = durable.read_with(_split, self._path, WHAT) or {}
        if keys.CHECKPOINT not in values:
            return None
        # What speaks of batches also names the rest, so it is written last.
        heads = {
            name: replace(value, applied={}) for name, value in values.items() if hasattr(value, "applied")
        }
        try:
            found = expect(Checkpoint, heads[keys.CHECKPOINT])
            use(found)
        except (Undecodable, GraphError) as error:
            logger.error("%s is passed over: %s", self._path, error)
            return None
        for name, value in values.items():
            if name not in heads:
                self._store.commit(lease, {name: value})
                lease.renew()  # there may be more of them than can be stored in its time
        self._store.commit(lease, heads)
        logger.warning("the store is empty: took up the windows of run %d from %s", found.run, self._path)
        return found


def _split(body: memoryview) -> Mapping[str, Any]:
    """Return the values by name.

    Raises:
        Undecodable: another version of ami wrote them.
    """
    end = bytes(body[: 1 << 20]).find(b"\n") + 1
    try:
        index = json.loads(bytes(body[:end]))
        values = {}
        for name, length in index:
            # A copy of its own: arrays must begin where the processor wants them.
            values[name] = codec.decode(bytes(body[end : end + length]))
            end += length
    except ValueError as error:
        raise Undecodable(f"its list of values cannot be read: {error}") from error
    return values
