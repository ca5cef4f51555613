"""Read definitions: ``sum(spot) / monitor``, ``signal where laser == 1``, ``roi(x, rows=1:3)``.

The language has Python's operators with Python's precedence, ``where`` below them all, calls with
slices as arguments, and names in backticks. It is read by this parser and not by Python's, so
nothing but what stands here can be said, and an error can name the column and what was expected. (Rejected:
to rewrite a text until Python's parser takes it. Rewriting, finding columns again and refusing what is too
much is as long, and how deep a text may be would be CPython's to say.)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from ami.errors import GraphError
from ami.graph.expression import spelling
from ami.graph.expression.habits import SIGNS
from ami.graph.operation import INTEGERS, check_name

MAX_DEFINITION = 20_000  # characters
MAX_DEPTH = 100  # of brackets, and of operators behind those that bind less tightly, within each other
MAX_HEIGHT = 100  # of the tree: so many operators in a row; all that walks it may recurse

_INFIX = (*spelling.PAIRS, *spelling.COMPARISONS, *spelling.LOGIC)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | `(?P<quoted>[^`]*)`
    | (?P<sign>(?:and|or|not)\b|\*\*|//|<<|>>|==|!=|<=|>=|[-+*/%<>&|^~()\[\],:=])
    | (?P<word>[^\W\d]\w*)
    | (?P<strange>.)""",
    re.VERBOSE,
)

Expr = TypeVar("Expr", bound=ast.expr)


class Token(NamedTuple):
    kind: str  # number, text, quoted, word, sign, end
    text: str
    column: int  # from 1
    end: int


def tokens(text: str) -> list[Token]:
    """Return the tokens of a definition, with one of kind ``end`` behind them.

    Raises:
        GraphError: a character belongs to no token, or the text is too long.
    """
    if len(text) > MAX_DEFINITION:
        raise GraphError(f"a definition of {len(text)} characters; at most {MAX_DEFINITION} are possible")
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "strange":
            raise GraphError(f"column {match.start() + 1}: {_explain(match[0], text[match.end() :])}")
        if kind != "space":
            found.append(Token(kind, match[kind], match.start() + 1, match.end()))
    return [*found, Token("end", "the end", len(text) + 1, len(text))]


def _explain(character: str, behind: str) -> str:
    if character in "\"'`":
        return f"{character} is opened and never closed"
    if character == "." and (call := re.match(r"\s*(\w+)\s*\(", behind)):
        return f"'.' calls nothing here: an operation stands before its values, {call[1]}(x)"
    if character in SIGNS:
        return f"{character!r} has no meaning here; {SIGNS[character]}"
    if character == ".":
        return "'.' is part of no name; write names with dots in backticks: `camera.image`"
    return f"{character!r} has no meaning here"


def parse(text: str) -> ast.expr:
    """Return what a definition says; each part knows where in the text it begins and ends.

    Raises:
        GraphError: with the column, what was seen and what was expected.
    """
    parser = _Parser(tokens(text))
    node = parser.read()
    if parser.token.kind != "end":
        raise parser.unexpected("an operator or the end")
    height, level = 0, [node]  # type: int, list[ast.AST]
    while level:
        height += 1
        parts = (part for node in level for part in ast.iter_child_nodes(node))
        level = [part for part in parts if isinstance(part, ast.expr | ast.keyword)]
    if height > MAX_HEIGHT:
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

    def sees(self, *texts: str) -> bool:
        return self.token.kind in ("sign", "word") and self.token.text in texts

    def _next_is(self, sign: str) -> bool:
        return self._tokens[self._place + 1][:2] == ("sign", sign)

    def unexpected(self, expected: str) -> GraphError:
        seen = self.token.text if self.token.kind == "end" else repr(self.token.text)
        # Of what was taken before, only a word such as `if` was the mistake.
        before = self._tokens[self._place - 1] if self._place else self.token
        said = [self.token, *([before] if before.kind == "word" else [])]
        habit = next((SIGNS[one.text] for one in said if one.kind != "text" and one.text in SIGNS), "")
        more = f"; {habit}" if habit else ""
        return GraphError(f"column {self.token.column}: expected {expected}, got {seen}{more}")

    def _take(self) -> Token:
        self._place += 1
        return self._tokens[self._place - 1]

    def _takes(self, text: str) -> bool:
        found = self.sees(text)
        self._place += found
        return found

    def _demand(self, text: str, also: str = "") -> None:
        if not self._takes(text):
            raise self.unexpected(f"{also}{text!r}")

    def _end(self, node: Expr, column: int) -> Expr:
        """Return a node that knows its place, from a column to what was taken last."""
        node.col_offset, node.end_col_offset = column - 1, self._tokens[self._place - 1].end
        return node

    def _constant(self, value: Any, column: int) -> ast.Constant:
        return self._end(ast.Constant(value), column)

    def read(self, least: int = 0) -> ast.expr:
        """Read values and operators that bind at least as tightly as ``least``."""
        column = self.token.column
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GraphError(
                f"column {column}: nested deeper than {MAX_DEPTH}; give parts of it names under values"
            )
        node = self._read_signs(least)
        while (level := self._level()) >= least:
            operands: list[ast.expr] = [node]
            signs: list[str] = []
            while self._level() == level and (not signs or signs[0] not in spelling.PAIRS):
                signs.append(self._take().text)
                operands.append(self.read(spelling.SIGN if level == spelling.POWER else level + 1))
            node = self._end(_join(signs, operands), column)
        self._depth -= 1
        return node

    def _level(self) -> int:
        """Return how tightly the operator that comes next binds, -1 where none comes."""
        return spelling.TIGHTNESS[self.token.text] if self.sees(*_INFIX) else -1

    def _read_signs(self, least: int) -> ast.expr:
        inverts = least <= spelling.NOT and self.sees("not")
        signs: list[tuple[str, int]] = []
        while self.sees(*(("not",) if inverts else ("-", "+", "~"))):
            signs.append((self.token.text, self._take().column))
        node = self.read(spelling.COMPARE if inverts else spelling.POWER) if signs else self._read_atom()
        for sign, column in reversed(signs):
            if sign == "-" and isinstance(node, ast.Constant) and spelling.is_number(node.value):
                node = self._constant(-node.value, column)
            else:
                node = self._end(ast.UnaryOp(spelling.SIGNS[sign], node), column)
        return node

    def _read_atom(self) -> ast.expr:
        if self.sees("["):
            return self._read_list()
        if self._takes("("):
            node = self.read()
            if self.sees(","):
                raise self.unexpected("')'; a list is written in [ ]")
            self._demand(")", "an operator or ")
            return node
        token = self.token
        constant = token.kind == "word" and token.text in spelling.WORDS
        if token.kind == "word" and self._next_is("(") and not constant:
            return self._read_call()
        if token.kind in ("end", "sign") or token[:2] == ("word", "where"):
            raise self.unexpected("a value, a number or '('")
        self._take()
        if constant:
            return self._constant(spelling.WORDS[token.text], token.column)
        if token.kind in ("word", "quoted"):
            check_name(token.text, f"the value in column {token.column}")
            return self._end(ast.Name(token.text), token.column)
        return self._constant(_value(token), token.column)

    def _read_items(self, closing: str) -> Iterator[Token]:
        """Yield where each of those things begins that stand between commas, up to a bracket."""
        self._take()
        while not self.sees(closing):
            yield self.token
            if not self._takes(","):
                break
        self._demand(closing, "',' or ")

    def _read_call(self) -> ast.expr:
        function = self._take()
        arguments: list[ast.expr] = []
        keywords: dict[str, ast.expr] = {}
        for token in self._read_items(")"):
            if token.kind == "word" and self._next_is("="):
                self._place += 2
                if token.text in keywords:
                    raise GraphError(f"column {token.column}: {token.text!r} stands twice")
                keywords[token.text] = self._read_argument()
            elif keywords:
                raise self.unexpected("NAME=..., because such an argument stands before it")
            else:
                arguments.append(self._read_argument())
        called = ast.Attribute(attr=function.text)  # type: ignore[call-arg]  # of nothing
        named = [ast.keyword(name, value) for name, value in keywords.items()]
        return self._end(ast.Call(called, arguments, named), function.column)

    def _read_argument(self) -> ast.expr:
        """Return a value, or the tuple of a slice ``a:b`` or ``a:b:c``, where each may be missing."""
        column = self.token.column
        node = None if self.sees(":") else self.read()
        if node is not None and not self.sees(":"):
            return node
        ends = [node]
        while len(ends) < 3 and self._takes(":"):
            ends.append(None if self.sees(":", ",", ")") else self.read())
        values: tuple[Any, ...] = tuple(getattr(end, "value", end) for end in ends)
        if not all(value is None or spelling.is_number(value) for value in values):
            raise GraphError(f"column {column}: the ends of a slice must be numbers, as in 100:140")
        first, end, step = (*values, None)[:3]
        if (
            isinstance(first, int)
            and isinstance(end, int)
            and 0 <= end <= first
            and (step is None or step > 0)
        ):
            right = f"{end}:{first}" if end < first else f"{first}:{first + 1}, as the end is not included"
            raise GraphError(f"column {column}: nothing lies in {first}:{end}; did you mean {right}?")
        return self._constant(values, column)

    def _read_list(self) -> ast.expr:
        column = self.token.column
        items: list[object] = []
        for _ in self._read_items("]"):
            item = self.read(spelling.SIGN)
            if not isinstance(item, ast.Constant):
                raise GraphError(f"column {column}: a list has numbers and texts only, such as [0, 1.5, 4]")
            items.append(item.value)
        return self._constant(tuple(items), column)


def _join(signs: list[str], operands: list[ast.expr]) -> ast.expr:
    left, *others = operands
    if signs[0] in spelling.PAIRS:
        return ast.BinOp(left, spelling.PAIRS[signs[0]], *others)
    if signs[0] in spelling.COMPARISONS:
        return ast.Compare(left, [spelling.COMPARISONS[sign] for sign in signs], others)
    return ast.BoolOp(spelling.LOGIC[signs[0]], operands)


def _value(token: Token) -> int | float | str:
    try:
        # A number or a quoted text and nothing else, by its token. Python has no 007; here it is a float.
        value: Any = float(token.text) if re.fullmatch(r"0\d+", token.text) else ast.literal_eval(token.text)
    except (SyntaxError, ValueError) as error:
        raise GraphError(f"column {token.column}: {token.text[:50]} cannot be read: {error}") from None
    if isinstance(value, int) and value not in INTEGERS:
        raise GraphError(f"column {token.column}: an integer of more than 64 bits; write it as 1e30")
    return value  # type: ignore[no-any-return]
