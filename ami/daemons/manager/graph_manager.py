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
from ami.daemons.manager.archive import Archive
from ami.daemons.manager.checking import Checking, Known
from ami.daemons.manager.intake import Intake
from ami.daemons.manager.requests import Edit, Past
from ami.daemons.process import durable
from ami.daemons.process.apart import call_apart
from ami.daemons.process.leadership import Leadership
from ami.daemons.process.stage import LONG_STEP_S, Setup
from ami.errors import (
    FAULTS,
    Conflict,
    GraphError,
    SourceError,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from ami.graph.execution.lanes import STATE_SHARE
from ami.graph.graph import Graph
from ami.graph.language.changes import compare
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import restore, write
from ami.messages.answer import Answer
from ami.messages.request import Request
from ami.stores import ABSENT, Item, keys
from ami.stores.opened import Stores

logger = logging.getLogger(__name__)

# Answers kept for clients that ask again, and versions told in `history`.
ANSWERS_KEPT = 500
MAX_REASON = 10_000  # characters
HISTORY_KEPT = 1000
TRIAL_S = 10.0  # for a request in whose hands another manager ended


class GraphManagerStage:
    """The graph manager of the cluster, or its stand-by: whoever has the lease acts."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._config = config = setup.config
        self._store = setup.stores.cluster("graph-manager")
        self._source = setup.stores.cluster("source")
        self._intake = Intake(self._store)
        self._archive = Archive(durable.folder_of(config.node) / "graph", config.manager.keep_versions)
        place = keys.prefix(config.node.host, "graph-manager", setup.number)
        lease = self._store.lease(keys.LEASE, config.manager.lease_s, place=place)
        self._leadership = Leadership(lease, config.manager.lease_s, self._load)
        self._current: dict[str, Any] | None = None
        self._document = Document()
        self._unreadable = ""
        self._graph = Graph()
        self._state: dict[str, Any] = {"history": [], "answers": {}}
        self._known = Known()
        self._taken = self._denied = 0
        self._interrupted = False  # whether the last leader had a request in hand

    @property
    def state(self) -> str:
        if not self._leadership.held:
            return "waiting: another manager has the lease"
        return f"running, but {self._archive.problem}" if self._archive.problem else "running"

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
            taken = self._intake.next(wait_s)
            if taken is not None:
                self._answer(*taken)
        except (StoreUnavailable, StoreFull):
            # A request may be in the processing list, unanswered: begin anew, and look there first.
            self._leadership.lose()
            raise
        except Conflict as error:
            # Somebody else leads now; the request is still in the processing list, and is his.
            self._leadership.lose(error)

    def _load(self) -> None:
        """Continue where the last manager stopped."""
        self._current = self._store.get(keys.CURRENT)
        self._state = self._store.get(keys.STATE) or {"history": [], "answers": {}}
        self._interrupted = self._intake.recover() > 0 or self._interrupted
        self._take_up()
        version = 0 if self._current is None else int(self._current["version"])
        self._unreadable = ""
        large: tuple[tuple[str, int], ...] = ()
        try:
            self._document = self._version(version)
            large = Graph.from_plain(self._store.get(keys.graph(version))).large if version else ()
        except GraphError as error:
            # The number goes on, whatever stands behind it.
            self._document = Document(version)
            self._unreadable = f"{error}; only `ami graph set` is possible"
            logger.error("%s", self._unreadable)
        self._graph = lower(self._document).with_large(large)
        self._keep(version)
        self._interrupted = False
        logger.info("leading, graph version %d of %d operations", version, len(self._graph.operations))

    def _take_up(self) -> None:
        """Publish what the files have and the store has not: all of it, when the machine has died."""
        before = 0 if self._current is None else int(self._current["version"])
        records = self._archive.newer(before, self._state["history"])
        if not records:
            return
        newest, answers = records[-1]["entry"], dict(self._state["answers"])
        values: dict[str, Any] = {}
        for record in records:
            values[keys.graph(record["version"])] = record["graph"]
            values[keys.document(record["version"])] = record["text"]
            answers |= record["answers"]
        state = "was empty" if before == 0 else f"had version {before}"
        said = f"{len(records)} versions from the files of {self._config.node.host}: the store {state}"
        note = {
            **newest,
            "time_ns": time.time_ns(),
            "client": "graph-manager",
            "action": requests.TAKEN_UP,
            "summary": said,
        }
        history = [*self._state["history"], *(record["entry"] for record in records)]
        if len(records) > 1 or not self._interrupted:
            history.append(note)  # else the last leader died between the file and the store
        self._state = {
            "history": history[-HISTORY_KEPT:],
            "answers": dict(list(answers.items())[-ANSWERS_KEPT:]),
        }
        current = {"version": newest["version"], "hash": newest["hash"]}
        self._store.commit(
            self._leadership.lease,
            {**values, keys.CURRENT: current, keys.STATE: self._state},
            expected={keys.CURRENT: self._current or ABSENT},
            notify={keys.VERSIONS: newest["version"]},
        )
        self._current = current
        logger.warning("took up %s", said)

    def _keep(self, version: int) -> None:
        """See that there is a file of the store's version: an earlier ami wrote none, and on this host."""
        entry = next((one for one in self._state["history"] if one["version"] == version), None)
        text = self._store.get(keys.document(version))
        if version not in self._archive and entry is not None and text is not None:
            plain = self._store.get(keys.graph(version))
            self._archive.write(
                {"version": version, "text": text, "graph": plain, "entry": entry, "answers": {}}
            )

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

    @property
    def _past(self) -> Past:
        return Past(self._version, self._state["history"])

    # requests

    def _answer(self, item: Item, request: Request) -> None:
        self._taken += 1
        answer = self._state["answers"].get(request.id)
        if answer is None:
            with self._setup.patience.up_to(), self._leadership.kept(LONG_STEP_S):
                fatal = self._try_apart(item, request)
                answer = self._deny(request, fatal) if fatal else self._decide(request)
        self._reply(request, answer)
        self._intake.done(item)

    def _try_apart(self, item: Item, request: Request) -> str:
        """Return why a request is not to be looked at here, "" as a rule: managers end of it."""
        ends = self._intake.count_ends(item)
        if ends == 0:
            return ""
        if ends > 1:
            return "more than one graph manager ended while it looked at this; it is not tried again"

        def look() -> str:
            # Connections of its own: those of this process are in the middle of something.
            stores = Stores(self._config)
            self._store, self._source = stores.cluster("graph-manager"), stores.cluster("source")
            self._decide(request, publish=False)
            return ""

        _, how = call_apart(look, timeout_s=TRIAL_S)
        return (
            f"a graph manager ended while it looked at this, and to look again {how}; it is not done"
            * bool(how)
        )

    def _reply(self, request: Request, answer: dict[str, Any]) -> None:
        name = keys.reply(request.id)
        self._store.queue(name).put(answer)
        self._store.expire(name, self._config.manager.reply_s)

    def _deny(self, request: Request, reason: str) -> dict[str, Any]:
        self._denied += 1
        logger.info("denied %s of %s: %.500s", request.action, request.client, reason)
        return self._make_answer(request, reason=reason[:MAX_REASON])

    def _decide(self, request: Request, *, publish: bool = True) -> dict[str, Any]:
        try:
            if self._unreadable and request.action != "set":
                raise GraphError(self._unreadable)
            edit = requests.apply(request, self._document, self._past, self._store.time_ns())
            document, changes = edit.document, requests.describe(request, self._document, edit)
            code = requests.new_code(document, self._document)
            requests.check_code(request, code, self._config.security)
            graph, cautions = self._check(lower(document))
            text = write(document)
        except (GraphError, SourceError) as error:
            return self._deny(request, str(error))
        except StoreError:
            raise
        except FAULTS as error:
            # Of a package, or ours. The next manager would meet the request again, before everybody else's.
            self._denied += 1
            logger.exception("a fault while %s of %s was looked at", request.action, request.client)
            return self._make_answer(request, reason=f"a fault while this was looked at: {error!r}")
        if not changes and self._is_as_it_runs(graph):
            return self._make_answer(request)
        answer = self._make_answer(request, graph=graph)
        answer["warnings"] += cautions
        answer["changes"] = changes
        if publish:
            self._publish(request, edit, text, graph, answer)
            logger.info("version %d: %s by %s", graph.version, request.action, request.client)
        return answer

    def _check(self, graph: Graph) -> tuple[Graph, list[str]]:
        text = self._schema()
        if text != self._known.schema:
            self._known = Known(text)
        schema = requests.schema_of(text)
        told_ns = self._source.get(keys.INTERVAL)
        interval_ns = told_ns if isinstance(told_ns, int) else round(self._config.source.interval_s * 1e9)
        config = self._config
        # A worker has a span's states twice at times: those that it adds to, and empty ones.
        most_bytes = min(
            int(STATE_SHARE * config.global_store.max_memory_bytes), config.worker.memory_bytes // 3
        )
        checking = Checking(schema, self._graph, interval_ns, most_bytes, self._known)
        return checking.check(graph, self._setup.waits.check_s)

    def _is_as_it_runs(self, graph: Graph) -> bool:
        """Whether what is made of the document is what is published; another source has larger images."""
        return self._current is not None and not self._unreadable and graph.large == self._graph.large

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

    def _publish(self, request: Request, edit: Edit, text: str, graph: Graph, answer: dict[str, Any]) -> None:
        entry = {
            "version": graph.version,
            "time_ns": time.time_ns(),
            "client": request.client,
            "action": request.action,
            "hash": graph.hash,
            "operations": len(graph.operations),
            "summary": compare(self._document, edit.document).summary,
            **({"takes_back": edit.takes_back["version"]} if edit.takes_back else {}),
        }
        plain = graph.to_plain()
        # Before it is published: what an answer says has happened.
        problem = self._archive.write(
            {
                "version": graph.version,
                "text": text,
                "graph": plain,
                "entry": entry,
                "answers": {request.id: answer},
            }
        )
        answer["warnings"] += [problem] if problem else []
        answers = dict(list(self._state["answers"].items())[-ANSWERS_KEPT + 1 :])
        state = {
            "history": [*self._state["history"][-HISTORY_KEPT + 1 :], entry],
            "answers": {**answers, request.id: answer},
        }
        current = {"version": graph.version, "hash": graph.hash}
        self._store.commit(
            self._leadership.lease,
            {
                keys.graph(graph.version): plain,
                keys.document(graph.version): text,
                keys.CURRENT: current,
                keys.STATE: state,
            },
            expected={keys.CURRENT: self._current or ABSENT},
            notify={keys.VERSIONS: graph.version},
        )
        self._document, self._current, self._state = edit.document, current, state
        self._graph, self._unreadable = graph, ""
        self._known.forget_all_but(graph)
        forgotten = graph.version - self._config.manager.keep_versions
        if forgotten > 0:
            self._store.delete_many([keys.graph(forgotten), keys.document(forgotten)])

    def close(self) -> None:
        self._leadership.release()
