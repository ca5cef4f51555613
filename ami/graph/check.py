"""Check a graph against the fields of a source before anything runs.

Kinds are propagated from the fields through each operation. An error names the operation, what
was seen, and what would be right; the person who reads it is on shift and did not write ami.
"""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Callable, Mapping, MutableMapping

import numpy as np

from ami.errors import FAULTS, GraphError
from ami.event import SEQUENCE, TIMESTAMP, Schema
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.library import LIBRARY
from ami.graph.library.base import Function, infer
from ami.graph.library.user import CODE_FILE
from ami.graph.operation import MAX_SHOWN, Operation, definition_of
from ami.graph.order import similar
from ami.graph.placing import explain_misplacing, name_part, show

NOTHING_KNOWN: Mapping[str, Kind] = {}


def check(
    graph: Graph,
    schema: Schema,
    before: Graph | None = None,
    tell: Callable[[int], None] = lambda _: None,
    known: Mapping[str, Kind] = NOTHING_KNOWN,
    failing: MutableMapping[str, str] | None = None,
) -> dict[str, Kind]:
    """Return the kind of each field and of each value of the graph.

    User's functions are compiled and run on a sample event: accept their code first.

    Args:
        before: the graph that runs. What is in this one too and cannot be computed (a package is missing,
            the source has other fields now) has no kind, nor has what follows from it: its results say so.
            To refuse it would keep everybody from editing.
        tell: is told the place of each operation before it is checked.
        known: kinds by fingerprint, as an earlier check against this schema found them.
        failing: the same of what runs and fails, with the reason; what is found is put there.

    Raises:
        GraphError: the graph cannot run on events of this schema.
    """
    kinds = {name: Kind(np.dtype(np.int64)) for name in (TIMESTAMP, SEQUENCE)}
    kinds |= {field.name: Kind.of(field) for field in schema.fields}
    running = set() if before is None else {before.fingerprint(one.name) for one in before.operations}
    failing = {} if failing is None else failing
    left_out, lost = schema.left_out, dict[str, str]()  # by name, why it has no kind
    for place, operation in enumerate(graph.operations):
        fingerprint = graph.fingerprint(operation.name)
        found = known.get(fingerprint)
        if found is not None and operation.name not in kinds:
            kinds[operation.name] = found
        elif fingerprint in running and fingerprint in failing:
            lost[operation.name] = failing[fingerprint]
        else:
            tell(place)
            try:
                kinds[operation.name] = _kind_of(operation, graph, kinds, left_out, lost)
            except GraphError as error:
                if fingerprint not in running:
                    line = _line(operation, graph)
                    raise GraphError(f"{name_part(operation, graph)}: {error}{line}") from error
                lost[operation.name] = failing[fingerprint] = str(error)
    _check_results(graph)
    return kinds


def _check_results(graph: Graph) -> None:
    for name in graph.results:
        if name not in graph.reduced:
            raise GraphError(
                f"result {name!r} is there for each event; reduce it over events, for example with "
                f"last({name}) or mean_events({name}){_line(graph[name], graph)}"
            )


def list_cautions(
    graph: Graph, kinds: Mapping[str, Kind], before: Graph | None = None
) -> list[tuple[str, str]]:
    """Return what is accepted and may not be what was meant, of operations that ``before`` has not.

    Each caution comes behind the name of its operation, and says itself in words which that is.
    """
    known = set() if before is None else {before.fingerprint(one.name) for one in before.operations}
    found = []
    for one in graph.operations:
        if graph.fingerprint(one.name) in known:
            continue
        made = LIBRARY.get(one.kind)
        inputs = [kinds[name] for name in one.inputs if name in kinds]
        if made is None or not issubclass(made, Function) or len(inputs) < len(one.inputs):
            continue
        if LIBRARY.is_ours(one.kind) and one.kind != "function":
            text = made(**one.arguments).caution(*inputs)
            found += [(one.name, f"{name_part(one, graph)}: {text}")] if text else []
    return found


def _line(operation: Operation, graph: Graph) -> str:
    text = graph[definition_of(operation.name, graph)].text
    return f"\n  {text}" if text else ""


def _kind_of(
    operation: Operation, graph: Graph, kinds: Mapping[str, Kind], left_out: Mapping[str, str],
    lost: Mapping[str, str],
) -> Kind:  # fmt: skip
    known = LIBRARY.get(operation.kind)
    if known is None:
        raise GraphError(f"{operation.kind!r} is not installed here; install the package that provides it")
    _check_names(operation, graph, kinds, left_out, lost)
    why = explain_misplacing(operation, graph, narrows=issubclass(known, Function) and known.narrows)
    if why is not None:
        raise GraphError(why)
    try:
        computes = known(**operation.arguments)  # type: ignore[arg-type]  # each class checks its own
        return infer(computes, *(kinds[name] for name in operation.inputs))
    except GraphError as error:
        place = _user_line(error, operation)
        if place is not None:
            raise GraphError(place) from error
        bins = {name: kinds[name] for name in operation.inputs if kinds[name].bins is not None}
        if len(bins) < 2:
            raise
        who = " and ".join(show(name, graph) for name in bins)
        raise GraphError(f"{who}: {error}") from error
    except FAULTS as error:
        # Whoever checks has a graph of everybody's to keep: what one definition does ends nobody's process.
        if LIBRARY.is_ours(operation.kind):
            raise GraphError(f"{operation.kind} fails on what it would get: {error!r}"[:MAX_SHOWN]) from error
        raise GraphError(f"{operation.kind} of another package fails: {error!r}"[:MAX_SHOWN]) from error


def _check_names(
    operation: Operation, graph: Graph, kinds: Mapping[str, Kind], left_out: Mapping[str, str],
    lost: Mapping[str, str],
) -> None:  # fmt: skip
    if operation.name in kinds:
        raise GraphError(f"{operation.name!r} is a field of the source; choose another name")
    if not operation.inputs:
        raise GraphError(f"{operation.kind} has no input value")
    for name in operation.inputs:
        if name not in kinds and name in graph:
            raise GraphError(f"{show(name, graph)} cannot be computed: {lost.get(name, 'it fails')}")
        if name not in kinds and name in left_out:
            raise GraphError(f"{name!r} of the source is left out: {left_out[name]}")
        if name not in kinds:
            known = [kind for kind in kinds if definition_of(kind, graph) == kind]
            names = sorted({*known} - {TIMESTAMP, SEQUENCE})
            more = " ..." if len(names) > 40 else ""
            hint = similar(name, known) or f"; there are {', '.join(names[:40]) or 'none'}{more}"
            raise GraphError(f"there is no value or field {name!r}{_name_letters(name)}{hint}")


def _name_letters(name: str) -> str:
    """Return which letters of a name look like others; "" where all are plain."""
    strange = [letter for letter in dict.fromkeys(name) if not letter.isascii()]
    return f" (with {', '.join(unicodedata.name(one, repr(one)) for one in strange[:3])})" if strange else ""


def _user_line(error: GraphError, operation: Operation) -> str | None:
    """Return what went wrong in a user's code with its line, None if no code of a user failed."""
    code = operation.arguments.get("code")
    cause = error.__cause__
    if operation.kind != "function" or not isinstance(code, str) or cause is None:
        return None
    frames = [f for f in traceback.extract_tb(cause.__traceback__) if f.filename == CODE_FILE]
    line = frames[-1].lineno if frames else cause.lineno if isinstance(cause, SyntaxError) else None
    lines = code.splitlines()
    if line is None or not 1 <= line <= len(lines):
        return None
    message = cause.msg if isinstance(cause, SyntaxError) else str(cause)
    return f"its code fails: {type(cause).__name__}: {message}, line {line}: {lines[line - 1].strip()}"
