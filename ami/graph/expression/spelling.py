"""Hold what a definition says as Python's tree, and spell it: the tree that is read back is the same.

The operators are Python's, with Python's precedence. ``where`` binds less tightly than all of them; in
the tree it is ``@``, which the language has not. The function of a call is an attribute, of nothing, so that
each name in a tree is that of a value; numbers with a minus, texts, truths, none and lists are constants.

Python's own spelling is not used: it writes ``True`` and ``1e309``, and brackets that differ from one
version of Python to the next, while operations are told apart by what is spelt here.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Any, TypeGuard

_WORDS = {"true": True, "false": False, "none": None, "inf": math.inf, "pi": math.pi}
WORDS = _WORDS | {word.capitalize(): value for word, value in _WORDS.items()}
RESERVED = frozenset({"and", "or", "not", "where", *WORDS})

SLICES = frozenset({"rows", "cols", "samples", "radii", "angles"})  # read better as 1:3 than as [1, 3]

PAIRS: dict[str, ast.operator] = {
    "where": ast.MatMult(), "|": ast.BitOr(), "^": ast.BitXor(), "&": ast.BitAnd(),
    "<<": ast.LShift(), ">>": ast.RShift(), "+": ast.Add(), "-": ast.Sub(),
    "*": ast.Mult(), "/": ast.Div(), "//": ast.FloorDiv(), "%": ast.Mod(), "**": ast.Pow(),
}  # fmt: skip
COMPARISONS: dict[str, ast.cmpop] = {
    "==": ast.Eq(), "!=": ast.NotEq(), "<=": ast.LtE(), ">=": ast.GtE(), "<": ast.Lt(), ">": ast.Gt(),
}  # fmt: skip
LOGIC: dict[str, ast.boolop] = {"or": ast.Or(), "and": ast.And()}
SIGNS: dict[str, ast.unaryop] = {"-": ast.USub(), "+": ast.UAdd(), "~": ast.Invert(), "not": ast.Not()}
_SPELT = {
    type(operator): sign
    for sign, operator in [*PAIRS.items(), *COMPARISONS.items(), *LOGIC.items(), *SIGNS.items()]
}

# From loose to tight. All but ** group from the left.
_LEVELS = (
    ("where",), ("or",), ("and",), ("not",), tuple(COMPARISONS),
    ("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "//", "%"), ("sign",), ("**",),
)  # fmt: skip
TIGHTNESS = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}
NOT, COMPARE, SIGN, POWER = (TIGHTNESS[sign] for sign in ("not", "==", "sign", "**"))
_ATOM = POWER + 1


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a constant is a number; a truth is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def spell(node: ast.AST, tightness: int = 0) -> str:
    """Return the text of a definition, with the brackets that it needs to be read back.

    ``tightness``: of what stands beside it.
    """
    text, own = _spell_bare(node)
    return text if own >= tightness else f"({text})"


def _spell_bare(node: ast.AST) -> tuple[str, int]:
    """Return a text and how tightly it holds together."""
    match node:
        case ast.Constant(value):
            return spell_constant(value), SIGN if is_number(value) and math.copysign(1, value) < 0 else _ATOM
        case ast.Name(name):
            return spell_name(name), _ATOM
        case ast.Call(ast.Attribute(attr=function), arguments, keywords):
            parts = [spell(argument) for argument in arguments]
            parts += [f"{one.arg}={_spell_argument(one)}" for one in keywords]
            return f"{function}({', '.join(parts)})", _ATOM
        case ast.UnaryOp(ast.Not(), operand):
            return f"not {spell(operand, NOT)}", NOT
        case ast.UnaryOp(operator, operand):
            # A bracket keeps -(true) apart from a number with its minus.
            bare = isinstance(operator, ast.USub) and isinstance(operand, ast.Constant)
            return f"{_SPELT[type(operator)]}{spell(operand, _ATOM + 1 if bare else SIGN)}", SIGN
        case ast.BinOp(left, operator, right):
            sign = _SPELT[type(operator)]
            level = TIGHTNESS[sign]
            beside = (_ATOM, SIGN) if level == POWER else (level, level + 1)
            return f"{spell(left, beside[0])} {sign} {spell(right, beside[1])}", level
        case ast.Compare(left, operators, others):
            signs = [_SPELT[type(operator)] for operator in operators]
            rest = [f" {s} {spell(other, COMPARE + 1)}" for s, other in zip(signs, others, strict=True)]
            return "".join([spell(left, COMPARE + 1), *rest]), COMPARE
        case ast.BoolOp(operator, operands):
            word = _SPELT[type(operator)]
            level = TIGHTNESS[word]
            return f" {word} ".join(spell(operand, level + 1) for operand in operands), level
        case _:
            raise TypeError(f"a definition has no {type(node).__name__}")


def _spell_argument(keyword: ast.keyword) -> str:
    ends: Any = getattr(keyword.value, "value", None)
    slices = keyword.arg in SLICES and isinstance(ends, tuple) and len(ends) in (2, 3)
    if slices and all(end is None or is_number(end) for end in ends):
        return ":".join("" if end is None else repr(end) for end in ends)
    return spell(keyword.value)


def spell_name(name: str) -> str:
    """Return a name as it is, or in backticks where it could be read as something else."""
    plain = re.fullmatch(r"[^\W\d]\w*", name) is not None
    return name if plain and name.lower() not in RESERVED else f"`{name}`"


def spell_constant(value: object) -> str:
    """Return the text of a plain value."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(spell_constant, value))}]"
    return repr(value).lower() if value is None or isinstance(value, bool) else repr(value)
