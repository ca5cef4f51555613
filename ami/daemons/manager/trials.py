"""Try people's functions beside the manager's loop, so that an edit without any does not wait for them.

A trial ends with what it found out of the operations, or with the reason why the edit is denied. Then the
request is looked at again, in order, and what was tried is not tried a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ami.daemons.manager.checking import Known
from ami.daemons.manager.intake import Taken
from ami.errors import FAULTS, GraphError

AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial came to: what is ``known`` now, or the ``reason`` why not."""

    known: Known | None = None
    reason: str = ""


class Trials:
    """The trials that are under way, and what the last ones came to, by the id of the request."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._running: dict[Future[Tried], Taken] = {}
        self.found: dict[str, Tried] = {}

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._running)

    def begin(self, taken: Taken, check: Callable[[], Known]) -> None:
        """Begin a trial: ``check`` in a thread, which has a child process do what may harm."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="trial")
        self._running[self._threads.submit(_try, check)] = taken

    def collect(self) -> list[Taken]:
        """Return the requests whose trials have ended."""
        ended = [trial for trial in self._running if trial.done()]
        taken = [self._running.pop(trial) for trial in ended]
        self.found.update((one[1].id, trial.result()) for one, trial in zip(taken, ended, strict=True))
        return taken

    def forget(self) -> None:
        """Let what is under way come to nothing: the requests are taken again."""
        for trial in self._running:
            trial.cancel()
        self._running.clear()
        self.found.clear()

    def close(self) -> None:
        self.forget()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def _try(check: Callable[[], Known]) -> Tried:
    try:
        return Tried(check())
    except GraphError as error:
        return Tried(reason=str(error))
    except FAULTS as error:
        return Tried(reason=f"a fault while this was looked at: {error!r}")
