"""Compute an expression as an operation of the library; :mod:`ami.graph.expression` does it."""

from __future__ import annotations

from typing import Any

from ami.graph.expression import Expression
from ami.graph.kind import Kind
from ami.graph.library.base import Function


class ExpressionFunction(Function):
    """``text`` with inputs ``_0``, ``_1`` …; on results it takes scans and histograms too."""

    name = "expression"
    inputs = None

    def __init__(self, text: str) -> None:
        self._expression = Expression(text)

    def infer(self, *inputs: Kind) -> Kind:
        return self._expression.infer(*inputs)

    def __call__(self, *arrays: Any) -> Any:
        return self._expression(*arrays)
