"""Hold what a definition says as a tree, and spell it: the tree that is read back is the same.

The operators are Python's, with Python's precedence; ``where`` binds less tightly than all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TypeAlias

WORDS = {"true": True, "false": False, "none": None, "inf": math.inf, "pi": math.pi}
RESERVED = frozenset({"and", "or", "not", "where", *WORDS})

SLICES = frozenset({"rows", "cols", "samples"})  # parameters that read better as 1:3 than as [1, 3]

COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
# From loose to tight; all of them group from the left, as in Python.
LEVELS = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "//", "%"))
TIGHTNESS = {operator: n for n, operators in enumerate(LEVELS) for operator in operators}
WHERE, OR, AND, NOT, COMPARE, FIRST_LEVEL = range(6)
SIGN = FIRST_LEVEL + len(LEVELS)
POWER, ATOM = SIGN + 1, SIGN + 2


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a text, a truth, none, or a list of literals."""

    value: bool | int | float | str | tuple[object, ...] | None
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A value of the graph or a field."""

    name: str
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Node, ...]
    keywords: tuple[tuple[str, Node], ...] = ()
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Sign:
    """``-x``, ``+x``, ``~x`` or ``not x``."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Pair:
    """Two operands and ``**``, or an operator of LEVELS."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Compare:
    """``a < b <= c``: one operand more than operators."""

    operands: tuple[Node, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Logic:
    """``and`` or ``or`` between two or more operands."""

    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """The value, for those events only that meet the condition."""

    value: Node
    condition: Node


Node: TypeAlias = Literal | Name | Call | Sign | Pair | Compare | Logic | Where


def parts_of(node: Node) -> tuple[Node, ...]:
    """Return what a node is made of, from left to right."""
    return tuple(_nodes(tuple(getattr(node, part.name) for part in fields(node))))


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)
    elif isinstance(value, Node):
        yield value


def rebuild(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return ``node`` with each of its parts changed."""

    def change_value(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(change_value, value))
        return change(value) if isinstance(value, Node) else value

    return replace(node, **{part.name: change_value(getattr(node, part.name)) for part in fields(node)})  # type: ignore[arg-type]  # each keeps its type


def nodes_in(tree: Node) -> Iterator[Node]:
    """Return a tree's nodes, each before its parts, from left to right."""
    yield tree
    for part in parts_of(tree):
        yield from nodes_in(part)


def names_in(tree: Node) -> list[str]:
    """Return the names in a tree, each once, in the order of appearance."""
    return list(dict.fromkeys(node.name for node in nodes_in(tree) if isinstance(node, Name)))


def rename(tree: Node, names: Mapping[str, str]) -> Node:
    """Return a tree with other names in it."""
    if isinstance(tree, Name):
        return Name(names[tree.name], tree.column)
    return rebuild(tree, lambda part: rename(part, names))


def height(tree: Node) -> int:
    """Return how many levels a tree has."""
    height, level = 0, [tree]
    while level:
        height += 1
        level = [part for node in level for part in parts_of(node)]
    return height


def is_number(value: object) -> bool:
    """Whether a literal is a number; a truth is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def spell(node: Node) -> str:
    """Return the text of a definition, with the brackets that it needs to be read back."""
    return _spell(node, WHERE)


def _spell(node: Node, tightness: int) -> str:
    text, own = _spelt(node)
    return text if own >= tightness else f"({text})"


def _spelt(node: Node) -> tuple[str, int]:  # noqa: C901  # one case for each kind of node
    """Return a text and how tightly it holds together."""
    match node:
        case Literal(value):
            return spell_literal(value), SIGN if is_number(value) and math.copysign(1, value) < 0 else ATOM  # type: ignore[arg-type]  # it is a number
        case Name(name):
            return spell_name(name), ATOM
        case Call(function, arguments, keywords):
            parts = [_spell(argument, WHERE) for argument in arguments]
            parts += [f"{name}={_spell_argument(name, argument)}" for name, argument in keywords]
            return f"{function}({', '.join(parts)})", ATOM
        case Sign("not", operand):
            return f"not {_spell(operand, NOT)}", NOT
        case Sign(operator, operand):
            # A bracket keeps -(1) apart from the number -1.
            bare = operator == "-" and isinstance(operand, Literal)
            return f"{operator}{_spell(operand, ATOM + 1 if bare else SIGN)}", SIGN
        case Pair("**", left, right):
            return f"{_spell(left, ATOM)} ** {_spell(right, SIGN)}", POWER
        case Pair(operator, left, right):
            level = FIRST_LEVEL + TIGHTNESS[operator]
            return f"{_spell(left, level)} {operator} {_spell(right, level + 1)}", level
        case Compare(operands, operators):
            parts = [_spell(operand, COMPARE + 1) for operand in operands]
            chain = "".join(f" {o} {part}" for o, part in zip(operators, parts[1:], strict=True))
            return parts[0] + chain, COMPARE
        case Logic(operator, operands):
            level = OR if operator == "or" else AND
            return f" {operator} ".join(_spell(operand, level + 1) for operand in operands), level
        case Where(value, condition):
            return f"{_spell(value, WHERE)} where {_spell(condition, OR)}", WHERE


def _spell_argument(name: str, node: Node) -> str:
    if name in SLICES and isinstance(node, Literal) and isinstance(node.value, tuple):
        parts = node.value
        if 2 <= len(parts) <= 3 and all(part is None or is_number(part) for part in parts):
            return ":".join("" if part is None else spell_literal(part) for part in parts)
    return _spell(node, WHERE)


def spell_name(name: str) -> str:
    """Return a name as it is, or in backticks where it could be read as something else."""
    plain = re.fullmatch(r"[^\W\d]\w*", name) is not None
    return name if plain and name.lower() not in RESERVED else f"`{name}`"


def spell_literal(value: object) -> str:
    """Return the text of a plain value."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + ascii(value)[1:-1].replace('"', '\\"').replace("\\'", "'") + '"'
    if isinstance(value, tuple):
        return f"[{', '.join(spell_literal(item) for item in value)}]"
    return repr(value)
