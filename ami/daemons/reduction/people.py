"""Call people's functions of results so that what one does costs its own result, and nobody else's.

They run in a child (:class:`~ami.daemons.reduction.child.Child`), which all of them share: as long as its
answers come at once, that is as good as a call. Who lets the others wait is left with the child that it has,
and they get another: its value is of an interval before then, and says so.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from ami.config import WorkerConfig
from ami.daemons.process.apart import HANGS
from ami.daemons.process.bindings import Bindings
from ami.daemons.reduction.child import PATIENCE_S, Child, question_of
from ami.errors import Undecodable
from ami.graph.execution.partial import OFF
from ami.graph.execution.results import Failed, People
from ami.graph.graph import Graph
from ami.graph.library.base import Function
from ami.graph.operation import Operation
from ami.ring.offences import DEATH, HANG, TOO_MUCH
from ami.stores import Lease, Store, codec, keys

logger = logging.getLogger(__name__)

LATE = f"takes longer than {PATIENCE_S:g} s: its value is of an interval before"


@dataclass(slots=True)
class _Call:
    """What is known of the calls of one operation.

    ``child``: where it is asked now, or the one that it has for itself. ``asked``, ``answered``: digests of
    questions; b"": there is none. ``failed``: how often.
    """

    name: str
    child: Child | None = None
    asked: bytes = b""
    answered: bytes = b""
    value: Any = None
    error: str = ""
    failed: int = 0
    is_prompt: bool = True


class PeopleApart(People):
    """People's functions of one lane of the acting global reducer.

    Which of them are switched off outlives this process, in the store.
    """

    def __init__(self, config: WorkerConfig, store: Store, lease: Lease, lane: str) -> None:
        self._config = config
        self._store = store
        self._lease = lease
        self._key = keys.offences(lane)
        self._calls: dict[str, _Call] = {}
        self._common: Child | None = None  # which nobody uses now
        self._offences: dict[str, tuple[int, str]] = {}  # by fingerprint: weight, and how
        self._is_saved = True
        self._bindings: Bindings | None = None

    def load(self) -> None:
        """Take up what the last leader knew."""
        known = self._store.get(self._key)
        self._offences = dict(known) if isinstance(known, dict) else {}

    def save(self) -> None:
        """Let the next leader know.

        Raises:
            Conflict: another global reducer holds the lease.
        """
        if not self._is_saved:
            self._store.commit(self._lease, {self._key: self._offences})
            self._is_saved = True

    def collect(self) -> bool:
        """Take answers that nobody waited for; return whether some came: results are to be computed again."""
        asked = [(key, one) for key, one in self._calls.items() if one.asked]
        for key, one in asked:
            self._take(key, one)
        return any(not one.asked for _, one in asked)

    def keep(self, graph: Graph) -> None:
        there = {graph.fingerprint(one.name) for one in graph.operations}
        for key in self._calls.keys() - there:
            child = self._calls.pop(key).child
            if child is not None:
                child.end()
        for key in self._offences.keys() - there:
            del self._offences[key]
            self._is_saved = False

    def list_failing(self) -> dict[str, str]:
        return {
            one.name: _tell(one.failed, self._off(key) or one.error)
            for key, one in list(self._calls.items())
            if one.failed
        }

    def close(self) -> None:
        """End all children."""
        for child in (self._common, *(one.child for one in self._calls.values())):
            if child is not None:
                child.end()
        self._calls, self._common = {}, None

    def call(self, operation: Operation, key: str, function: Function, inputs: list[Any]) -> tuple[Any, str]:
        call = self._calls.setdefault(key, _Call(operation.name))
        if not self._off(key):
            question = question_of(operation, inputs)
            digest = hashlib.sha1(question, usedforsecurity=False).digest()
            self._take(key, call)
            if not call.asked and call.answered != digest and not self._off(key):
                self._ask(key, call, question, digest)
        error = self._off(key) or call.error
        if error:
            call.failed += 1
            raise Failed(_tell(call.failed, error))
        if call.answered == digest:
            call.failed = 0
            return call.value, ""
        if not call.answered:
            raise Failed(f"takes longer than {PATIENCE_S:g} s: there is no value yet")
        return call.value, LATE

    def _off(self, key: str) -> str:
        """Return why an operation is switched off; "": it is not."""
        weight, how = self._offences.get(key, (0, ""))
        return f"{OFF}{how}" if weight >= TOO_MUCH else ""

    def _make_child(self) -> Child:
        # Once, and not in each child: it takes 10 ms.
        self._bindings = self._bindings or Bindings()
        return Child(self._config, self._bindings)

    def _ask(self, key: str, call: _Call, question: bytes, digest: bytes) -> None:
        if call.child is None:
            call.child, self._common = self._common or self._make_child(), None
        try:
            call.child.ask(question)
        except OSError:
            # It ended, and had nothing to do: somebody ended it.
            call.child.end()
            call.child = self._make_child()
            call.child.ask(question)
        call.asked = digest
        if call.is_prompt:
            call.child.wait()
        self._take(key, call)

    def _take(self, key: str, call: _Call) -> None:
        """Take the answer, if there is one."""
        taken = call.child.take() if call.asked and call.child is not None else None
        if taken is None:
            call.is_prompt = call.is_prompt and not call.asked
            return
        call.answered, call.asked = call.asked, b""
        answer, how = taken
        if how:
            call.child, call.value, call.error = None, None, how
            self._count(key, call, HANG if how.startswith(HANGS) else DEATH, how)
            return
        try:
            call.value, call.error, weight, took_s = codec.decode(answer)
        except (Undecodable, TypeError, ValueError) as error:
            call.value, call.error, weight, took_s = None, f"its answer cannot be read: {error}", DEATH, 0.0
        if weight:
            self._count(key, call, weight, call.error.partition("\n")[0])
        call.is_prompt = took_s < PATIENCE_S
        if call.is_prompt and call.child is not None:
            if self._common is None:
                self._common = call.child
            else:
                call.child.end()
            call.child = None

    def _count(self, key: str, call: _Call, weight: int, how: str) -> None:
        before, first = self._offences.get(key, (0, how))
        self._offences[key] = (before + weight, first)
        self._is_saved = False
        if self._off(key):
            logger.error("operation %r is %s", call.name, self._off(key))
            if call.child is not None:
                call.child.end()
                call.child = None


def _tell(times: int, error: str) -> str:
    return f"failed {times} time{'s' if times > 1 else ''}: {error}"
