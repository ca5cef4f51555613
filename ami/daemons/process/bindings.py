"""Notice that a name which all of a process share means something else now, and put it back.

Watched is what there was before anybody's code came: the functions, classes and modules that stand in
modules, and what stands in their classes; and of Python and numpy what is imported later. Another number in
a module, a cache, and what packages of people do with their own names is nobody's harm.
"""

from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

import numpy as np

# What everybody uses, so that it is looked at each time, with its numbers: math.pi is no cache.
FIRST: Final = (builtins, math, np)
COMMON: Final = sys.stdlib_module_names | {"numpy", "ami"}
HEAP_TYPE: Final = 1 << 9
BUILTINS: Final = frozenset(vars(builtins))
# By names of this module: the builtins may be gone.
Anything, as_list = BaseException, list


class _Namespace:
    """The names of a module or a class, and what they meant when it was last looked at."""

    __slots__ = ("_is_exact", "_name", "_now", "_owner", "_there", "_values", "_was")

    def __init__(self, owner: Any, *, is_exact: bool = False) -> None:
        self._owner = owner
        self._name = (
            owner.__name__ if isinstance(owner, ModuleType) else f"{owner.__module__}.{owner.__qualname__}"
        )
        self._is_exact = is_exact
        self._there = vars(owner)
        self._now = self._there.values()
        self.learn()

    def learn(self) -> None:
        self._was = dict(self._there)
        self._values = list(self._was.values())

    def is_same(self) -> bool:
        try:
            return as_list(self._now) == self._values  # an object equals itself: nobody's __eq__ is asked
        except Anything:
            return False

    def put_back(self) -> list[str]:
        """Bind again what was bound to something else; return what that was."""
        # Nothing here may need a builtin before those are as they were.
        there, was = self._there, self._was
        changed = [name for name in was if name not in there or there[name] is not was[name]]
        if self._is_exact:
            there |= was
        told = []
        for name in changed:
            if self._is_exact or _is_meant(was[name]):
                self._bind(name, was[name])
                told.append(f"{self._name}.{name}")
        if isinstance(self._owner, ModuleType) and self._owner is not builtins:
            # A new name hides the builtin.
            for name in (BUILTINS & there.keys()) - was.keys():
                del there[name]
                told.append(f"{self._name}.{name}")
        self.learn()
        return told

    def _bind(self, name: str, value: Any) -> None:
        if isinstance(self._owner, ModuleType):
            self._there[name] = value
        else:
            type.__setattr__(self._owner, name, value)


class Bindings:
    """What the names of this process mean; made before anybody's code is called."""

    def __init__(self) -> None:
        self._first = tuple(_Namespace(one, is_exact=True) for one in FIRST)
        self._modules = {name: one for name, one in sys.modules.items() if isinstance(one, ModuleType)}
        self._count = len(sys.modules)
        self._classes: set[int] = set()
        self._all = self._watch(self._modules.values())

    def _watch(self, modules: Iterable[ModuleType]) -> list[_Namespace]:
        watched = []
        for module in modules:
            if module not in FIRST:
                watched.append(_Namespace(module))
            for value in vars(module).values():
                # The others cannot be changed.
                if isinstance(value, type) and value.__flags__ & HEAP_TYPE and id(value) not in self._classes:
                    self._classes.add(id(value))
                    watched.append(_Namespace(value))
        return watched

    def _meet(self) -> None:
        """Watch what was imported since the last time, if everybody may use it."""
        self._count = len(sys.modules)
        new = {
            name: one
            for name, one in list(sys.modules.items())
            if name not in self._modules and isinstance(one, ModuleType) and name.partition(".")[0] in COMMON
        }
        self._modules |= new
        self._all += self._watch(new.values())

    def learn(self) -> None:
        """Take what names mean now for what they mean."""
        for one in (*self._first, *self._all):
            if not one.is_same():
                one.learn()

    def look(self) -> list[str]:
        """Look at what everybody uses, put back what was changed, and return what that was."""
        first = self._first  # the builtins before what is made of them
        return [told for one in first if not one.is_same() for told in one.put_back()]

    def look_at_all(self) -> list[str]:
        """Do the same with all that is watched."""
        told = self.look()
        if not self._modules.items() <= sys.modules.items():
            for name, module in self._modules.items():
                if sys.modules.get(name) is not module:
                    sys.modules[name] = module
                    told.append(f"sys.modules[{name!r}]")
        for one in self._all:
            if not one.is_same():
                told += one.put_back()
        if len(sys.modules) != self._count:
            self._meet()
        return told


def _is_meant(value: Any) -> bool:
    """Whether a name that has such a value keeps it: a function, a class, a module; no number, no cache."""
    return callable(value) or isinstance(value, ModuleType) or hasattr(type(value), "__get__")
