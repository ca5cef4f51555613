"""Work out what a client's request makes of the graph: pure, so that every rule is tested without a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ami.config import SecurityConfig
from ami.errors import GraphError
from ami.event import Schema
from ami.graph.language import edits
from ami.graph.language.document import Document
from ami.graph.language.text import parse
from ami.messages.request import Request
from ami.security import verify

SUMMARY_NAMES = 8

Versions = Callable[[int], Document]


def apply(request: Request, document: Document, versions: Versions) -> Document:
    """Return the document that ``request`` makes of ``document``, under the next version number.

    Args:
        versions: returns an earlier version (for undo and rollback).

    Raises:
        GraphError: it cannot be done; says why.
    """
    if time.time_ns() > request.deadline_ns:
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
    return replace(act(request, document, versions), version=document.version + 1)


def _add(request: Request, document: Document, _versions: Versions) -> Document:
    new = parse(request.text("text"), document.functions)
    return edits.add(document, new, request.client, replacing=request.action == "replace")


def _set(request: Request, document: Document, _versions: Versions) -> Document:
    return edits.put(document, parse(request.text("text")), request.client)


def _remove(request: Request, document: Document, _versions: Versions) -> Document:
    names = request.names()
    if not names:
        raise GraphError("nothing to remove: give the names")
    return edits.remove(document, names, request.client)


def _remove_mine(request: Request, document: Document, _versions: Versions) -> Document:
    return edits.remove_owner(document, request.client)


def _undo(_request: Request, document: Document, versions: Versions) -> Document:
    if document.version < 1:
        raise GraphError("nothing to undo: the graph was never edited")
    return versions(document.version - 1)


def _rollback(request: Request, document: Document, versions: Versions) -> Document:
    version = request.fields.get("version")
    if not isinstance(version, int) or not 0 <= version <= document.version:
        raise GraphError(f"rollback needs a version between 0 and {document.version}, got {version!r}")
    return versions(version)


def _reset(request: Request, document: Document, _versions: Versions) -> Document:
    return edits.reset(document, request.names() or document.results)


ACTIONS: dict[str, Callable[[Request, Document, Versions], Document]] = {
    "add": _add,
    "replace": _add,
    "set": _set,
    "remove": _remove,
    "remove-mine": _remove_mine,
    "undo": _undo,
    "rollback": _rollback,
    "reset": _reset,
}


def summary(before: Document, after: Document) -> str:
    """Return in a few words what changed: names that came, went, were redefined or reset."""
    old, new = before.definitions, after.definitions
    changes = [f"+{name}" for name in new if name not in old]
    changes += [f"-{name}" for name in old if name not in new]
    changes += [f"~{name}" for name in new if name in old and not new[name].means(old[name])]
    changes += [f"reset {n}" for n, count in after.resets.items() if before.resets.get(n, 0) != count]
    shown = ", ".join(changes[:SUMMARY_NAMES])
    return shown + (f" and {len(changes) - SUMMARY_NAMES} more" if len(changes) > SUMMARY_NAMES else "")


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
