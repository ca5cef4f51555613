"""Hold what clients asked for, were told and saw against what a graph manager promises. Pure.

As Jepsen does: clients write down when each request began and ended, by one clock, and what came of it; what
is not known counts as either. A history is faulty when no order of events explains it:

- An edit that was acknowledged is in the graph from then on, until one that takes it out can have begun.
- What was refused is never seen.
- Versions ascend: what is asked for after an acknowledgement is of a later version, what is seen after it of
  that or a later one; of one version are only edits that were under way at once.
- A version is one graph, whoever looks at it, and when. (What nobody was told may be seen, and be gone.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One request of a client, and its answer.

    Args:
        name: of the definition that it concerns.
        text: what the name is to mean; None: the name is to go.
        began, ended: when it was asked for, and when the client knew; of one clock.
        answer: ACCEPTED, REFUSED, or UNKNOWN: none came.
        version: that the answer names, if it was accepted.
    """

    client: str
    name: str
    text: str | None
    began: float
    ended: float
    answer: str
    version: int = 0

    def __str__(self) -> str:
        what = f"remove {self.name}" if self.text is None else f"{self.name} = {self.text}"
        when = f"{self.began:.3f}-{self.ended:.3f}"
        return f"{self.client}: {what} ({self.answer}, version {self.version}, {when})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The definitions that a client saw, with their texts, and of which version."""

    began: float
    ended: float
    version: int
    definitions: Mapping[str, str]


def check(edits: Sequence[Edit], looks: Sequence[Look]) -> list[str]:
    """Return what is wrong with a history, a line for each fault; nothing: it can have been."""
    return [*_check_looks(edits, looks), *_check_versions(edits, looks), *_check_sameness(looks)]


def count_lost(edits: Sequence[Edit], last: Look) -> int:
    """Return how many acknowledged edits a look at the end does not have, and nobody can have taken back."""
    return sum(1 for edit in edits if edit.answer == ACCEPTED and _is_lost(edit, edits, last))


def _check_looks(edits: Sequence[Edit], looks: Iterable[Look]) -> Iterator[str]:
    lost: set[Edit] = set()
    done: set[Edit] = set()
    for look in sorted(looks, key=lambda look: look.began):
        for edit in edits:
            if edit.answer == ACCEPTED and edit not in lost and _is_lost(edit, edits, look):
                lost.add(edit)
                yield f"acknowledged, and not there at {look.began:.3f}: {edit}"
            elif edit.answer == REFUSED and edit not in done and _is_done(edit, edits, look):
                done.add(edit)
                yield f"refused, and done at {look.began:.3f}: {edit}"


def _is_lost(edit: Edit, edits: Iterable[Edit], look: Look) -> bool:
    """Whether a look cannot be explained by this edit, or by a later one of its name."""
    seen = look.definitions.get(edit.name)
    return (
        edit.ended < look.began
        and seen != edit.text
        and not any(_may_be_after(other, edit, look) for other in edits if other.text == seen)
    )


def _may_be_after(other: Edit, edit: Edit, look: Look) -> bool:
    """Whether another edit of the name can have taken effect after this one, and before the end of a look."""
    # Who got no answer may have been heard at any time since.
    ended = other.ended if other.answer == ACCEPTED else float("inf")
    return (
        other is not edit
        and other.name == edit.name
        and other.answer != REFUSED
        and other.began < look.ended
        and ended > edit.began
    )


def _is_done(edit: Edit, edits: Iterable[Edit], look: Look) -> bool:
    """Whether a look shows what was refused, and nobody else asked for the same."""
    return (
        edit.text is not None
        and look.definitions.get(edit.name) == edit.text
        and not any(
            other.answer != REFUSED
            and (other.name, other.text) == (edit.name, edit.text)
            and other.began < look.ended
            for other in edits
        )
    )


def _check_versions(edits: Iterable[Edit], looks: Iterable[Look]) -> Iterator[str]:
    told = [(edit.began, edit.ended, edit.version, f"{edit}") for edit in edits if edit.answer == ACCEPTED]
    seen = [(look.began, look.ended, look.version, f"a look at {look.began:.3f}") for look in looks]
    own = {words for *_, words in told}
    ended = sorted(told, key=lambda one: one[1])
    place, newest, of = 0, 0, ""
    for began, _, version, words in sorted([*told, *seen], key=lambda one: one[0]):
        while place < len(ended) and ended[place][1] < began:
            if ended[place][2] > newest:
                _, _, newest, of = ended[place]
            place += 1
        # Who looks sees the last that was told, or a newer one; an edit makes one.
        if version < newest + (words in own):
            yield f"version {version} comes after version {newest} of {of}: {words}"


def _check_sameness(looks: Iterable[Look]) -> Iterator[str]:
    first: dict[int, Look] = {}
    for look in looks:
        known = first.setdefault(look.version, look)
        if known.definitions != look.definitions:
            names = sorted(
                name
                for name in known.definitions.keys() | look.definitions.keys()
                if known.definitions.get(name) != look.definitions.get(name)
            )
            yield (
                f"version {look.version} is another graph at {look.began:.3f} than at {known.began:.3f}: "
                f"{', '.join(names)}"
            )
