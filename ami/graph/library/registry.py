"""Find what computes an operation: in the files of this room, then in other installed packages.

A package names each of its operations as an entry point of the group ``ami.operations``. It is
imported when a graph first asks for that operation. (Rejected: to import all of them at the start. A process
would pay for what nobody uses, and a package that is broken would cost more than its own operations.)
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.library.base import Function, Reduction

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "ami.operations"

Computing: TypeAlias = type[Function] | type[Reduction]

logger = logging.getLogger(__name__)


class Library(Mapping[str, Computing]):
    """Operations by name, as the text form calls them.

    Attributes:
        refused: why an operation of an installed package is not offered, by its name.
    """

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self._loaded: dict[str, Computing] = {}

    def __getitem__(self, name: str) -> Computing:
        known = self._own.get(name) or self._loaded.get(name)
        if known is None and name in self.packaged and name not in self.refused:
            known = self._load(self.packaged[name])
        if known is None:
            raise KeyError(name)
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._own, *filter(self.__contains__, self.packaged)}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def is_ours(self, name: str) -> bool:
        """Whether an operation is one of ami, and not of another package."""
        return name in self._own

    @cached_property
    def _own(self) -> dict[str, Computing]:
        room = pkgutil.iter_modules([str(Path(__file__).parent)])
        modules = [importlib.import_module(f"{__package__}.{module.name}") for module in room]
        return {one.name: one for module in modules for one in getattr(module, "OPERATIONS", ())}

    @cached_property
    def packaged(self) -> dict[str, EntryPoint]:
        """The operations that installed packages have, by name; none of them was imported for that."""
        # Takes 0.1 s to import, so it is not, where a graph needs no other package.
        from importlib.metadata import entry_points

        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=GROUP):
            if point.name in self._own or point.name in FUNCTIONS:
                self._refuse(point, "ami has one of that name")
            elif point.name in found and point.value != found[point.name].value:
                self._refuse(point, f"another package has one of that name, {found[point.name].value}")
            else:
                found[point.name] = point
        return found

    def _load(self, point: EntryPoint) -> Computing | None:
        try:
            one = point.load()
        except (Exception, SystemExit) as error:  # a package of others may raise anything
            self._refuse(point, f"it cannot be imported: {error!r}")
            return None
        if not (isinstance(one, type) and issubclass(one, Function | Reduction)):
            self._refuse(point, f"{point.value} is no class of a Function or Reduction")
        elif getattr(one, "name", None) != point.name:
            self._refuse(point, f"its class calls it {getattr(one, 'name', None)!r}")
        else:
            self._loaded[point.name] = one
            return one
        return None

    def _refuse(self, point: EntryPoint, why: str) -> None:
        package = point.dist.name if point.dist is not None else "?"
        # Of two packages neither is offered: two hosts could compute different things under one name.
        self.refused[point.name] = text = f"operation {point.name!r} of package {package} is refused: {why}"
        logger.warning("%s", text)


LIBRARY = Library()
