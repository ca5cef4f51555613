"""Read definitions: ``sum(spot) / monitor``, ``signal where laser == 1``, ``roi(x, rows=1:3)``.

The language has Python's operators with Python's precedence, ``where`` below them all, calls with
slices as arguments, and names in backticks. It is read by this parser and not by Python's, so
nothing but what stands here can be said, and an error can name the column and what was expected.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from ami.errors import GraphError
from ami.graph.expression.nodes import (
    COMPARISONS,
    RESERVED,
    TIGHTNESS,
    WORDS,
    Call,
    Compare,
    Literal,
    Logic,
    Name,
    Node,
    Pair,
    Sign,
    Where,
    height,
    is_number,
)
from ami.graph.operation import INTEGERS, check_name

MAX_DEFINITION = 20_000  # characters
MAX_DEPTH = 30  # of brackets and signs within each other
MAX_HEIGHT = 100  # of the tree: so many operators in a row; all that walks it may recurse


class Token(NamedTuple):
    kind: str  # number, text, word, quoted, sign, end
    text: str
    column: int  # from 1


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | `(?P<quoted>[^`]*)`
    | (?P<word>[^\W\d]\w*)
    | (?P<sign>\*\*|//|<<|>>|==|!=|<=|>=|[-+*/%<>&|^~()\[\],:=])
    )""",
    re.VERBOSE,
)


def tokens(text: str) -> list[Token]:
    """Return the tokens of a definition, with one of kind ``end`` behind them.

    Raises:
        GraphError: a character belongs to no token, or the text is too long.
    """
    if len(text) > MAX_DEFINITION:
        raise GraphError(f"a definition of {len(text)} characters; at most {MAX_DEFINITION} are possible")
    found: list[Token] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            place += len(text[place:]) - len(text[place:].lstrip())
            raise GraphError(f"column {place + 1}: {_strange(text[place])}")
        kind = match.lastgroup
        found.append(Token(kind, match[kind], match.start(kind) + 1))
        place = match.end()
    return [*found, Token("end", "the end", len(text) + 1)]


def _strange(character: str) -> str:
    if character in "\"'`":
        return f"{character} is opened and never closed"
    if character == ".":
        return "'.' is part of no name; write names with dots in backticks: `camera.image`"
    return f"{character!r} has no meaning here"


def parse(text: str) -> Node:
    """Return what a definition says.

    Raises:
        GraphError: with the column, what was seen and what was expected.
    """
    parser = _Parser(tokens(text))
    node = parser.where()
    token = parser.token
    if token.kind == "sign" and token.text == "=":
        raise parser.unexpected("'==' to compare")
    if token.kind != "end":
        raise parser.unexpected("an operator or the end")
    if height(node) > MAX_HEIGHT:
        raise GraphError(f"more than {MAX_HEIGHT} operators in a row; give parts of it names under values")
    return node


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._place = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._place]

    def unexpected(self, expected: str) -> GraphError:
        token = self.token
        seen = token.text if token.kind == "end" else repr(token.text)
        return GraphError(f"column {token.column}: expected {expected}, got {seen}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GraphError(
                f"column {self.token.column}: nested deeper than {MAX_DEPTH}; "
                f"give parts of it names under values"
            )

    def _sees(self, *texts: str) -> str | None:
        token = self.token
        return token.text if token.kind in ("sign", "word") and token.text in texts else None

    def _takes(self, *texts: str) -> str | None:
        text = self._sees(*texts)
        if text is not None:
            self._place += 1
        return text

    def _demand(self, text: str, also: str = "") -> None:
        if self._takes(text) is None:
            raise self.unexpected(f"{also}{text!r}")

    def where(self) -> Node:
        self._deeper()
        node = self._logic("or")
        while self._takes("where"):
            node = Where(node, self._logic("or"))
        self._depth -= 1
        return node

    def _logic(self, operator: str) -> Node:
        operands = [self._logic("and") if operator == "or" else self._not()]
        while self._takes(operator):
            operands.append(self._logic("and") if operator == "or" else self._not())
        return operands[0] if len(operands) == 1 else Logic(operator, tuple(operands))

    def _not(self) -> Node:
        turns = 0
        while self._takes("not"):
            turns += 1
        operands, operators = [self._pair(0)], []
        while operator := self._takes(*COMPARISONS):
            operators.append(operator)
            operands.append(self._pair(0))
        node = Compare(tuple(operands), tuple(operators)) if operators else operands[0]
        for _ in range(turns):
            node = Sign("not", node)
        return node

    def _pair(self, level: int) -> Node:
        """Read operators that bind at least as tightly as ``level`` says."""
        node = self._sign()
        while self.token.kind == "sign" and TIGHTNESS.get(self.token.text, -1) >= level:
            operator = self.token.text
            self._place += 1
            node = Pair(operator, node, self._pair(TIGHTNESS[operator] + 1))
        return node

    def _sign(self) -> Node:
        operators = []
        while operator := self._takes("-", "+", "~"):
            operators.append(operator)
        node = self._power()
        for operator in reversed(operators):
            if operator == "-" and isinstance(node, Literal) and is_number(node.value):
                node = Literal(-node.value, node.column)  # type: ignore[operator]  # it is a number
            else:
                node = Sign(operator, node)
        return node

    def _power(self) -> Node:
        node = self._atom()
        if self._takes("**"):
            self._deeper()
            node = Pair("**", node, self._sign())
            self._depth -= 1
        return node

    def _atom(self) -> Node:
        token = self.token
        if self._takes("("):
            node = self.where()
            if self._sees(","):
                raise self.unexpected("')'; a list is written in [ ]")
            self._demand(")", "an operator or ")
            return node
        if self._sees("["):
            return self._list()
        self._place += token.kind != "end"
        if token.kind == "number":
            return Literal(_number(token), token.column)
        if token.kind == "text":
            return Literal(_unquote(token), token.column)
        if token.kind == "quoted":
            check_name(token.text, f"the value in backticks in column {token.column}")
            return Name(token.text, token.column)
        if token.kind == "word":
            return self._word(token)
        self._place -= token.kind != "end"
        raise self.unexpected("a value, a number or '('")

    def _word(self, token: Token) -> Node:
        if self._sees("(") and token.text not in RESERVED - {"where"}:
            return self._call(token)
        if token.text.lower() in WORDS and token.text in (token.text.lower(), token.text.capitalize()):
            return Literal(WORDS[token.text.lower()], token.column)
        if token.text in RESERVED:
            self._place -= 1
            raise self.unexpected("a value, a number or '('")
        check_name(token.text, f"the value in column {token.column}")
        return Name(token.text, token.column)

    def _call(self, function: Token) -> Node:
        self._demand("(")
        arguments: list[Node] = []
        keywords: dict[str, Node] = {}
        while not self._sees(")"):
            follower = self._tokens[min(self._place + 1, len(self._tokens) - 1)]
            if self.token.kind == "word" and follower.text == "=" and follower.kind == "sign":
                keyword = self.token.text
                self._place += 2
                if keyword in keywords:
                    raise GraphError(f"column {function.column}: {keyword!r} stands twice")
                keywords[keyword] = self._argument()
            elif keywords:
                raise self.unexpected("NAME=..., because such an argument stands before it")
            else:
                arguments.append(self._argument())
            if not self._takes(","):
                break
        self._demand(")", "',' or ")
        return Call(function.text, tuple(arguments), tuple(keywords.items()), function.column)

    def _argument(self) -> Node:
        """Return a value, or the tuple of a slice ``a:b`` or ``a:b:c``, where each may be missing."""
        column = self.token.column
        first = None if self._sees(":") else self.where()
        if not self._sees(":"):
            assert first is not None
            return first
        parts = [self._read_bound(first)]
        while len(parts) < 3 and self._takes(":"):
            parts.append(None if self._sees(":", ",", ")") else self._read_bound(self.where()))
        return Literal(tuple(parts), column)

    def _read_bound(self, node: Node | None) -> int | float | None:
        if node is None:
            return None
        if not isinstance(node, Literal) or not is_number(node.value):
            raise GraphError(
                f"column {self.token.column}: the ends of a slice must be numbers, as in 100:140"
            )
        return node.value  # type: ignore[return-value]  # it is a number

    def _list(self) -> Node:
        column = self.token.column
        self._deeper()
        self._demand("[")
        items: list[object] = []
        while not self._sees("]"):
            item = self._sign() if not self._sees("[") else self._list()
            if not isinstance(item, Literal):
                raise GraphError(f"column {column}: a list has numbers and texts only, such as [0, 1.5, 4]")
            items.append(item.value)
            if not self._takes(","):
                break
        self._demand("]", "',' or ")
        self._depth -= 1
        return Literal(tuple(items), column)


def _number(token: Token) -> int | float:
    try:
        value = int(token.text, 0) if re.fullmatch(r"0[xX]\w+|0|[1-9]\d*", token.text) else None
    except ValueError:  # Python reads at most 4300 digits
        value = 1 << 64
    if value is None:
        return float(token.text)
    if value not in INTEGERS:
        raise GraphError(f"column {token.column}: an integer of more than 64 bits; write it as 1e30")
    return value


def _unquote(token: Token) -> str:
    try:
        return str(ast.literal_eval(token.text))  # a quoted text and nothing else, by its token
    except (SyntaxError, ValueError) as error:
        raise GraphError(f"column {token.column}: {token.text[:50]} is no text: {error}") from None
