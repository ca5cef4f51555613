"""Make the expression a function of the library."""

from __future__ import annotations

import ast

from ami.graph.expression.expression import Expression as Text
from ami.graph.library.base import Function


class Expression(Text, Function):
    """Arithmetic, comparison and elementary functions of values; see ami.graph.expression.expression."""

    name = "expression"
    inputs = None
    variable = True

    def unit(self, *inputs: str) -> str:
        """Return the unit of sums and differences of values of one unit, constants included."""
        adds = self.has_only(ast.Add, ast.Sub, ast.UAdd, ast.USub)
        return inputs[0] if adds and len(set(inputs)) == 1 else ""


OPERATIONS = (Expression,)
