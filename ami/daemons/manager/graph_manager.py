"""Be the graph manager: take requests in order, check them, number and publish the graph's versions.

Everything that a successor needs is written in the same step as the version itself, under a
lease with a fencing token: two managers cannot both publish, and a request whose answer was lost
is answered again, not applied again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from ami.daemons.manager import requests
from ami.daemons.process.apart import call_apart
from ami.daemons.process.leadership import Leadership
from ami.daemons.process.stage import Setup
from ami.errors import (
    FAULTS,
    Conflict,
    GraphError,
    SourceError,
    StoreError,
    StoreUnavailable,
    Undecodable,
)
from ami.event import Schema
from ami.graph.check import check
from ami.graph.graph import Graph
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import restore, write
from ami.messages.answer import Answer
from ami.messages.request import Request
from ami.stores import ABSENT, Item, keys

logger = logging.getLogger(__name__)

# Answers kept for clients that ask again, and versions told in `history`.
ANSWERS_KEPT = 500
HISTORY_KEPT = 1000


class GraphManagerStage:
    """The graph manager of the cluster, or its stand-by: whoever has the lease acts."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._config = config = setup.config
        self._store = setup.stores.cluster("graph-manager")
        self._source = setup.stores.cluster("source")
        self._queue = self._store.queue(keys.REQUESTS)
        place = keys.prefix(config.node.host, "graph-manager", setup.number)
        lease = self._store.lease(keys.LEASE, config.manager.lease_s, place=place)
        self._leadership = Leadership(lease, config.manager.lease_s, self._load)
        self._current: dict[str, Any] | None = None
        self._document = Document()
        self._unreadable = ""
        self._graph = Graph()
        self._state: dict[str, Any] = {"history": [], "answers": {}}
        self._taken = self._denied = 0

    @property
    def state(self) -> str:
        return "running" if self._leadership.held else "waiting: another manager has the lease"

    @property
    def counters(self) -> Mapping[str, float]:
        return {
            "version": self._document.version,
            "operations": len(self._graph.operations),
            "requests": self._taken,
            "denied": self._denied,
        }

    def start(self) -> None:
        """A request is read when there is one: there is nothing to do before."""

    def step(self) -> None:
        wait_s = self._setup.waits.store_s
        if not self._leadership.hold():
            self._setup.stopping.wait(wait_s)
            return
        try:
            item = self._queue.take(wait_s)
            if item is not None:
                self._answer(item)
        except StoreUnavailable:
            # A request may be in the processing list, unanswered: begin anew, and look there first.
            self._leadership.lose()
            raise
        except Undecodable as error:
            # It is gone from the queue already; whoever put it there gets no answer.
            logger.warning("a request is no request: %s", error)
        except Conflict as error:
            # Somebody else leads now; the request is still in the processing list, and is his.
            self._leadership.lose(error)

    def _load(self) -> None:
        """Continue where the last manager stopped."""
        self._current = self._store.get(keys.CURRENT)
        version = 0 if self._current is None else int(self._current["version"])
        self._unreadable = ""
        try:
            self._document = self._version(version)
        except GraphError as error:
            # The number goes on, whatever stands behind it.
            self._document = Document(version)
            self._unreadable = f"{error}; only `ami graph set` is possible"
            logger.error("%s", self._unreadable)
        self._graph = lower(self._document)
        self._state = self._store.get(keys.STATE) or {"history": [], "answers": {}}
        self._queue.recover()
        logger.info("leading, graph version %d of %d operations", version, len(self._graph.operations))

    def _version(self, version: int) -> Document:
        if version == 0:
            return Document()
        text = self._store.get(keys.document(version))
        if text is None:
            raise GraphError(
                f"version {version} is not kept any more, or not as people wrote it (earlier versions of ami "
                f"stored operations only)"
            )
        return restore(text, self._store.get(keys.graph(version)))

    # requests

    def _answer(self, item: Item) -> None:
        self._taken += 1
        try:
            request = Request.from_plain(item.value)
        except GraphError as error:
            # Nobody to answer: without an id there is no key for the answer.
            logger.warning("a request is no request: %s", error)
            self._queue.done(item)
            return
        answer = self._state["answers"].get(request.id)
        if answer is None:
            answer = self._decide(request)
        self._reply(request, answer)
        self._queue.done(item)

    def _reply(self, request: Request, answer: dict[str, Any]) -> None:
        name = keys.reply(request.id)
        self._store.queue(name).put(answer)
        self._store.expire(name, self._config.manager.reply_s)

    def _decide(self, request: Request) -> dict[str, Any]:
        try:
            if self._unreadable and request.action != "set":
                raise GraphError(self._unreadable)
            document = requests.apply(request, self._document, self._version)
            code = requests.new_code(document, self._document)
            requests.check_code(request, code, self._config.security)
            graph = lower(document)
            self._check(graph)
            text = write(document)
        except (GraphError, SourceError) as error:
            self._denied += 1
            logger.info("denied %s of %s: %s", request.action, request.client, error)
            return self._make_answer(request, reason=str(error))
        except StoreError:
            raise
        except FAULTS as error:
            # Of a package, or ours. The next manager would meet the request again, before everybody else's.
            self._denied += 1
            logger.exception("a fault while %s of %s was looked at", request.action, request.client)
            return self._make_answer(request, reason=f"a fault while this was looked at: {error!r}")
        answer = self._make_answer(request, graph=graph)
        self._publish(request, document, text, graph, answer)
        logger.info("version %d: %s by %s", graph.version, request.action, request.client)
        return answer

    def _check(self, graph: Graph) -> None:
        """Check a graph against the source's fields. User code runs, so that happens in a child process.

        Raises:
            GraphError: says what is wrong.
        """
        schema = requests.schema_of(self._schema())
        if not any(operation.kind == "function" for operation in graph.operations):
            check(graph, schema, self._graph)
            return
        reason, how = call_apart(
            lambda: _refusal(graph, schema, self._graph), timeout_s=self._setup.waits.check_s
        )
        if how:
            raise GraphError(f"to check the graph's functions on one event of ones {how}")
        if reason:
            raise GraphError(reason)

    def _make_answer(
        self, request: Request, *, reason: str | None = None, graph: Graph | None = None
    ) -> dict[str, Any]:
        current: dict[str, Any] = self._current or {"version": 0, "hash": Graph().hash}
        return Answer(
            id=request.id,
            accepted=reason is None,
            version=current["version"] if graph is None else graph.version,
            hash=current["hash"] if graph is None else graph.hash,
            reason=reason,
            warnings=[],
        ).to_plain()

    def _schema(self) -> str | None:
        deadline = time.monotonic() + self._setup.waits.schema_s
        while True:
            schema = self._source.get(keys.SCHEMA)
            if schema is not None or time.monotonic() > deadline or self._setup.stopping.wait(0.1):
                return schema
            self._leadership.hold()

    def _publish(
        self, request: Request, document: Document, text: str, graph: Graph, answer: dict[str, Any]
    ) -> None:
        entry = {
            "version": graph.version,
            "time_ns": time.time_ns(),
            "client": request.client,
            "action": request.action,
            "hash": graph.hash,
            "operations": len(graph.operations),
            "summary": requests.summary(self._document, document),
        }
        answers = dict(list(self._state["answers"].items())[-ANSWERS_KEPT + 1 :])
        state = {
            "history": [*self._state["history"][-HISTORY_KEPT + 1 :], entry],
            "answers": {**answers, request.id: answer},
        }
        current = {"version": graph.version, "hash": graph.hash}
        self._store.commit(
            self._leadership.lease,
            {
                keys.graph(graph.version): graph.to_plain(),
                keys.document(graph.version): text,
                keys.CURRENT: current,
                keys.STATE: state,
            },
            expected={keys.CURRENT: self._current or ABSENT},
            notify={keys.VERSIONS: graph.version},
        )
        self._document, self._current, self._state = document, current, state
        self._graph, self._unreadable = graph, ""
        forgotten = graph.version - self._config.manager.keep_versions
        if forgotten > 0:
            self._store.delete_many([keys.graph(forgotten), keys.document(forgotten)])

    def close(self) -> None:
        self._leadership.release()


def _refusal(graph: Graph, schema: Schema, before: Graph) -> str:
    try:
        check(graph, schema, before)
    except GraphError as error:
        return str(error)
    return ""
