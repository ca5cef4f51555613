"""Say what makes one document out of another, by names, and who loses what by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from ami.errors import GraphError
from ami.graph.language.document import Definition, Document

MOST_NAMES = 8  # in a line


@dataclass(frozen=True, slots=True)
class Changes:
    """Names, in the order of the documents.

    ``published`` are results that were none before, ``values`` what came and is no result, ``hidden``
    what was a result and is a value now, ``shared`` what only got or lost an owner, or was written otherwise.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def summary(self) -> str:
        """The changes in a few words: names that came, went, were redefined or reset."""
        signed = [f"+{name}" for name in self.added] + [f"-{name}" for name in self.removed]
        signed += [f"~{name}" for name in self.changed] + [f"reset {name}" for name in self.reset]
        return list_names(signed)

    def to_plain(self) -> dict[str, list[str]]:
        """Return what JSON can say of it, without what is empty."""
        return {f.name: list(names) for f in fields(self) if (names := getattr(self, f.name))}


def compare(before: Document, after: Document) -> Changes:
    """Return what makes ``after`` out of ``before``."""
    old, new = before.definitions, after.definitions
    both = [(name, old[name], new[name]) for name in new if name in old and new[name] is not old[name]]
    return Changes(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name, was, made in both if not made.means(was)),
        reset=_list_reset(before, after),
        published=tuple(name for name in new if new[name].result and not (name in old and old[name].result)),
        values=tuple(name for name in new if name not in old and not new[name].result),
        hidden=tuple(name for name, was, made in both if was.result and not made.result),
        shared=tuple(n for n, was, made in both if made.means(was) and _held(was) != _held(made)),
    )


def _held(definition: Definition) -> tuple[str, tuple[str, ...]]:
    return definition.text, definition.owners


def _list_reset(before: Document, after: Document) -> tuple[str, ...]:
    """Return what is there in both and begins anew."""
    there = before.definitions.keys() & after.definitions.keys()
    return tuple(
        name for name in after.definitions
        if name in there and after.resets.get(name, 0) != before.resets.get(name, 0)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loss:
    """What an owner has no more, and what of it begins anew, perhaps as something else."""

    owner: str
    gone: tuple[str, ...]
    anew: tuple[str, ...]

    def say(self, *, would: bool) -> str:
        """Return it in words, as what happened or as what would."""
        parts = [f"{'lose' if would else 'lost'} {list_names(self.gone)}"] if self.gone else []
        parts += [f"{'begin' if would else 'began'} anew with {list_names(self.anew)}"] if self.anew else []
        return f"{self.owner} {'would ' if would else ''}{' and '.join(parts)}"


def find_losses(before: Document, after: Document, client: str) -> list[Loss]:
    """Return what others than ``client`` lose. Whoever uses a definition owns it, so nobody is missed."""
    anew = {*compare(before, after).changed, *_list_reset(before, after)}
    lost: dict[str, tuple[list[str], list[str]]] = {}
    for name, was in before.definitions.items():
        made = after.definitions.get(name)
        if made is was and name not in anew:
            continue
        for owner in was.owners:
            if made is None or owner not in made.owners or (was.result and not made.result):
                lost.setdefault(owner, ([], []))[0].append(name)
            elif name in anew:
                lost.setdefault(owner, ([], []))[1].append(name)
    lost.pop(client, None)
    return [Loss(owner, tuple(gone), tuple(new)) for owner, (gone, new) in sorted(lost.items())]


def refuse_losses(losses: Iterable[Loss]) -> None:
    """Refuse an edit by which others lose something.

    Raises:
        GraphError: who would lose what, and how to do it all the same.
    """
    if said := "; ".join(loss.say(would=True) for loss in losses):
        raise GraphError(f"{said}: that is theirs, too; --force (in Python force=True) does it all the same")


def list_names(names: Iterable[str]) -> str:
    """Return names in one line, not more than a person reads."""
    every = list(names)
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + more
