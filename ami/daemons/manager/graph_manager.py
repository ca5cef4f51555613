"""Be the graph manager: take requests, each client's in order, check them, number and publish versions.

What clients ask for at once becomes one version, so that a hundred of them cost little more than one;
people's functions are tried beside.
"""

from __future__ import annotations

import logging
import mmap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ami.daemons.manager import requests
from ami.daemons.manager.checking import PLACE, Caution, Checking, Known, cut, is_others, most_bytes
from ami.daemons.manager.draft import Draft, Touched, list_touched
from ami.daemons.manager.intake import ALONE, HOPELESS, Intake, Taken
from ami.daemons.manager.requests import Edit
from ami.daemons.manager.run_orders import ACTION, OrderBook
from ami.daemons.manager.trials import Trials
from ami.daemons.manager.versions import Versions
from ami.daemons.process.apart import call_apart
from ami.daemons.process.leadership import Leadership
from ami.daemons.process.stage import LONG_STEP_S, Setup
from ami.errors import FAULTS, Conflict, GraphError, SourceError, StoreError, StoreFull, StoreUnavailable
from ami.graph.graph import Graph
from ami.graph.language.lower import lower
from ami.graph.language.text import write
from ami.messages.answer import Answer
from ami.messages.request import Request
from ami.stores import keys, roles
from ami.stores.opened import Stores

logger = logging.getLogger(__name__)

MAX_REASON = 10_000  # characters
TRIAL_S = 10.0  # for a request in whose hands another manager ended
LOOK_S = 0.02  # for requests, while trials are under way

Plain = dict[str, Any]


@dataclass(slots=True)
class Gathered:
    """The first of a group: those in the ``draft``, and the ``denied`` with the reason; and the ``rest``."""

    draft: Draft
    first: list[Taken] = field(default_factory=list)
    denied: dict[str, str] = field(default_factory=dict)  # by id
    rest: Sequence[Taken] = ()


class GraphManagerStage:
    """The graph manager of the cluster, or its stand-by: whoever has the lease acts."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._config = config = setup.config
        self._store = setup.stores.cluster("graph-manager")
        self._source = setup.stores.cluster("source")
        self._orders = OrderBook(self._source, setup.stores.cluster("global-reducer"))
        self._trials = Trials()
        place = keys.prefix(config.node.host, "graph-manager", setup.number)
        lease = self._store.lease(keys.LEASE, config.manager.lease_s, place=place)
        self._intake = Intake(self._store, lease)
        self._leadership = Leadership(lease, config.manager.lease_s, self._load)
        self._versions = Versions(config, self._store, lease)
        self._known = Known()
        self._taken = self._denied = 0
        self._interrupted = False  # whether the last leader had a request in hand
        self._is_closing = False

    @property
    def state(self) -> str:
        if not self._leadership.held:
            return "waiting: another manager has the lease"
        return f"running, but {self._versions.problem}" if self._versions.problem else "running"

    @property
    def counters(self) -> Mapping[str, float]:
        return {
            "version": self._versions.document.version,
            "operations": len(self._versions.graph.operations),
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
        self._versions.catch_up()
        try:
            for _, request in self._trials.collect():
                self._intake.go_on(request.client)
            group = self._intake.next_group(min(wait_s, LOOK_S) if self._trials else wait_s)
            self._refuse_crowded()
            if group:
                self._answer(group)
        except (StoreUnavailable, StoreFull):
            # Requests may be in the processing list, unanswered: begin anew, and look there first.
            self._leadership.lose()
            raise
        except Conflict as error:
            # Somebody else leads now; the requests are still in the processing list, and are his.
            self._leadership.lose(error)

    def _load(self) -> None:
        """Continue where the last manager stopped."""
        self._trials.forget()
        self._interrupted = self._intake.recover() > 0 or self._interrupted
        self._versions.load(interrupted=self._interrupted)
        self._interrupted = False

    # requests

    def _answer(self, group: Sequence[Taken]) -> None:
        """Answer one request of each client that waits."""
        known = {**self._intake.answered, **self._versions.answers}
        done = {request.id: known[request.id] for _, request in group if request.id in known}
        self._reply([taken for taken in group if taken[1].id in done], done)
        group = self._hand_on_orders([taken for taken in group if taken[1].id not in done])
        if not group:
            return
        self._intake.mark(group)
        with self._setup.patience.up_to(), self._leadership.kept(LONG_STEP_S):
            doubts = {request.id: self._intake.doubt(item) for item, request in group}
            if any(doubts.values()):
                fatal = self._try_apart(group)
                ended = [taken for taken in group if taken[1].id in fatal]
                self._reply(
                    ended, {request.id: self._deny(request, fatal[request.id]) for _, request in ended}
                )
                group = [taken for taken in group if taken[1].id not in fatal]
            for taken in [one for one in group if doubts[one[1].id] == ALONE]:
                self._intake.mark([taken])
                self._carry_out([taken], beside=False)
            self._carry_out([taken for taken in group if doubts[taken[1].id] < ALONE], beside=True)

    def _hand_on_orders(self, group: Sequence[Taken]) -> list[Taken]:
        """Hand on what is to be ordered of the sources, and answer it; return the other requests."""
        ordered = [taken for taken in group if taken[1].action == ACTION]
        answers = {}
        for _, request in ordered:
            try:
                number = self._orders.add(request, self._store.time_ns())
            except GraphError as error:
                answers[request.id] = self._deny(request, str(error))
            else:
                answers[request.id] = self._make_answer(request) | {"changes": {"order": number}}
        self._reply(ordered, answers)
        return [taken for taken in group if taken[1].action != ACTION]

    def _refuse_crowded(self) -> None:
        crowded, self._intake.crowded = self._intake.crowded, []
        reason = "too many requests of yours wait already; ask again when those are answered"
        self._reply(crowded, {request.id: self._deny(request, reason) for _, request in crowded})

    def _try_apart(self, group: Sequence[Taken]) -> dict[str, str]:
        """Return why requests are not to be looked at here, by id: managers end of them."""
        text = "more than one graph manager ended while it looked at this; it is not tried again"
        fatal = {request.id: text for item, request in group if self._intake.doubt(item) == HOPELESS}
        ahead = [taken for taken in group if taken[1].id not in fatal]
        with mmap.mmap(-1, PLACE.size) as at:
            while ahead:
                _, how = call_apart(
                    lambda: self._look_at_each(ahead, at), timeout_s=TRIAL_S, moved=lambda: at[:]
                )
                if not how:
                    break
                (place,) = PLACE.unpack(at[:])
                fatal[ahead[place][1].id] = (
                    f"a graph manager ended while it looked at this, and to look again {how}; it is not done"
                )
                del ahead[: place + 1]
        return fatal

    def _look_at_each(self, ahead: Sequence[Taken], at: mmap.mmap) -> str:
        """Do in a child process what is done with a request, but for publishing it."""
        # Connections of its own: those of this process are in the middle of something.
        stores = Stores(self._config, roles.of_process("graph-manager"))
        self._store, self._source = stores.cluster("graph-manager"), stores.cluster("source")
        self._versions.use(self._store)
        for place, taken in enumerate(ahead):
            at[:] = PLACE.pack(place)
            try:
                gathered = self._gather([taken], beside=False)
                if gathered.draft.members:
                    self._make(gathered.draft)
            except FAULTS:  # is told by who looks next, and lives
                continue
        return ""

    def _carry_out(self, group: Sequence[Taken], *, beside: bool) -> None:
        """Answer requests in order, in as few versions as possible.

        ``beside``: people's functions are tried beside; a request with some comes again after that.
        """
        while group:
            gathered = self._gather(group, beside=beside)
            first, denied, group = gathered.first, gathered.denied, gathered.rest
            answers: dict[str, Plain] = {}
            try:
                if gathered.draft.members:
                    answers = self._conclude(gathered.draft)
            except StoreError:
                raise
            except FAULTS as error:
                if len(first) > 1:
                    # Which of them it is, and what the others were told because of it, shows apart.
                    half = len(first) // 2
                    self._carry_out(first[:half], beside=beside)
                    self._carry_out(first[half:], beside=beside)
                    continue
                ((_, request),) = first
                denied = {request.id: self._explain(request, error)}
            named = {request.id: request for _, request in first}
            answers.update((key, self._deny(named[key], reason)) for key, reason in denied.items())
            self._reply(first, answers)

    def _gather(self, group: Sequence[Taken], *, beside: bool) -> Gathered:
        """Put the edits of a group together, up to the first that cannot join those before it."""
        versions = self._versions
        found = Gathered(Draft(versions.document))
        now_ns = self._store.time_ns()
        for place, taken in enumerate(group):
            request = taken[1]
            if place and versions.unreadable:  # the first may put an end to that
                found.rest = group[place:]
                break
            try:
                edit = self._apply(found.draft, request, now_ns)
                touched = list_touched(found.draft.document, edit.document, request.client)
                if beside and self._begins_trial(taken, edit, touched):
                    continue
                if not found.draft.join(request, edit, touched):
                    found.rest = group[place:]
                    break
            except StoreError:
                raise
            except FAULTS as error:
                found.denied[request.id] = self._explain(request, error)
            found.first.append(taken)
        return found

    def _apply(self, draft: Draft, request: Request, now_ns: int) -> Edit:
        """Return what a request makes of a draft's document, if what it is may be done here.

        Raises:
            GraphError: it may not, or cannot, or its trial failed.
        """
        tried = self._trials.found.get(request.id)
        if tried is not None and tried.known is None:
            raise GraphError(tried.reason)
        if self._versions.unreadable and request.action != "set":
            raise GraphError(self._versions.unreadable)
        edit = draft.apply(request, self._versions.past, now_ns)
        requests.check_code(request, requests.new_code(edit.document, draft.document), self._config.security)
        if tried is not None and tried.known is not None:
            self._known.take_over(tried.known)
        return edit

    def _begins_trial(self, taken: Taken, edit: Edit, touched: Touched) -> bool:
        """Begin a trial where others' code is new in an edit; return whether that was so."""
        made = edit.document.definitions
        parts = (part for name in touched.names if name in made for part in made[name].parts)
        if taken[1].id in self._trials.found or not any(map(is_others, parts)):
            return False
        graph, checking = lower(edit.document), self._prepare_check()
        if not checking.is_news(graph):
            return False
        checking = replace(checking, known=self._known.copy())

        def check() -> Known:
            checking.check(graph, self._setup.waits.check_s, self._stop_if_closing)
            return checking.known

        self._intake.put_back(taken, busy=True)
        self._trials.begin(taken, check)
        return True

    def _stop_if_closing(self) -> None:
        if self._is_closing:
            raise GraphError("the graph manager stops")

    def _make(self, draft: Draft) -> tuple[Graph, list[Caution], str]:
        """Return what runs of a draft, cautions, and what is stored as people wrote it."""
        graph, cautions = self._prepare_check().check(lower(draft.document), self._setup.waits.check_s)
        return graph, cautions, write(draft.document)

    def _conclude(self, draft: Draft) -> dict[str, Plain]:
        """Publish a draft, if it changes anything; return the answers by id.

        Raises:
            GraphError: it cannot be done with one of the edits.
        """
        graph, cautions, text = self._make(draft)
        if not draft.changes and self._is_as_it_runs(graph):
            return {member.request.id: self._make_answer(member.request) for member in draft.members}
        answers = {}
        shown = None if draft.is_dry_run else graph
        for member in draft.members:
            answers[member.request.id] = answer = self._make_answer(member.request, graph=shown)
            mine = {"", *member.touched.names}
            told = [one for one in cautions if len(draft.members) == 1 or one[0] in mine]
            answer["warnings"] += [caution for _, caution in cut(told)]
            answer["changes"] = member.changes
        if draft.is_dry_run:
            return answers
        self._versions.publish(draft, text, graph, answers)
        self._known.forget_all_but(graph)
        for member in draft.members:
            logger.info("version %d: %s by %s", graph.version, member.request.action, member.request.client)
        return answers

    def _prepare_check(self) -> Checking:
        text = self._schema()
        if text != self._known.schema:
            self._known = Known(text)
        schema = requests.schema_of(text)
        told_ns = self._source.get(keys.INTERVAL)
        interval_ns = told_ns if isinstance(told_ns, int) else round(self._config.source.interval_s * 1e9)
        most, code_bytes = most_bytes(self._config), self._config.worker.memory_bytes
        return Checking(schema, self._versions.graph, interval_ns, most, self._known, code_bytes)

    def _schema(self) -> str | None:
        deadline = time.monotonic() + self._setup.waits.schema_s
        while True:
            schema = self._source.get(keys.SCHEMA)
            if schema is not None or time.monotonic() > deadline or self._setup.stopping.wait(0.1):
                return schema
            self._leadership.hold()

    def _is_as_it_runs(self, graph: Graph) -> bool:
        """Whether what is made of the document is what is published; another source has larger images."""
        versions = self._versions
        return (
            versions.current is not None and not versions.unreadable and graph.large == versions.graph.large
        )

    # answers

    def _reply(self, group: Sequence[Taken], answers: Mapping[str, Plain]) -> None:
        """Send each its answer, and let go of the requests."""
        if not group:
            return
        self._intake.answer(answers, self._versions.answers, expire_s=self._config.manager.reply_s)
        self._intake.done([item for item, _ in group])
        self._taken += len(group)
        for _, request in group:
            self._trials.found.pop(request.id, None)

    def _explain(self, request: Request, error: BaseException) -> str:
        """Return why a request is denied at which this was met."""
        if isinstance(error, GraphError | SourceError):
            return str(error)
        # Of a package, or ours. The next manager would meet the request again, before everybody else's.
        logger.error("a fault while %s of %s was looked at", request.action, request.client, exc_info=error)
        return f"a fault while this was looked at: {error!r}"

    def _deny(self, request: Request, reason: str) -> Plain:
        self._denied += 1
        logger.info("denied %s of %s: %.500s", request.action, request.client, reason)
        return self._make_answer(request, reason=reason[:MAX_REASON])

    def _make_answer(
        self, request: Request, *, reason: str | None = None, graph: Graph | None = None
    ) -> Plain:
        current: Plain = self._versions.current or {"version": 0, "hash": Graph().hash}
        return Answer(
            id=request.id,
            accepted=reason is None,
            version=current["version"] if graph is None else graph.version,
            hash=current["hash"] if graph is None else graph.hash,
            reason=reason,
            warnings=[],
        ).to_plain()

    def close(self) -> None:
        self._is_closing = True
        self._trials.close()
        self._leadership.release()
