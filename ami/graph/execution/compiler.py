"""Compile the worker's part of a graph to a list of steps over registers.

Equal operations of different clients are one step. An operation that cannot run, because it is not
installed here or does not suit the events, is told with its reason, and what is behind it is left
out: the manager refuses such graphs, but the source, or what is installed, may have been exchanged since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ami.errors import FAULTS, GraphError
from ami.event import SEQUENCE, TIMESTAMP, Field, Schema
from ami.graph.execution.bind import Unbound, bind
from ami.graph.execution.frame import Frame
from ami.graph.execution.partial import OFF
from ami.graph.execution.people import FindKind, block_step, event_step, find_kind_here
from ami.graph.execution.steps import (
    Step,
    filled_step,
    function_step,
    reduction_step,
    select_step,
    view_step,
    where_step,
)
from ami.graph.execution.together import FEWEST, Joined, Planned, find_likeness, join
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.library.base import Function, Reduction, infer
from ami.graph.library.user import UserFunction
from ami.graph.operation import Operation
from ami.graph.order import similar

Loader = tuple[str, int]  # name of a field, its register


class Running(NamedTuple):
    """A step that runs, with the registers that are free after it.

    ``parts``: what it is made of, each with its breadcrumb number and the registers that it reads. The
    number of the first one is left before all of them.
    """

    step: Step
    number: int
    unneeded: tuple[int, ...]
    parts: tuple[tuple[int, tuple[int, ...]], ...]


class Compiler:
    """Goes through the operations twice: to see what can run, then to give each value a register.

    Attributes:
        kinds: of fields and values, by name.
        names: of the operations that share each breadcrumb number.
        selections: registers of the events for which a condition is true, by register of the condition.
        loaders, builtin: what is put into registers before the first step.
        variable: registers of the fields of variable length among them, with the field.
        reductions, per_event, people, broken: as of the plan, by name.

    Args:
        fewest: of how many equal steps on numbers one is made.
        off: operations that must not run, by fingerprint, with the reason.
        elsewhere: fields that other nodes have: what needs one that is not in the schema is no error, and is
            left out, as of events that lack it.
        find_kind: finds the kinds of what people's functions give.
    """

    def __init__(
        self,
        graph: Graph,
        schema: Schema,
        here: str,
        fewest: int = FEWEST,
        off: Mapping[str, str] | None = None,
        elsewhere: frozenset[str] = frozenset(),
        find_kind: FindKind = find_kind_here,
    ) -> None:
        self.loaders: list[Loader] = []
        self.builtin: dict[str, int] = {}
        self.variable: dict[int, Field] = {}
        self.reductions: dict[str, Reduction] = {}
        self.names: list[list[str]] = []
        self.per_event: set[str] = set()
        self.people: dict[str, UserFunction] = {}
        self.broken: dict[str, str] = {}
        self.frame = Frame()
        self.steps: list[Planned] = []
        self._fewest = fewest
        self._off = off or {}
        self._elsewhere = elsewhere - schema.name_set
        self._find_kind = find_kind
        self.selections: dict[int, int] = {}
        self._graph = graph
        self._schema = schema
        self._bound = bind(graph, here)
        self.kinds = {name: Kind(np.dtype(np.int64)) for name in (TIMESTAMP, SEQUENCE)}
        self.kinds |= {field.name: Kind.of(field) for field in schema.fields}
        self._registers: dict[str, int] = {}  # by name of the value
        self._by_fingerprint: dict[str, int] = {}  # register of a function's value
        self._numbers: dict[str, int] = {}  # breadcrumb, by fingerprint
        for operation in graph.steps_for(self._find_reductions()):
            self._add(operation)

    def finish(self, left_out: frozenset[str] = frozenset(), *, most: int = 0) -> tuple[Running, ...]:
        """Return the steps that run, but for reductions that are left out, and for what only they need.

        Args:
            most: of how many equal ones one is made; 0: each runs by itself.
        """
        needed: set[int] = set()
        chosen: list[Planned] = []
        for one in reversed(self.steps):
            if one.gives in needed if isinstance(one.gives, int) else one.gives not in left_out:
                chosen.append(one)
                needed.update(one.read)
        chosen.reverse()
        if most:
            joined = join(self.frame, chosen, self._fewest, most)
        else:
            joined = [Joined((one,), one.step, frozenset(one.read)) for one in chosen]
        needed = set()
        running = []
        for steps, step, read in reversed(joined):
            parts = tuple((one.number, one.read) for one in steps)
            # The last one to read it, as they come here in reverse.
            running.append(Running(step, parts[0][0], tuple(read - needed), parts))
            needed |= read
        return tuple(reversed(running))

    def list_names(self) -> dict[str, tuple[str, ...]]:
        """Return the operations of each reduction, by fingerprint."""
        return {key: tuple(self.names[self._numbers[key] - 1]) for key in self.reductions}

    # what can run

    def _find_reductions(self) -> Iterable[str]:
        """Find the kind of each value; return the reductions that can be had of these events."""
        lost: set[str] = set()
        kinds: dict[str, Kind] = {}  # by fingerprint: a user's function is called to find out
        found = []
        for name, computing in self._bound.items():
            if self._graph.stage(name) != "worker":
                continue
            operation, key = self._graph[name], self._graph.fingerprint(name)
            if not (lost.isdisjoint(operation.inputs) and self._elsewhere.isdisjoint(operation.inputs)):
                lost.add(name)
                continue
            try:
                if key in self._off:
                    raise GraphError(OFF + self._off[key])
                self.kinds[name] = kinds.get(key) or self._kind(operation, computing)
            except FAULTS as error:  # of a plug-in it may be any
                self.broken[name] = str(error)
                lost.add(name)
                continue
            kinds[key] = self.kinds[name]
            if isinstance(computing, Reduction):
                found.append(name)
        return found

    def _kind(self, operation: Operation, computing: Function | Reduction | Unbound) -> Kind:
        if isinstance(computing, Unbound):
            raise GraphError(computing.reason)
        if not operation.inputs:
            raise GraphError("it has no input")
        unknown = [name for name in operation.inputs if name not in self.kinds]
        if unknown:
            raise GraphError(
                f"it needs {unknown[0]!r}, which no operation gives and no field is called"
                f"{similar(unknown[0], self.kinds)}"
            )
        inputs = [self.kinds[name] for name in operation.inputs]
        try:
            if isinstance(computing, UserFunction):
                return self._find_kind(self._graph.fingerprint(operation.name), computing, inputs)
            return infer(computing, *inputs)
        except (TypeError, ValueError) as error:
            raise GraphError(f"it cannot have these inputs: {error}") from error

    # steps

    def _add(self, operation: Operation) -> None:
        fingerprint = self._graph.fingerprint(operation.name)
        if fingerprint in self._numbers:
            self.names[self._numbers[fingerprint] - 1].append(operation.name)
            if fingerprint in self._by_fingerprint:
                self._registers[operation.name] = self._by_fingerprint[fingerprint]
            return
        self.names.append([operation.name])
        number = self._numbers[fingerprint] = len(self.names)
        inputs = tuple(map(self._input, operation.inputs))
        names, computing = self.names[-1], self._bound[operation.name]
        variable = any(self.kinds[name].variable for name in operation.inputs)
        if isinstance(computing, Reduction):
            self.reductions[fingerprint] = computing
            step = reduction_step(self.frame, computing, names, inputs, fingerprint, variable=variable)
            alike = find_likeness(computing, [self.kinds[name] for name in operation.inputs])
            self.steps.append(Planned(step, number, inputs, fingerprint, alike))
            return
        assert isinstance(computing, Function)  # what is unbound was left out
        output = self.frame.register()
        self._registers[operation.name] = self._by_fingerprint[fingerprint] = output
        if computing.narrows:
            self._where(inputs, output, number)
            return
        if computing.per_event:
            self.per_event.add(operation.name)
        if isinstance(computing, UserFunction):
            self.people[operation.name] = computing
        if variable and computing.needs_elements:
            inputs = self._filled(inputs, number)
        step = _step_of(computing)(
            self.frame, computing, names, inputs, output, self.kinds[operation.name], variable=variable
        )
        alike = find_likeness(computing, [self.kinds[name] for name in operation.inputs])
        self.steps.append(Planned(step, number, inputs, output, alike))

    def _filled(self, inputs: tuple[int, ...], number: int) -> tuple[int, ...]:
        """Return the register of those events that have elements at all."""
        filled = self.frame.register()
        self.steps.append(Planned(filled_step(self.frame, inputs[0], filled), number, inputs, filled))
        return (filled,)

    def _where(self, inputs: Sequence[int], output: int, number: int) -> None:
        value, condition = inputs
        if condition not in self.selections:
            self.selections[condition] = self.frame.register()
            step = select_step(self.frame, condition, self.selections[condition])
            self.steps.append(Planned(step, number, (condition,), self.selections[condition]))
        selection = self.selections[condition]
        step = where_step(self.frame, value, selection, output)
        self.steps.append(Planned(step, number, (value, selection), output))

    def _input(self, name: str) -> int:
        """Return the register of an input, loading a field when it is asked for first."""
        if name not in self._registers:
            register = self._registers[name] = self.frame.register()
            if name in (TIMESTAMP, SEQUENCE):
                self.builtin[name] = register
            else:
                self.loaders.append((name, register))
                if self._schema[name].variable:
                    self.variable[register] = self._schema[name]
        return self._registers[name]


def _step_of(computing: Function) -> Callable[..., Step]:
    if computing.per_event:
        return event_step
    if isinstance(computing, UserFunction):
        return block_step
    return view_step if computing.view else function_step
