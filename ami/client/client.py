"""Speak to one cluster for one person or program: read results, edit the graph, look after it.

Reading goes straight to the global store. Editing goes through the graph manager's queue, and its
answer is waited for, so an edit that returns has happened.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import ami.messages  # noqa: F401  # registers the value types that results are made of
from ami.access import read_access, use_access
from ami.client.updates import Updates, read_history, read_result, read_results
from ami.cluster.supervisor import nobody_is_here
from ami.config import Config, load
from ami.errors import AmiError, GraphError, StoreUnavailable
from ami.graph.operation import check_name
from ami.messages.answer import Answer
from ami.messages.request import Request
from ami.result import Result
from ami.security import sign
from ami.stores import keys, roles
from ami.stores.opened import Stores

if TYPE_CHECKING:
    from ami.client.inspect import KeyView
    from ami.client.meter import Meter
    from ami.client.run_control import RunBorder
    from ami.client.status import ClusterStatus
    from ami.event import Schema
    from ami.graph.graph import Graph
    from ami.graph.language.document import Document

DEFAULT_TIMEOUT_S = 10.0


def connect(
    config: Config | Path | None = None, *, name: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Client:
    """Return a client of the cluster that ``config`` (settings, their file, or the usual file) names.

    Args:
        name: who owns the operations that this client adds; USER@HOST when not given.
        timeout_s: how long any call may take.

    Raises:
        ConfigError: the settings are wrong.
        StoreUnavailable: nobody answers where the global store should be.
    """
    settings = config if isinstance(config, Config) else load(config)
    return Client(settings, name=name, timeout_s=timeout_s)


def default_name(config: Config) -> str:
    """Return USER@HOST."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        user = str(os.getuid())
    return f"{user}@{config.node.host}"


def _says_something(result: object) -> bool:
    """Return whether this is a result with a value, or with the reason why it has none."""
    return isinstance(result, Result) and (result.value is not None or result.error is not None)


class Client:
    """A connection to one cluster. Close it, or use it in a ``with`` statement.

    It has more methods than a class should because it is all that a notebook needs, in one place;
    the work of most of them is in the modules beside this one.
    """

    def __init__(
        self, config: Config, *, name: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self.config = config = use_access(config)
        file = config.global_store.access_file
        self._account = read_access(Path(file)).name if file else ""
        # The name of an account is its owner's, whatever it calls itself.
        self.name = self._account or (default_name(config) if name is None else name)
        check_name(self.name, "a client")
        self.timeout_s = timeout_s
        #: Whether edits are only checked: their answers say what would come of them, and nothing changes.
        self.dry_run = False
        where = config.global_store
        self._stores = Stores(replace(config, global_store=replace(where, timeout_s=timeout_s)), roles.CLIENT)
        self._whole: Stores | None = None
        self._manager = self._stores.cluster("graph-manager")
        self._reducer = self._stores.cluster("global-reducer")
        if nobody_is_here(config):
            self._stores.close()
            raise StoreUnavailable(
                f"no node runs here: nobody answers at {where.host}:{where.port}, nor a supervisord at "
                f"{config.monitor.supervisor_socket}; start one with `make run` or `make up`"
            )
        try:
            self._manager.get(keys.CURRENT)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"no global store at {where.host}:{where.port}: is the node up? "
                f"`ami status` says what it does ({error})"
            ) from error

    def close(self) -> None:
        self._stores.close()
        if self._whole is not None:
            self._whole.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # results

    def catalogue(self) -> dict[str, dict[str, Any]]:
        """Return what is published: for each name its window, kind and graph version, without values."""
        catalogue = self._reducer.get(keys.CATALOGUE)
        return catalogue if isinstance(catalogue, dict) else {}

    def results(self) -> dict[str, Result]:
        """Return the newest of every published result, by name, in the order of the catalogue."""
        return read_results(self._reducer, list(self.catalogue()))

    def get(self, name: str, *, wait_s: float = 0.0) -> Result:
        """Return the newest result ``name``, after waiting up to ``wait_s`` until it has a value.

        Raises:
            AmiError: there is none; the text has names that are similar.
        """
        found = read_result(self._reducer, name)
        if wait_s > 0 and not _says_something(found):
            end = time.monotonic() + wait_s
            updates = Updates(self._reducer, [name])
            while not _says_something(found) and (left_s := end - time.monotonic()) > 0:
                found = updates.take(left_s).get(name, found)
        if not isinstance(found, Result):
            raise AmiError(self._no_result(name))
        return found

    def _no_result(self, name: str) -> str:
        from difflib import get_close_matches

        names = sorted(self.catalogue())
        if not names:
            return f"no result {name!r}: nothing is published yet; `ami status` says what runs"
        near = get_close_matches(name, names, n=3) or names[:10]
        return f"no result {name!r}; there is {', '.join(near)}" + (", …" if len(names) > len(near) else "")

    def watch(self, names: Collection[str] | None = None, timeout_s: float | None = None) -> Iterator[Result]:
        """Yield each new result of ``names`` (None: all), beginning with what is there.

        A reader that is slower than the results gets the newest, not all. Ends when nothing came
        for ``timeout_s`` (None: never).

        Raises:
            StoreUnavailable: the store went away; watch again when it is back.
        """
        updates = self.updates(names)
        while True:
            found = updates.take(60.0 if timeout_s is None else timeout_s)
            yield from found.values()
            if not found and timeout_s is not None:
                return

    def updates(self, names: Collection[str] | None = None) -> Updates:
        """Return what :meth:`watch` goes through, for a caller that has a clock of its own."""
        return Updates(self._reducer, names)

    def history(self, name: str, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the last values of a scalar result, oldest first: interval, time_ns, value, used.

        Raises:
            AmiError: there is no such result; the text has names that are similar.
        """
        found = read_history(self._reducer, name, limit)
        if not found and name not in self.catalogue():
            raise AmiError(self._no_result(name))
        return found

    # the graph

    def graph(self, version: int | None = None) -> Graph:
        """Return the graph that runs now, or an earlier ``version``; an empty one before the first.

        Raises:
            GraphError: Control does not have that version (any more).
        """
        from ami.graph.graph import Graph

        number, plain = self._find_version(version, keys.graph)
        return Graph.from_plain(plain) if number else Graph()

    def document(self, version: int | None = None) -> Document:
        """Return what people wrote: of the graph that runs now, or of an earlier ``version``.

        Raises:
            GraphError: Control does not have that version (any more), or not its text.
        """
        from ami.graph.language.document import Document
        from ami.graph.language.text import restore

        number, text = self._find_version(version, keys.document)
        return restore(text, self._manager.get(keys.graph(number))) if number else Document()

    def _find_version(self, version: int | None, key: Callable[[int], str]) -> tuple[int, Any]:
        """Return the number of a version (None: the one that runs) and what Control has under its key."""
        number = self.graph_version()[0] if version is None else version
        found = self._manager.get(key(number)) if number else None
        if number and found is None:
            raise GraphError(f"there is no graph version {number}; `ami graph history` lists what there is")
        return number, found

    def graph_version(self) -> tuple[int, str]:
        """Return number and hash of the graph that runs now; 0 and "" before the first."""
        current = self._manager.get(keys.CURRENT)
        return (0, "") if current is None else (int(current["version"]), str(current["hash"]))

    def graph_history(self) -> list[dict[str, Any]]:
        """Return the versions, oldest first: version, time_ns, client, action, summary, hash."""
        state = self._manager.get(keys.STATE)
        history = state.get("history") if isinstance(state, dict) else None
        return [dict(record) for record in history or () if isinstance(record, dict)]

    def schema(self) -> Schema | None:
        """Return the fields of the events, as the source tells them; None before it did."""
        from ami.event import Schema

        text = self._stores.cluster("source").get(keys.SCHEMA)
        return Schema.from_json(text) if isinstance(text, str) else None

    def add(self, *texts: str, expected_version: int | None = None) -> dict[str, Any]:
        """Add operations and results: a YAML text, or definitions like ``"bright = sum(camera)"``.

        Raises:
            GraphError: denied; a name is taken by somebody else, or the check failed.
        """
        return self._edit("add", texts, expected_version)

    def replace(self, *texts: str, expected_version: int | None = None) -> dict[str, Any]:
        """As :meth:`add`; operations of the same names that are mine are replaced."""
        return self._edit("replace", texts, expected_version)

    def set(self, *texts: str, expected_version: int | None = None, force: bool = False) -> dict[str, Any]:
        """Put this graph in place of the whole one. What others lose by it they lose with ``force`` only."""
        return self._edit("set", texts, expected_version, force=force)

    def remove(self, *names: str, expected_version: int | None = None, force: bool = False) -> dict[str, Any]:
        """Remove operations; ``force``: also those that others own, too."""
        return self.request("remove", names=list(names), force=force, expected_version=expected_version)

    def remove_mine(self) -> dict[str, Any]:
        """Remove every operation that belongs to nobody but this client."""
        return self.request("remove-mine")

    def undo(self, version: int | None = None, *, force: bool = False) -> dict[str, Any]:
        """Take back this client's last change that is not taken back yet, or its change ``version``.

        Others' changes stay, also those that came since. ``version`` may be one that took another back.
        """
        return self.request("undo", version=version, force=force)

    def rollback(self, version: int, *, force: bool = False) -> dict[str, Any]:
        """Go back to the graph of ``version``, as a new version; ``force``: whoever loses by it."""
        return self.request("rollback", version=version, force=force)

    def reset(self, *names: str, force: bool = False) -> dict[str, Any]:
        """Let the windows of these results, or of all, begin anew; ``force``: also those of others."""
        return self.request("reset", names=list(names), force=force)

    # runs

    def order(self, action: str, value: float = 0.0) -> RunBorder:
        """Order a border on all nodes: "begin" or "end" of a run, a "step" of this value, or "end-step".

        Raises:
            GraphError: refused, with the reason: a recording's or a sender's runs are its own.
            AmiError: no answer in time.
        """
        from ami.client.run_control import wait_for_border

        answer = self.request("run-control", order=action, value=value)
        return wait_for_border(self._stores.cluster("source"), answer["changes"]["order"], self.timeout_s)

    def _edit(
        self, action: str, texts: tuple[str, ...], expected_version: int | None, **fields: Any
    ) -> dict[str, Any]:
        from ami.client.definitions import to_yaml

        text, publish = to_yaml(texts)
        return self.request(action, text=text, publish=publish, expected_version=expected_version, **fields)

    def request(self, action: str, *, timeout_s: float | None = None, **fields: Any) -> dict[str, Any]:
        """Ask the graph manager for ``action`` and return its answer.

        The answer has version, hash and warnings of the graph that came of it, and its ``changes`` by names:
        ``published``, ``values``, ``removed``, ``changed``, ``reset``, ``lost`` by owner and so on, where
        there are some. Without any there is no new version.

        Raises:
            GraphError: denied, with the reason.
            AmiError: no answer in time; the request may still be carried out.
        """
        patience_s = self.timeout_s if timeout_s is None else timeout_s
        identifier = roles.request_id(self._account, uuid4().hex)
        request = Request(
            id=identifier,
            client=self.name,
            action=action,
            expected_version=fields.pop("expected_version", None),
            # A manager that starts later need not do what nobody waits for any more.
            deadline_ns=self._manager.time_ns() + int(patience_s * 1e9),
            fields=fields,
            dry_run=self.dry_run,
        )
        try:
            self._manager.queue(keys.requests_of(self._account) if self._account else keys.REQUESTS).put(
                sign(request.to_plain(), self.config.security), surely=True
            )
        except TypeError as error:
            raise GraphError(f"this cannot be asked for: {error}") from None
        reply = self._answer(identifier, patience_s)
        if reply is None:
            raise AmiError(
                f"no answer from the graph manager within {patience_s:g} s; is it running? `ami status` "
                f"says so; `ami graph history` shows whether the request was carried out after all"
            )
        if not reply.accepted:
            raise GraphError(reply.reason or "denied without a reason")
        return reply.to_plain()

    def _answer(self, identifier: str, patience_s: float) -> Answer | None:
        replies = self._manager.queue(keys.reply(identifier))
        end, item = time.monotonic() + patience_s, None
        while item is None and (left_s := end - time.monotonic()) > 0:
            try:
                item = replies.take(left_s)
            except StoreUnavailable:  # it was silent for some seconds: what it had is there when it is back
                if time.monotonic() >= end:
                    raise
        if item is None:
            return None
        replies.done(item)
        return Answer.from_plain(item.value)

    # the cluster

    def status(self) -> ClusterStatus:
        """Return how every process is, and whether every event is accounted for."""
        from ami.client.survey import survey

        return survey(self.config, self._stores)

    def meter(self) -> Meter:
        """Return what measures every process and operation, look by look."""
        from ami.client.meter import Meter

        return Meter(self.config, self._stores)

    def keys(self, pattern: str = "*") -> Iterator[KeyView]:
        """Yield the keys of both tiers that match ``pattern`` (``*``, ``?``, ``[abc]``), without values.

        The local tier is this host's, and only where its store runs.
        """
        from ami.client.inspect import find

        return find(self.config, self._whole_stores(), pattern)

    def key(self, key: str) -> list[KeyView]:
        """Return one key with its value; both, when both tiers have it.

        Raises:
            AmiError: no tier has it.
        """
        from ami.client.inspect import look

        return look(self.config, self._whole_stores(), key)

    def _whole_stores(self) -> Stores:
        """Return the stores as one sees them who may read every key; an account may not, and is told so."""
        if self._account:
            return self._stores
        if self._whole is None:
            self._whole = Stores(self.config)
        return self._whole
