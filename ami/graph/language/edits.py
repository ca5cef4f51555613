"""Edit a document for one owner: pure, so that nobody's definition is lost or changed by another's edit.

Whoever uses a definition owns it too, so that nobody can pull it away from under another's results; a
function belongs to those whose definitions call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ami.errors import GraphError
from ami.graph.language.changes import list_names
from ami.graph.language.document import Definition, Document, Functions
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


def publish(new: Document, document: Document) -> Document:
    """Return ``new`` with those definitions as results that are there once for a window.

    The others give a value for each event, for others to use.
    """
    both = replace(document, definitions={**document.definitions, **new.definitions})
    reduced = {
        name: any(part.reduces for one in both.ancestry([name]) for part in both[one].parts)
        for name in new.definitions
    }
    return replace(new, definitions={n: replace(d, result=reduced[n]) for n, d in new.definitions.items()})


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
    if others and replacing:
        raise GraphError(f"{what} is in use by {' and '.join(others)}{old}; choose another name{new}")
    if others:
        whose = " and ".join(sorted(owners))
        raise GraphError(f"{what} exists already{old} and belongs to {whose}; choose another name{new}")
    if not replacing:
        raise GraphError(
            f"{what} exists already{old} and is yours alone; --replace (in Python client.replace) puts the "
            f"new one in its place"
        )


def put(document: Document, new: Document, owner: str) -> Document:
    """Return ``new`` in place of the whole document, ``owner``'s too.

    What stays with the same meaning keeps its owners, and its text if others have it; resets of it are kept.
    """
    definitions = dict(new.definitions)
    for name, mine in new.definitions.items():
        old = document.definitions.get(name)
        if old is not None and old.means(mine):
            text = old if set(old.owners) - {owner} else mine
            definitions[name] = replace(text, owners=old.owners, result=mine.result)
    whole = Document(document.version, {}, new.functions, document.resets)
    return _with_ancestry(_add_owner(_with(whole, definitions), definitions, owner))


def go_back(document: Document, old: Document) -> Document:
    """Return an ``old`` document in place of the whole one; what stays does not begin anew for that."""
    return _with(replace(old, resets={**old.resets, **document.resets}), old.definitions)


def remove(document: Document, names: tuple[str, ...]) -> Document:
    """Return a document without some definitions, whosever they are.

    Raises:
        GraphError: a name is not there, or is needed by what stays.
    """
    rest = dict(document.definitions)
    for name in names:
        document[name]
        if rest.pop(name, None) is None:
            raise GraphError(f"{name!r} is to be removed twice")
    _refuse_needed(names, rest)
    return _with(document, rest)


def _refuse_needed(names: Iterable[str], rest: Mapping[str, Definition]) -> None:
    for name in names:
        users = [user for user, definition in rest.items() if name in definition.uses]
        if users:
            raise GraphError(f"{name!r} is needed by {list_names(users)}; remove those first")


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


def take_back(document: Document, before: Document, after: Document) -> Document:
    """Return a document without the change from ``before`` to ``after``, and with all that came since.

    Of what that change added only its owners' part goes: others who use it meanwhile keep it. Resets are not
    taken back, because what was accumulated is gone.

    Raises:
        GraphError: what it changed was changed again, or is needed by what stays.
    """
    functions = {**document.functions, **_functions_before(document, before, after)}
    definitions = dict(document.definitions)
    for function in document.functions:
        if functions[function] != document.functions[function]:
            for name in document.callers(function):
                known = definitions[name]
                definitions[name] = replace(known, parts=define(name, known.text, functions).parts)
    for name in {**before.definitions, **after.definitions}:
        was, made, now = (one.definitions.get(name) for one in (before, after, document))
        if was != made or (was and made and not made.means(was)):
            definitions.pop(name, None)
            kept = _without(name, was, made, now)
            if kept is not None:
                definitions[name] = kept
    _refuse_needed(document.definitions.keys() - definitions.keys(), definitions)
    # Of what comes back. What is there has its own, also when it came anew since.
    resets = {name: n for name, n in before.resets.items() if name not in document.definitions}
    resets |= document.resets
    return _with_ancestry(_with(replace(document, functions=functions, resets=resets), definitions))


def only_part(
    before: Document, after: Document, client: str, names: Iterable[str], shared: Iterable[str]
) -> Document:
    """Return what ``after`` would be, had of the edits since ``before`` only that of ``client`` been made.

    Args:
        names: of the definitions that it changed, and nobody else did.
        shared: of those that it only got a part in, whoever changed them.
    """
    definitions = dict(before.definitions)
    parts = {**dict.fromkeys(names, False), **dict.fromkeys(shared, True)}
    for name, is_shared in parts.items():
        was, made = before.definitions.get(name), after.definitions.get(name)
        if made is None:
            definitions.pop(name, None)
            continue
        owners = {*was.owners} if was else set()
        owners = owners | {client} if client in made.owners else owners - {client}
        content = was if was is not None and is_shared else made
        definitions[name] = replace(content, owners=tuple(sorted(owners)))
    return replace(after, definitions=definitions)


def _functions_before(document: Document, before: Document, after: Document) -> Functions:
    """Return the functions that a change replaced or removed."""
    found = {}
    for name, was in before.functions.items():
        made, now = after.functions.get(name), document.functions.get(name)
        if made != was != now:
            if now not in (None, made):
                raise GraphError(f"the function {name!r} was changed again since; take that back first")
            found[name] = was
    return found


def _without(
    name: str, was: Definition | None, made: Definition | None, now: Definition | None
) -> Definition | None:
    """Return a definition without the change from ``was`` to ``made``; None: there is none then."""
    if now is None:
        if was is not None and made is not None and not _is_alike(was, made):
            raise GraphError(f"{name!r} is not there any more, so what it was before cannot be put back")
        return was if made is None else None
    owners = {*now.owners}
    if made is not None:
        owners -= {*made.owners} - {*(was.owners if was else ())}
    if was is not None:
        owners |= {*was.owners} - {*(made.owners if made else ())}
    if was is None and owners:  # others use it by now
        return replace(now, owners=tuple(sorted(owners)))
    if was is not None and (_is_alike(was, now) or (made is not None and _is_alike(was, made))):
        return replace(now, owners=tuple(sorted(owners)), result=now.result) if owners else None
    if made is None or not _is_alike(made, now):
        raise GraphError(f"{name!r} was changed again since, it is {now.text} now; take that back first")
    return None if was is None else replace(was, owners=tuple(sorted(owners)))


def _is_alike(one: Definition, other: Definition) -> bool:
    return (one.text, one.result) == (other.text, other.result) and one.means(other)


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
        if owner not in known.owners:
            definitions[name] = replace(known, owners=tuple(sorted({*known.owners, owner})))
    return replace(document, definitions=definitions)


def _with_ancestry(document: Document) -> Document:
    """Return a document in which everybody owns what his definitions are computed from."""
    owned: dict[str, list[str]] = {}
    for name, definition in document.definitions.items():
        for owner in definition.owners:
            owned.setdefault(owner, []).append(name)
    for owner, names in owned.items():
        document = _add_owner(document, names, owner)
    return document
