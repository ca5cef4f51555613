"""Give values the operators of arithmetic, and propagate their errors.

To first order and for independent inputs (R. J. Barlow, "Statistics", Wiley 1989, section 4.3): for sums
and differences s = sqrt(a**2 + b**2) of the absolute errors, for products and ratios the same of the
relative ones.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.event import Array

Floats = NDArray[np.float64]
Binary = Callable[[Any, Any], Any]


def _operator(operation: Binary, *, swapped: bool = False) -> Any:
    def method(self: Operators, other: Any) -> Any:
        return self._combine(operation, other, swapped=swapped)

    return method


class Operators:
    """Arithmetic by one method, :meth:`_combine`."""

    # numpy must leave ``array - scan`` to us instead of going through the array element by element.
    __array_ufunc__ = None

    def _combine(self, operation: Binary, other: Any, *, swapped: bool) -> Any:
        raise NotImplementedError

    __add__, __radd__ = _operator(operator.add), _operator(operator.add, swapped=True)
    __sub__, __rsub__ = _operator(operator.sub), _operator(operator.sub, swapped=True)
    __mul__, __rmul__ = _operator(operator.mul), _operator(operator.mul, swapped=True)
    __truediv__, __rtruediv__ = _operator(operator.truediv), _operator(operator.truediv, swapped=True)

    def __neg__(self) -> Any:
        return self._combine(operator.mul, -1, swapped=False)


def propagate(operation: Binary, a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Floats, Floats]:
    """Return value and error of ``a operation b``; each is (value, error)."""
    value = np.asarray(operation(a[0], b[0]), np.float64)
    if operation in (operator.add, operator.sub):
        return value, np.broadcast_to(np.hypot(a[1], b[1]), value.shape).copy()
    if operation is operator.mul:
        return value, np.hypot(a[1] * b[0], b[1] * a[0])
    return value, np.hypot(a[1] / b[0], b[1] * a[0] / np.square(b[0]))
