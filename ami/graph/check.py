"""Check a graph against the fields of a source before anything runs.

Kinds are propagated from the fields through each operation. An error names the operation, what
was seen, and what would be right; the person who reads it is on shift and did not write ami.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping

import numpy as np

from ami.errors import GraphError
from ami.event import SEQUENCE, TIMESTAMP, Schema
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.language.text import definition
from ami.graph.library import LIBRARY
from ami.graph.library.base import Function, Reduction, parameter_names
from ami.graph.operation import Operation
from ami.graph.order import similar


def check(graph: Graph, schema: Schema) -> dict[str, Kind]:
    """Return the kind of each field and of each value of the graph.

    User's functions are compiled and run on a sample event: accept their code first.

    Raises:
        GraphError: the graph cannot run on events of this schema.
    """
    kinds = {name: Kind(np.dtype(np.int64)) for name in (TIMESTAMP, SEQUENCE)}
    kinds |= {field.name: Kind(field.dtype, field.shape) for field in schema.fields}
    for operation in graph.operations:
        if operation.name in kinds:
            raise GraphError(
                f"{operation.name!r} is a field of the source; choose another name for the operation"
            )
    for operation in graph.operations:
        try:
            kinds[operation.name] = _kind_of(operation, graph, kinds)
        except GraphError as error:
            raise GraphError(
                f"operation {operation.name!r}, {definition(operation, graph)}: {error}"
            ) from error
    for name in graph.results:
        if not kinds[name].reduced:
            raise GraphError(
                f"result {name!r}, {definition(graph[name], graph)}, is there for each event; "
                f"reduce it over events, for example with last({name}) or mean_events({name})"
            )
    return kinds


def _kind_of(operation: Operation, graph: Graph, kinds: Mapping[str, Kind]) -> Kind:
    known = LIBRARY.get(operation.kind)
    if known is None:
        hint = similar(operation.kind, LIBRARY) or f"; known: {', '.join(LIBRARY)}"
        raise GraphError(f"there is no operation {operation.kind!r}{hint}")
    for name in operation.inputs:
        if name not in kinds:
            raise GraphError(f"there is no value or field {name!r}{_instead(name, kinds)}")
    _check_inputs(operation, known)
    _check_stage(operation, known, graph, kinds)
    try:
        return made(operation).infer(*(kinds[name] for name in operation.inputs))
    except GraphError as error:
        place = _user_line(error, operation)
        if place is None:
            raise
        raise GraphError(place) from error


def made(operation: Operation) -> Function | Reduction:
    """Return the library's object that computes ``operation``.

    Raises:
        GraphError: a parameter is unknown, missing or impossible.
    """
    known = LIBRARY[operation.kind]
    names = parameter_names(known)
    for name in operation.arguments:
        if name not in names:
            hint = similar(name, names) or f"; it has {', '.join(names) or 'none'}"
            raise GraphError(f"{operation.kind} has no parameter {name!r}{hint}")
    for parameter in inspect.signature(known).parameters.values():
        if parameter.default is parameter.empty and names and parameter.name not in operation.arguments:
            raise GraphError(f"{operation.kind} lacks its parameter {parameter.name!r}")
    return known(**operation.arguments)  # type: ignore[arg-type]  # each class checks its own


def _instead(name: str, kinds: Mapping[str, Kind]) -> str:
    names = sorted(set(kinds) - {TIMESTAMP, SEQUENCE})
    return (
        similar(name, kinds) or f"; there are {', '.join(names[:40]) or 'none'}{' ...' * (len(names) > 40)}"
    )


def _check_inputs(operation: Operation, known: type[Function] | type[Reduction]) -> None:
    if not operation.inputs:
        raise GraphError(f"{operation.kind} has no input value")
    if known.inputs is not None and len(known.inputs) != len(operation.inputs):
        raise GraphError(
            f"{operation.kind} needs {len(known.inputs)} input values ({', '.join(known.inputs)}), "
            f"got {len(operation.inputs)} ({', '.join(operation.inputs)})"
        )


def _check_stage(
    operation: Operation, known: type[Function] | type[Reduction], graph: Graph, kinds: Mapping[str, Kind]
) -> None:
    """Refuse what would need all events on one side and the result of all events on the other."""
    reduced = [name for name in operation.inputs if kinds[name].reduced]
    each = [name for name in operation.inputs if not kinds[name].reduced]
    if not reduced:
        return
    name = reduced[0]
    why = f"{name!r} is reduced over events ({_reducer(name, graph)})"
    if issubclass(known, Reduction):
        raise GraphError(
            f"{why}, so there are no events left for {operation.kind} to go over; reduce once only"
        )
    if known.narrows:
        raise GraphError(f"{why}, so there are no events left to choose from; filter before the reduction")
    if each:
        raise GraphError(
            f"{why}, while {each[0]!r} is there for each event: the two meet nowhere, because events are "
            f"gone when the result is known; reduce {each[0]!r} too, or use {name!r} in another result"
        )


def _reducer(name: str, graph: Graph) -> str:
    """Return the first reduction that ``name`` comes from, in words."""
    steps = graph.steps_for(name)
    first = next(step for step in steps if step.name in graph.reduced)
    text = definition(first, graph)
    return f"by {text}" if first.name == name else f"by {first.name!r}, {text}"


def _user_line(error: GraphError, operation: Operation) -> str | None:
    """Return what went wrong in a user's code with its line, None if no code of a user failed."""
    code = operation.arguments.get("code")
    cause = error.__cause__
    if operation.kind != "function" or not isinstance(code, str) or cause is None:
        return None
    frames = [f for f in traceback.extract_tb(cause.__traceback__) if f.filename == "<user function>"]
    line = frames[-1].lineno if frames else cause.lineno if isinstance(cause, SyntaxError) else None
    lines = code.splitlines()
    if line is None or not 1 <= line <= len(lines):
        return None
    message = cause.msg if isinstance(cause, SyntaxError) else str(cause)
    return f"its code fails: {type(cause).__name__}: {message}, line {line}: {lines[line - 1].strip()}"
