"""Work out what a client's request makes of the graph: pure, so that every rule is tested without a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ami.config import SecurityConfig
from ami.errors import GraphError
from ami.event import Schema
from ami.graph.language import edits
from ami.graph.language.changes import Loss, compare, find_losses, list_names, refuse_losses
from ami.graph.language.document import Document
from ami.graph.language.text import parse
from ami.messages.request import Request
from ami.security import verify

# The node itself: what it alone put there, as a first look at a source's fields, is nobody's loss.
HOUSE = "node@"
TAKEN_UP = "taken up"  # action of the record of who took versions from the disk


Record = Mapping[str, Any]  # what the history says of a version
History = Sequence[Record]


@dataclass(frozen=True, slots=True)
class Past:
    """The versions before: ``version`` returns one, ``history`` says who made which, oldest first.

    Several clients may have a record of one version; each then says by its ``names``, and by those that it
    only got a part in, ``shared``, what of the version was whose.
    """

    version: Callable[[int], Document]
    history: History = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """What a request makes of the document, and the record of the history that it takes back, if any."""

    document: Document
    takes_back: Record | None = None


def apply(request: Request, document: Document, past: Past, now_ns: int | None = None) -> Edit:
    """Return what ``request`` makes of ``document``, under the next version number.

    Args:
        now_ns: the time by the clock by which the client chose its deadline: the store's.

    Raises:
        GraphError: it cannot be done; says why.
    """
    if (time.time_ns() if now_ns is None else now_ns) > request.deadline_ns:
        raise GraphError("nobody waits for the answer any more, so this was not done; ask again")
    if request.expected_version is not None and request.expected_version != document.version:
        raise GraphError(
            f"you edited version {request.expected_version}, but the graph is at version {document.version} "
            f"now; look at it again (`ami graph show`) and repeat your edit"
        )
    try:
        act = ACTIONS[request.action]
    except KeyError:
        raise GraphError(f"unknown action {request.action!r}; known: {', '.join(sorted(ACTIONS))}") from None
    made = act(request, document, past)
    edit = made if isinstance(made, Edit) else Edit(made)
    if not request.flag("force"):
        refuse_losses(_find_losses(request, document, edit))
    return replace(edit, document=replace(edit.document, version=document.version + 1))


def _add(request: Request, document: Document, _past: Past) -> Document:
    new = _parse(request, document)
    return edits.add(document, new, request.client, replacing=request.action == "replace")


def _set(request: Request, document: Document, _past: Past) -> Document:
    return edits.put(document, _parse(request, Document()), request.client)


def _parse(request: Request, document: Document) -> Document:
    """Return what a request defines, building on ``document``.

    ``publish``: what of it reduces events is a result; else its text says what is one.
    """
    new = parse(request.text("text"), document.functions)
    return edits.publish(new, document) if request.flag("publish") else new


def _remove(request: Request, document: Document, _past: Past) -> Document:
    names = request.names()
    if not names:
        raise GraphError("nothing to remove: give the names")
    return edits.remove(document, names)


def _remove_mine(request: Request, document: Document, _past: Past) -> Document:
    return edits.remove_owner(document, request.client)


def _undo(request: Request, document: Document, past: Past) -> Edit:
    version = request.fields.get("version")
    records = list_changes(request.client, past.history, version)
    for record in records:
        before, after = past.version(record["version"] - 1), past.version(record["version"])
        if "names" in record:
            after = edits.only_part(before, after, request.client, record["names"], record["shared"])
        if not any(what != "reset" for what in compare(before, after).to_plain()):
            rest = f"; `ami graph undo {records[1]['version']}` goes on before it" if records[1:] else ""
            raise GraphError(
                f"your change {record['version']} was a reset: what had been accumulated is gone, and cannot "
                f"be brought back{rest}"
            )
        changed = edits.take_back(document, before, after)
        if version is not None or compare(document, changed):
            return Edit(changed, record)
    raise GraphError(f"nothing to undo: no change by {request.client} is left that is not taken back")


def list_changes(client: str, history: History, version: object = None) -> Sequence[Record]:
    """Return a client's changes that are not taken back, newest first; or the one of a version.

    What took a change back is none of them, so that a second undo goes on to the change before; by its
    version it can be taken back itself.

    Raises:
        GraphError: ``version`` is not there, is somebody else's, or taken back already.
    """
    made = [record for record in history if record["action"] != TAKEN_UP]
    mine = [record for record in reversed(made) if record["client"] == client]
    gone: set[int] = set()
    for record in mine:
        if "takes_back" in record and record["version"] not in gone:
            gone.add(record["takes_back"])
    if version is None:
        return [r for r in mine if r["version"] not in gone and "takes_back" not in r]
    there = [record for record in made if record["version"] == version]
    if not isinstance(version, int) or not there:
        raise GraphError(f"there is no version {version!r:.100} in the history (`ami graph history`)")
    own = [record for record in there if record["client"] == client]
    if not own:
        whose = list_names(dict.fromkeys(record["client"] for record in there))
        raise GraphError(f"version {version} is a change by {whose}; undo takes back your own")
    if version in gone:
        raise GraphError(f"version {version} is taken back already")
    return own


def _rollback(request: Request, document: Document, past: Past) -> Document:
    version = request.fields.get("version")
    if not isinstance(version, int) or not 0 <= version <= document.version:
        raise GraphError(f"rollback needs a version between 0 and {document.version}, got {version!r}")
    return edits.go_back(document, past.version(version))


def _reset(request: Request, document: Document, _past: Past) -> Document:
    return edits.reset(document, request.names() or document.results)


ACTIONS: dict[str, Callable[[Request, Document, Past], Document | Edit]] = {
    "add": _add,
    "replace": _add,
    "set": _set,
    "remove": _remove,
    "remove-mine": _remove_mine,
    "undo": _undo,
    "rollback": _rollback,
    "reset": _reset,
}


def _find_losses(request: Request, document: Document, edit: Edit) -> list[Loss]:
    """Return what people lose by an edit; what a node put there itself is nobody's loss."""
    losses = find_losses(document, edit.document, request.client)
    return [loss for loss in losses if not loss.owner.startswith(HOUSE)]


def describe(request: Request, document: Document, edit: Edit) -> dict[str, Any]:
    """Return what the client is told of an accepted edit; empty when nothing changed.

    Names by what happened to them, as in :class:`~ami.graph.language.changes.Changes`, and ``lost`` by owner.
    """
    told: dict[str, Any] = compare(document, edit.document).to_plain()
    if losses := _find_losses(request, document, edit):
        told["lost"] = {loss.owner: [*loss.gone, *loss.anew] for loss in losses}
    if told and edit.takes_back is not None:
        told["takes_back"] = {part: edit.takes_back[part] for part in ("version", "action", "summary")}
    return told


def new_code(document: Document, before: Document) -> tuple[str, ...]:
    """Return the names of the definitions of ``document`` whose user code ``before`` does not have."""
    known = {part.definition for d in before.definitions.values() for part in d.parts}
    return tuple(
        name for name, definition in document.definitions.items()
        if any(part.kind == "function" and part.definition not in known for part in definition.parts)
    )  # fmt: skip


def check_code(request: Request, names: tuple[str, ...], security: SecurityConfig) -> None:
    """Refuse user code where the settings do not allow it: it runs with the workers' rights.

    Raises:
        GraphError: there is new code, and it is refused here, or not signed as it must be.
    """
    if names and security.user_code == "refused":
        raise GraphError(f"{', '.join(names)}: user code, and security.user_code is 'refused' here")
    if names and security.user_code == "signed":
        if request.client in security.code_from:
            return
        if not security.secret_file:
            raise GraphError(
                f"{', '.join(names)}: code of {request.client} is not taken here, only of "
                f"{', '.join(security.code_from)} (security.code_from)"
            )
    if names:
        verify(request.fields, security)


def schema_of(text: str | None) -> Schema:
    """Return the schema that the source told Control.

    Raises:
        GraphError: it told none yet.
    """
    if text is None:
        raise GraphError("no source has told its fields yet; start one (`ami status` shows the source)")
    return Schema.from_json(text)
