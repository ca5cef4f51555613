"""Say what kind of value stands at a place in a graph, before any event has been seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ami.event import Field


@dataclass(frozen=True, slots=True)
class Kind:
    """Dtype and shape of one event's value, or of a reduced value.

    A value that is not ``reduced`` is there for each event: in a block of k events it is an
    array ``(k, *shape)``. A ``reduced`` one is there once for a window. Its ``structure`` is
    ``array``, or the name of what a reduction gives: ``histogram``, ``scan`` and so on; then
    dtype and shape are those of the numbers in it (of one bin, of one key).

    A ``variable`` value has up to ``shape[0]`` elements along its first axis, in each event another number
    of them: in a block it is an :class:`~ami.ragged.Ragged`, reduced it is a plain array.

    Of integers no one is larger than ``most``, or smaller than minus that, where it is known. The ``bins``
    of a histogram are how many, from where, to where.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    reduced: bool = False
    structure: str = "array"
    variable: bool = False
    most: int | None = field(default=None, compare=False)
    bins: tuple[int, float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if self.bins is not None:
            object.__setattr__(self, "bins", tuple(self.bins))

    @classmethod
    def of(cls, field: Field) -> Kind:
        """Return the kind of a field of the source."""
        return cls(field.dtype, field.shape, variable=field.variable)

    def to_plain(self) -> list[Any]:
        """Return it as what JSON can say; :meth:`from_plain` reads it."""
        return [
            self.dtype.str, self.shape, self.reduced, self.structure, self.variable, self.most, self.bins
        ]  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Any) -> Kind:
        """Return what :meth:`to_plain` described."""
        return cls(*plain)

    def __str__(self) -> str:
        """Return it in words: ``reduced scan of float64``, ``float32 (40, 40)``, ``float64 (up to 100)``."""
        number = f"{self.dtype} {self.shape}" if self.shape else str(self.dtype)
        if self.variable:
            number = f"{self.dtype} (up to {', '.join(map(str, self.shape))})"
        if self.structure != "array":
            number = f"{self.structure} of {number}"
        if self.bins is not None:
            number = "histogram of {} bins over [{:g}, {:g})".format(*self.bins)
        return f"reduced {number}" if self.reduced else number
