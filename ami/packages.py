"""Find what other installed packages add to ami: their entry points, by group and name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

from ami.errors import FAULTS, AmiError


def load(group: str, name: str, what: str, refuse: type[AmiError], ours: Iterable[str] = ()) -> Any:
    """Return what a package has under ``name``; one may be installed between two calls.

    Args:
        what: the word for such a thing.
        refuse: the error that says why there is none, or none that can be used.
        ours: names that need no package, for who mistyped one.
    """
    importlib.invalidate_caches()
    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        raise refuse(
            f"unknown {what} {name!r}; {list_known(name, {*ours, *found})}. Install the package that has it "
            f"here (entry point {name!r} of the group {group!r})"
        )
    package = found[name].dist
    try:
        return found[name].load()
    except FAULTS as error:  # a package of others: whatever is wrong with it is told by its name
        whose = package.name if package else "an unknown package"
        raise refuse(f"{what} {name!r} of {whose} cannot be imported: {error!r}") from error


def list_packaged(group: str) -> dict[str, str]:
    """Return the names that installed packages have in ``group``, each with its package."""
    importlib.invalidate_caches()
    return {p.name: p.dist.name if p.dist else "an unknown package" for p in entry_points(group=group)}


def list_known(name: str, known: Iterable[str]) -> str:
    """Return the names that there are, for who typed another one, and which one may have been meant."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(names)}"
