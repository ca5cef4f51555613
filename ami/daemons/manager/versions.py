"""Keep the graph's versions: in the store for everybody, in files for when the store is gone.

Everything that a successor needs is written in the same step as the version itself, under a lease with a
fencing token: two managers cannot both publish, and a request whose answer was lost is answered again, not
applied again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ami.config import Config
from ami.daemons.manager import requests
from ami.daemons.manager.archive import Archive
from ami.daemons.manager.draft import Draft
from ami.daemons.manager.requests import Past
from ami.daemons.process import durable
from ami.errors import GraphError
from ami.graph.graph import Graph
from ami.graph.language.document import Document
from ami.graph.language.lower import lower
from ami.graph.language.text import restore
from ami.stores import ABSENT, Lease, Store, keys

logger = logging.getLogger(__name__)

# Answers kept for clients that ask again, and edits told in `history`.
ANSWERS_KEPT = 500
HISTORY_KEPT = 1000


class Versions:
    """The versions that the leading manager continues.

    Attributes:
        document, graph: the newest, as people wrote it and as it runs.
        current: its number and hash; None before the first.
        unreadable: why the newest is not known as people wrote it, "" when it is.
        answers: of requests that were carried out, by id.
    """

    def __init__(self, config: Config, store: Store, lease: Lease) -> None:
        self._config = config
        self._store = store
        self._lease = lease
        self._archive = Archive(durable.folder_of(config.node) / "graph", config.manager.keep_versions)
        self.current: dict[str, Any] | None = None
        self.document = Document()
        self.graph = Graph()
        self.unreadable = ""
        self.history: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}

    def use(self, store: Store) -> None:
        """Read from another connection: in a child process, where this one's is in use."""
        self._store = store

    @property
    def problem(self) -> str:
        """Why the newest version could not be written to a file; "" when it was."""
        return self._archive.problem

    def catch_up(self) -> None:
        """Write to files what the disk did not take before, now and then."""
        self._archive.catch_up()

    @property
    def past(self) -> Past:
        return Past(self._read, self.history)

    def load(self, *, interrupted: bool) -> None:
        """Continue where the last manager stopped; ``interrupted``: it had requests unanswered."""
        self._archive.forget_owed()
        self.current = self._store.get(keys.CURRENT)
        state = self._store.get(keys.STATE) or {"history": [], "answers": {}}
        self.history, self.answers = list(state["history"]), dict(state["answers"])
        self._show_newest()
        self._take_up(interrupted)
        version = 0 if self.current is None else int(self.current["version"])
        self.unreadable = ""
        large: tuple[tuple[str, int], ...] = ()
        try:
            self.document = self._read(version)
            large = Graph.from_plain(self._store.get(keys.graph(version))).large if version else ()
        except GraphError as error:
            # The number goes on, whatever stands behind it.
            self.document = Document(version)
            self.unreadable = f"{error}; only `ami graph set` is possible"
            logger.error("%s", self.unreadable)
        self.graph = lower(self.document).with_large(large)
        self._keep(version)
        logger.info("leading, graph version %d of %d operations", version, len(self.graph.operations))

    def _show_newest(self) -> None:
        """Publish the version that the last manager stored and did not come to publish."""
        newest: dict[str, Any] = self.history[-1] if self.history else {"version": 0}
        if newest["version"] > (0 if self.current is None else int(self.current["version"])):
            self._commit(newest["version"], newest["hash"], {})

    def _take_up(self, interrupted: bool) -> None:
        """Publish what the files have and the store has not: all of it, when the machine has died."""
        before = 0 if self.current is None else int(self.current["version"])
        records = self._archive.newer(before, self.history)
        if not records:
            return
        newest = records[-1]["entries"][-1]
        values: dict[str, Any] = {}
        for record in records:
            values[keys.graph(record["version"])] = record["graph"]
            values[keys.document(record["version"])] = record["text"]
            self._add_answers(record["answers"])
        state = "was empty" if before == 0 else f"had version {before}"
        said = f"{len(records)} versions from the files of {self._config.node.host}: the store {state}"
        note = {
            **{part: newest[part] for part in ("version", "hash", "operations")},
            "time_ns": time.time_ns(),
            "client": "graph-manager",
            "action": requests.TAKEN_UP,
            "summary": said,
        }
        entries = [entry for record in records for entry in record["entries"]]
        if len(records) > 1 or not interrupted:
            entries.append(note)  # else the last leader died between the file and the store
        self._add_entries(entries)
        self._commit(newest["version"], newest["hash"], values)
        logger.warning("took up %s", said)

    def _keep(self, version: int) -> None:
        """See that there is a file of the store's version: an earlier ami wrote none, and on this host."""
        entries = [one for one in self.history if one["version"] == version]
        text = self._store.get(keys.document(version))
        if version not in self._archive and entries and text is not None:
            plain = self._store.get(keys.graph(version))
            self._archive.write(
                {"version": version, "text": text, "graph": plain, "entries": entries, "answers": {}}
            )

    def _read(self, version: int) -> Document:
        if version == 0:
            return Document()
        text = self._store.get(keys.document(version))
        if text is None:
            raise GraphError(
                f"version {version} is not kept any more, or not as people wrote it (earlier versions of ami "
                f"stored operations only)"
            )
        return restore(text, self._store.get(keys.graph(version)))

    def publish(self, draft: Draft, text: str, graph: Graph, answers: Mapping[str, dict[str, Any]]) -> None:
        """Publish a version with the answers to all whose requests are in it.

        Answers get a warning where the version could not be written to a file.
        """
        entries = _list_entries(draft, graph)
        plain = graph.to_plain()
        # Before it is published: what an answer says has happened.
        problem = self._archive.write(
            {
                "version": graph.version,
                "text": text,
                "graph": plain,
                "entries": entries,
                "answers": dict(answers),
            }
        )
        for answer in answers.values() if problem else ():
            answer["warnings"].append(problem)
        history, known = self.history, self.answers
        self._add_entries(entries)
        self._add_answers(answers)
        try:
            self._commit(
                graph.version,
                graph.hash,
                {keys.graph(graph.version): plain, keys.document(graph.version): text},
            )
        except BaseException:
            self.history, self.answers = history, known
            raise
        self.document, self.graph, self.unreadable = draft.document, graph, ""

    def _add_entries(self, entries: Sequence[dict[str, Any]]) -> None:
        self.history = [*self.history, *entries][-HISTORY_KEPT:]

    def _add_answers(self, answers: Mapping[str, dict[str, Any]]) -> None:
        self.answers = dict(list({**self.answers, **answers}.items())[-ANSWERS_KEPT:])

    def _commit(self, version: int, digest: str, values: Mapping[str, Any]) -> None:
        current = {"version": version, "hash": digest}
        state = {"history": self.history, "answers": self.answers}
        forgotten = version - self._config.manager.keep_versions
        expected = {keys.CURRENT: self.current or ABSENT}
        gone = [keys.graph(forgotten), keys.document(forgotten)] if forgotten > 0 else []
        stored = {**values, keys.STATE: state}
        if self._lease.has_copies:
            # Nobody sees a version that is not certain: it might run, be lost, and its number be given again.
            self._store.commit(self._lease, stored, expected=expected, copied=True)
            stored = {}
        self._store.commit(
            self._lease,
            {**stored, keys.CURRENT: current},
            expected=expected,
            notify={keys.VERSIONS: version},
            remove=gone,
            copied=True,
        )
        self.current = current


def _list_entries(draft: Draft, graph: Graph) -> list[dict[str, Any]]:
    """Return what the history says of a version: a record for each whose edit is in it."""
    # That only the lanes changed is nobody's edit, and in the history all the same.
    made = [member for member in draft.members if member.changes] or draft.members[:1]
    return [
        {
            "version": graph.version,
            "time_ns": time.time_ns(),
            "client": member.request.client,
            "action": member.request.action,
            "hash": graph.hash,
            "operations": len(graph.operations),
            "summary": member.summary,
            **({"takes_back": member.takes_back} if member.takes_back is not None else {}),
            **draft.tell_parts(member),
        }
        for member in made
    ]
