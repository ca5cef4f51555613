"""Find out in a child process of what kind the values of people's functions are.

For that their code is loaded and called on events of ones. In the worker itself what it does then would be
done before any event: nobody could say whose deed it was, and each successor would meet it again. (Rejected:
kinds that the manager sends with the graph. It knows the fields as they were when the edit came, and here
are those of the events.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from ami.daemons.process.apart import call_apart
from ami.errors import GraphError
from ami.graph.execution.frame import reason_of
from ami.graph.execution.guest import Guest
from ami.graph.execution.people import FindKind
from ami.graph.kind import Kind
from ami.graph.library.base import infer
from ami.graph.library.user import UserFunction

MOST_KNOWN = 10_000

Made = TypeVar("Made")


class _Unknown(BaseException):
    """The kind of a function is not known yet. No Exception: whoever makes a plan goes on after those."""


class Kinds:
    """What is known of people's functions on the events of one ring, by fingerprint.

    Args:
        limit_s: what one of them may take, by the child's own time.
        guest: who stands beside their code.
    """

    def __init__(self, limit_s: float, guest: Guest) -> None:
        self._limit_s = limit_s
        self._guest = guest
        self._known: dict[str, Kind | str] = {}  # text: why it has none

    def make(self, make: Callable[[FindKind], Made]) -> Made:
        """Return what ``make`` makes with what finds kinds, after a child made the same to find them."""
        while True:
            try:
                return make(self._take)
            except _Unknown as unknown:
                self._find(make, str(unknown))

    def _take(self, key: str, function: UserFunction, _inputs: Sequence[Kind]) -> Kind:
        known = self._known.get(key)
        if known is None:
            raise _Unknown(key)
        if isinstance(known, str):
            raise GraphError(known)
        function.take_kind(known)
        return known

    def _find(self, make: Callable[[FindKind], object], first: str) -> None:
        """Put among what is known ``first`` and, if none of them ends the child, all others that are not."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        self._guest.prepare()
        told = os.memfd_create("kinds")  # a pipe takes 64 KiB
        try:
            _, how = call_apart(
                lambda: self._tell(make, told),
                timeout_s=2 * self._limit_s,  # it is interrupted before, where it can be
                moved=lambda: os.fstat(told).st_size,
                alive=self._guest.alive,
            )
            lines = os.pread(told, os.fstat(told).st_size, 0).decode().splitlines()
        finally:
            os.close(told)
        begun = first
        for begun, kind in map(json.loads, lines):
            if kind is not None:
                self._known[begun] = kind if isinstance(kind, str) else Kind.from_plain(kind)
        if begun not in self._known or first not in self._known:
            self._known[begun if begun not in self._known else first] = f"its code {how or 'was not tried'}"

    def _tell(self, make: Callable[[FindKind], object], told: int) -> str:
        """Write for each function that it begins, and what came of it."""

        def tell(key: str, what: object) -> None:
            os.write(told, json.dumps([key, what]).encode() + b"\n")

        def find(key: str, function: UserFunction, inputs: Sequence[Kind]) -> Kind:
            if key in self._known:
                return self._take(key, function, inputs)
            tell(key, None)
            self._guest.enter([key], iter(()), is_new=True)
            why = ""
            try:
                kind = infer(function, *inputs)
            except self._guest.faults as error:
                self._guest.mend()
                why = str(error) if isinstance(error, GraphError) else reason_of(error)
            finally:
                why = self._guest.leave() or why
            tell(key, why or kind.to_plain())
            if why:
                raise GraphError(why)
            return kind

        make(find)
        return ""
