"""Gather the edits of several clients into one version, so that each can still be told and taken back alone.

To check, write and publish a version costs what the whole graph costs, and an edit alone very little. An edit
joins when its order among the others does not show: nobody's content is touched twice. What is shared may get
several owners in one version; whose part is whose follows from the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ami.daemons.manager import requests
from ami.daemons.manager.requests import Edit, Past
from ami.graph.language.changes import compare
from ami.graph.language.document import Definition, Document
from ami.messages.request import Request

MOST_TOUCHED = 100  # names: who touches more has a version alone


@dataclass(frozen=True, slots=True)
class Touched:
    """Names that an edit touches: of some the ``content``, of ``shared`` ones only that its client owns them.

    ``alone``: it cannot be told from the names what of a version was this edit's.
    """

    content: frozenset[str]
    shared: frozenset[str]
    alone: bool

    @property
    def names(self) -> frozenset[str]:
        return self.content | self.shared


def list_touched(before: Document, after: Document, client: str) -> Touched:
    """Return what an edit of ``client`` touches."""
    old, new = before.definitions, after.definitions
    changed = [
        name for name in {**old, **new}
        if old.get(name) is not new.get(name) and not _is_equal(old.get(name), new.get(name))
    ]  # fmt: skip
    shared = frozenset(name for name in changed if _is_shared(old.get(name), new.get(name), client))
    reset = {name for name in new if before.resets.get(name, 0) != after.resets.get(name, 0)}
    foreign = any((_owners(old, name) ^ _owners(new, name)) - {client} for name in changed if name in new)
    return Touched(
        content=frozenset(changed) - shared | reset,
        shared=shared,
        alone=foreign or before.functions != after.functions or len(changed) > MOST_TOUCHED,
    )


def _owners(definitions: Mapping[str, Definition], name: str) -> set[str]:
    return {*definitions[name].owners} if name in definitions else set()


def _is_equal(old: Definition | None, new: Definition | None) -> bool:
    return old is not None and new is not None and old == new and old.means(new)


def _is_shared(old: Definition | None, new: Definition | None, client: str) -> bool:
    """Whether a definition only got ``client`` as another owner."""
    if old is None or new is None or client in old.owners:
        return False
    return _is_equal(replace(old, owners=new.owners), new) and {*new.owners} == {*old.owners, client}


@dataclass(frozen=True, slots=True)
class Member:
    """A request of a draft, and what it does; ``changes`` are empty where that is nothing."""

    request: Request
    touched: Touched
    changes: dict[str, Any]
    summary: str
    takes_back: int | None


@dataclass(slots=True)
class Draft:
    """What comes of the document ``before`` by the edits of the ``members``."""

    before: Document
    document: Document = field(init=False)
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.document = self.before

    @property
    def changes(self) -> bool:
        """Whether anything does."""
        return any(member.changes for member in self.members)

    @property
    def is_dry_run(self) -> bool:
        """Whether nobody is to see what comes of it; such a request is the only member."""
        return any(member.request.dry_run for member in self.members)

    def apply(self, request: Request, past: Past, now_ns: int) -> Edit:
        """Return what a request makes of the document as the members leave it.

        Raises:
            GraphError: it cannot be done; says why.
        """
        return requests.apply(request, replace(self.document, version=self.before.version), past, now_ns)

    def join(self, request: Request, edit: Edit, touched: Touched) -> bool:
        """Take an edit in, if the draft can have it; return whether it can."""
        if self.members and not self._can_have(request, touched):
            return False
        changes = requests.describe(request, self.document, edit)
        summary = compare(self.document, edit.document).summary
        back = edit.takes_back["version"] if edit.takes_back else None
        self.members.append(Member(request, touched, changes, summary, back))
        self.document = edit.document
        return True

    def _can_have(self, request: Request, touched: Touched) -> bool:
        if touched.alone or any(member.touched.alone for member in self.members):
            return False
        if request.dry_run or self.is_dry_run:
            return False
        if request.expected_version is not None or self._has_one_of(request.client):
            return False
        return touched.content.isdisjoint(name for member in self.members for name in member.touched.names)

    def _has_one_of(self, client: str) -> bool:
        return any(member.request.client == client for member in self.members)

    def tell_parts(self, member: Member) -> dict[str, list[str]]:
        """Return the names by which a member's part of the version is known; none where it is all of it."""
        if len(self.members) == 1:
            return {}
        return {"names": sorted(member.touched.content), "shared": sorted(member.touched.shared)}
