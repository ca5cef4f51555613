"""Stand beside people's code while it runs. What does nothing here, a daemon may do: see :class:`Guest`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ami.errors import FAULTS


class TooLong(BaseException):
    """People's code has run for too long. No Exception: ``except Exception`` in it does not catch that."""


# What costs more than the event in which it happens.
GRAVE = (TooLong, MemoryError, RecursionError)


class Guest:
    """Lets people's code run as it likes: they sit before it.

    Attributes:
        faults: what is an error of the event, and not of the process.
    """

    faults: ClassVar[Any] = FAULTS

    def enter(self, rows: Iterator[int]) -> None:
        """Be told that people's code begins to run; ``rows`` advances with each event."""

    def leave(self) -> None:
        """Be told that it has ended. Called whenever :meth:`enter` was."""

    def alive(self) -> None:
        """Say for this process that it is not stuck: somebody counts the time of what it does."""

    def count(self, names: Sequence[str], error: BaseException) -> bool:
        """Be told of what is :data:`GRAVE`; return whether the operation is not to be called any more."""
        return False


NOBODY = Guest()
