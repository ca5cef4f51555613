"""Stand beside people's code while it runs. What does nothing here, a daemon may do: see :class:`Guest`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ami.errors import FAULTS


class TooLong(BaseException):
    """People's code has run for too long. No Exception: ``except Exception`` in it does not catch that."""


class Spoiled(BaseException):
    """People's code changed what all of a process share."""


# What costs more than the event in which it happens.
GRAVE = (TooLong, Spoiled, MemoryError, RecursionError)


class Guest:
    """Lets people's code run as it likes: they sit before it.

    Attributes:
        faults: what is an error of the event, and not of the process.
    """

    faults: ClassVar[Any] = FAULTS

    def prepare(self) -> object:
        """Be told that people's code will run in this process, or in children of it."""

    def enter(
        self, names: Sequence[str], rows: Iterator[int], *, is_new: bool = False, seeds: bool = False
    ) -> None:
        """Be told that people's code begins to run; ``rows`` advances with each event.

        Args:
            names: of the operation.
            is_new: it is loaded, and was not called before.
            seeds: it may seed what all functions draw random numbers from.
        """

    def leave(self) -> str:
        """Be told that it has ended; return what it changed that all share, "" for nothing.

        Called whenever :meth:`enter` was.
        """
        return ""

    def mend(self) -> None:
        """Put back what everybody uses: something of people's code has failed, and is looked at next."""

    def alive(self) -> None:
        """Say for this process that it is not stuck: somebody counts the time of what it does."""

    def count(self, names: Sequence[str], error: BaseException) -> bool:
        """Be told of what is :data:`GRAVE`; return whether the operation is not to be called any more."""
        return False


NOBODY = Guest()
