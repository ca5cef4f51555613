"""Read and write the YAML around a graph's definitions, so that a text means what it seems to say.

YAML as PyYAML's safe loader has it reads ``on`` as true, ``1:30`` as ninety, lets the last of two
equal keys win, and builds a gigabyte from ten lines of references. Here only true and false are
truths, a key may stand once, and references are refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import yaml

from ami.errors import GraphError

MAX_TEXT = 4 << 20  # characters
MAX_DEPTH = 20
MAX_SHOWN = 300  # characters of a problem

_RESOLVERS: tuple[tuple[str, str, list[str]], ...] = (
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", [*"-+0123456789"]),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|[-+]?[0-9]+[eE][-+]?[0-9]+",
     [*"-+.0123456789"]),
    ("null", r"~|null|", ["~", "n", ""]),
)  # fmt: skip


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's own way
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _wrong("references (& and *) are not possible here", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _wrong(f"nested deeper than {MAX_DEPTH}", event)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _wrong(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem[:MAX_SHOWN], problem_mark=place.start_mark)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _wrong(f"{key!r} must be a name; write it in quotes", key_node)
        if key in found:
            raise _wrong(f"{key!r} stands twice", key_node)
        found[key] = loader.construct_object(value_node, deep=True)
        if node.flow_style and isinstance(value_node, yaml.ScalarNode):
            _refuse_half(key, value_node)
    return found


def _refuse_half(key: str, node: yaml.ScalarNode) -> None:
    """Refuse the first half of a definition that YAML has cut at a comma."""
    behind = node.end_mark.buffer[node.end_mark.pointer :].lstrip()  # type: ignore[index]  # of a text it is there
    if node.style is None and behind.startswith(",") and node.value.count("(") > node.value.count(")"):
        whole = f"{node.value}, ...)"
        raise _wrong(
            f"{key}: {node.value!r} is cut at the comma, as within {{ }} YAML does; put the "
            f"definition into quotes, {{{key}: '{whole}'}}, or each on a line of its own",
            node,
        )


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's own way

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _list_node(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(str, _text_node)
_Dumper.add_representer(list, _list_node)
for _tag, _pattern, _firsts in _RESOLVERS:
    for _one in (_Loader, _Dumper):
        _one.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _firsts)


def load(text: str) -> object:
    """Return what a YAML text says.

    Raises:
        GraphError: with line and column.
    """
    if not isinstance(text, str):
        raise GraphError(f"a graph's text must be text, got {type(text).__name__}")
    if len(text) > MAX_TEXT:
        raise GraphError(f"a text of {len(text)} characters; at most {MAX_TEXT} are possible")
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        line = (
            text.splitlines()[mark.line][: mark.column] if mark and mark.line < len(text.splitlines()) else ""
        )
        hint = _explain_flow(error) or _hint(str(error.problem), line)
        raise GraphError(f"{place}{error.problem}{hint}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise GraphError(f"the text is no YAML: {' '.join(str(error).split())}"[:300]) from None


def _explain_flow(error: yaml.MarkedYAMLError) -> str:
    """Return what to do about a definition within { }, where a bracket is YAML's own."""
    mark, within = error.problem_mark, error.context_mark
    if mark is None or within is None or "flow mapping" not in str(error.context) or mark.buffer is None:
        return ""
    if mark.buffer[mark.pointer : mark.pointer + 1] not in tuple("[]{}"):
        return ""
    return "; within { } brackets are YAML's: put the definition into quotes, or each on a line of its own"


def _hint(problem: str, before: str) -> str:
    """Return what to do about a problem; ``before`` is what stands in its line before it."""
    if "mapping values are not allowed" in problem and re.fullmatch(r"\s*\S+\s*", before):
        return "; does the line before it lack its colon?"
    hints = {
        "'`'": "put a definition that begins with a backtick into quotes: '`a.b` - 3'",
        "mapping values are not allowed": "put a definition with a colon and a space into quotes",
        "'\\t'": "this line begins with a tab; put blanks there",
        "expected <block end>": "lines of one section begin at the same column",
        "unexpected end of stream": "a quote is not closed",
        "but got '<stream end>'": "a bracket is not closed",
        "cannot start any token": "put the definition into quotes",
    }
    return next((f"; {hint}" for part, hint in hints.items() if part in problem), "")


def dump(content: Mapping[str, object]) -> str:
    """Return ``content`` as YAML that :func:`load` reads back to the same.

    Raises:
        GraphError: the text is longer than can be read.
    """
    text = "".join(_dump_section(section, part) for section, part in content.items()) or _dump(content)
    if len(text) > MAX_TEXT:
        raise GraphError(f"a text of {len(text)} characters; at most {MAX_TEXT} are possible")
    return text


def _dump_section(section: str, part: object) -> str:
    if not isinstance(part, Mapping) or not part or not all(map(_is_plain, part.values())):
        return _dump({section: part})
    lines = [_dump_line(name, tuple(p) if isinstance(p, list) else p) for name, p in part.items()]
    return _dump({section: {}}).removesuffix(" {}\n") + "\n" + "".join(lines)


def _is_plain(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, list) and all(isinstance(one, str) for one in part))


@functools.lru_cache(maxsize=1 << 14)
def _dump_line(name: str, part: str | tuple[str, ...]) -> str:
    """Return an entry of a section. An edit changes one of thousands; the others are not made anew."""
    text = _dump({name: list(part) if isinstance(part, tuple) else part})
    return "  " + text[:-1].replace("\n", "\n  ") + "\n"


def _dump(content: Mapping[str, object]) -> str:
    text: str = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 30
    )
    return text
