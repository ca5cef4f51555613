"""Make the expression a function of the library."""

from __future__ import annotations

from ami.graph.expression.expression import Expression as Text
from ami.graph.expression.nodes import Literal, Name, nodes_in
from ami.graph.library.base import Function


class Expression(Text, Function):
    """Arithmetic, comparison and elementary functions of values; see ami.graph.expression.expression."""

    name = "expression"
    inputs = None

    def unit(self, *inputs: str) -> str:
        """Return the unit of sums and differences of values of one unit, constants included."""
        adds = all(
            isinstance(node, Literal | Name) or getattr(node, "operator", "") in ("+", "-")
            for node in nodes_in(self._tree)
        )
        return inputs[0] if adds and len(set(inputs)) == 1 else ""


OPERATIONS = (Expression,)
