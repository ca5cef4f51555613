"""Edit a document for one owner: pure, so that nobody's definition is lost or changed by another's edit.

Whoever uses a definition owns it too, so that nobody can pull it away from under another's results; a
function belongs to those whose definitions call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ami.errors import GraphError
from ami.graph.language.document import Definition, Document
from ami.graph.language.lower import define


def add(document: Document, new: Document, owner: str, *, replacing: bool = False) -> Document:
    """Return a document with the definitions of ``new`` too, as ``owner``'s.

    What is there already with the same meaning is shared. ``replacing``: what belongs to ``owner`` alone
    may get another meaning, and so may a function that nobody else's definitions call.

    Raises:
        GraphError: a name is taken.
    """
    definitions = {**document.definitions, **_changed_by_functions(document, new, owner, replacing)}
    for name, mine in new.definitions.items():
        old = definitions.get(name)
        if old is None:
            definitions[name] = replace(mine, owners=(owner,))
        elif old.means(mine):
            others = set(old.owners) - {owner}
            text = old if others else mine  # nobody's text is rewritten by another
            definitions[name] = replace(text, owners=old.owners, result=old.result or mine.result)
        else:
            _refuse(f"{name!r}", old.owners, owner, replacing, f" as {old.text}", f" for {mine.text}")
            definitions[name] = replace(mine, owners=old.owners)
    functions = {**document.functions, **new.functions}
    return _add_owner(_with(replace(document, functions=functions), definitions), new.definitions, owner)


def _changed_by_functions(
    document: Document, new: Document, owner: str, replacing: bool
) -> dict[str, Definition]:
    """Return the definitions that mean something else when the functions of ``new`` are there."""
    changed: dict[str, Definition] = {}
    functions = {**document.functions, **new.functions}
    for function in new.functions:
        if document.functions.get(function, new.functions[function]) == new.functions[function]:
            continue
        callers = document.callers(function)
        owners = {owner for name in callers for owner in document[name].owners}
        _refuse(f"the function {function!r}", owners, owner, replacing)
        for name in callers:
            old = document[name]
            changed[name] = replace(old, parts=define(name, old.text, functions).parts)
    return changed


def _refuse(
    what: str, owners: Iterable[str], owner: str, replacing: bool, old: str = "", new: str = ""
) -> None:
    """Refuse to change what is there already, unless it is ``owner``'s alone and to be replaced.

    Raises:
        GraphError: says whose it is.
    """
    others = sorted(set(owners) - {owner})
    if replacing and others:
        raise GraphError(f"{what} is in use by {' and '.join(others)}{old}; choose another name{new}")
    if not replacing:
        raise GraphError(
            f"{what} exists already{old} and belongs to {' and '.join(sorted(owners)) or 'nobody'}; "
            f"choose another name{new}, or replace it if it is yours"
        )


def put(document: Document, new: Document, owner: str) -> Document:
    """Return ``new`` in place of the whole document; resets of what stays are kept."""
    whole = Document(document.version, {}, new.functions, document.resets)
    return _add_owner(_with(whole, new.definitions), new.definitions, owner)


def remove(document: Document, names: tuple[str, ...], owner: str) -> Document:
    """Return a document without some definitions of ``owner``.

    Raises:
        GraphError: a name is not there, belongs to others too, or is needed by what stays.
    """
    rest = dict(document.definitions)
    for name in names:
        others = [other for other in document[name].owners if other != owner]
        if others:
            raise GraphError(
                f"{name!r} belongs to {' and '.join(others)} too; it stays until the last owner goes"
            )
        if rest.pop(name, None) is None:
            raise GraphError(f"{name!r} is to be removed twice")
    for name in names:
        users = [user for user, definition in rest.items() if name in definition.uses]
        if users:
            raise GraphError(f"{name!r} is needed by {', '.join(users)}; remove those first")
    return _with(document, rest)


def remove_owner(document: Document, owner: str) -> Document:
    """Return a document without what belongs to ``owner`` alone."""
    stays = {name for name, d in document.definitions.items() if set(d.owners) != {owner}}
    # Whoever uses a definition owns it, but a document made elsewhere need not know that.
    needed = document.ancestry(stays)
    return _with(
        document,
        {
            name: replace(definition, owners=tuple(other for other in definition.owners if other != owner))
            for name, definition in document.definitions.items()
            if name in needed
        },
    )


def reset(document: Document, names: Iterable[str]) -> Document:
    """Return a document in which these results start anew, for all who share them.

    The definitions that reduce on the way to a name are reset, or its own when there is none.

    Raises:
        GraphError: a name is not there.
    """
    found: set[str] = set()
    for name in names:
        ancestry = document.ancestry([name] if document[name] else ())
        found |= {n for n in ancestry if any(part.reduces for part in document[n].parts)} or {name}
    resets = {name: document.resets.get(name, 0) + 1 for name in sorted(found)}
    return replace(document, resets={**document.resets, **resets})


def _with(document: Document, definitions: Mapping[str, Definition]) -> Document:
    """Return a document of these definitions, the functions that they call, and their resets."""
    there = replace(document, definitions=definitions)
    return replace(
        there,
        functions={name: code for name, code in document.functions.items() if there.callers(name)},
        resets={name: count for name, count in document.resets.items() if name in definitions},
    )


def _add_owner(document: Document, names: Iterable[str], owner: str) -> Document:
    """Return a document in which ``owner`` owns these names and all that they are computed from."""
    definitions = dict(document.definitions)
    for name in document.ancestry(names):
        known = definitions[name]
        definitions[name] = replace(known, owners=tuple(sorted({*known.owners, owner})))
    return replace(document, definitions=definitions)
