"""Make the expression a function of the library."""

from __future__ import annotations

from ami.graph.expression.expression import Expression as Text
from ami.graph.library.base import Function


class Expression(Text, Function):
    """Arithmetic, comparison and elementary functions of values; see ami.graph.expression.expression."""

    name = "expression"
    inputs = None


OPERATIONS = (Expression,)
