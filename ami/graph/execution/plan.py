"""Run the worker's part of a graph on blocks of events.

The graph is compiled once, to a list of steps over numbered registers; equal operations of
different clients are one step. A run goes through the list: a few microseconds for an operation,
however many events the block has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from ami.errors import GraphError
from ami.event import SEQUENCE, TIMESTAMP, Array, Schema, Slots
from ami.graph.execution.frame import Frame, Index
from ami.graph.execution.makers import made
from ami.graph.execution.partial import Partial
from ami.graph.execution.steps import (
    Step,
    event_step,
    function_step,
    reduction_step,
    select_step,
    view_step,
    where_step,
)
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.library.base import Function, Reduction
from ami.graph.operation import Operation

Loader = tuple[str, int, int]  # name of a field, its register, its validity bit
# Is told the number of an operation, ns that it took by the clock, ns of a core, events of its inputs.
Timing = Callable[[int, int, int, int], None]


class WorkerPlan:
    """What a worker does with each block under one graph version.

    Attributes:
        graph_version: version of the graph; a partial must have the same.
        fields: fields that are read; others may be left unwritten by the source.
        operations: names by breadcrumb number, which begin at 1.
        per_event: of these, those that call a user's function for one event after the other.
        reductions: by fingerprint, those whose states :meth:`run` adds to.
    """

    def __init__(self, graph: Graph, schema: Schema) -> None:
        """Compile ``graph``.

        Raises:
            GraphError: a field is not in the schema, an operation does not suit its inputs, or
                a result is not reduced.
        """
        compiler = _Compiler(graph, schema)
        self.graph_version = graph.version
        self.fields = frozenset(name for name, _, _ in compiler.loaders)
        self.operations = tuple(names[0] for names in compiler.names)
        self.per_event = frozenset(compiler.per_event)
        self.reductions = compiler.reductions
        self._frame = compiler.frame
        self._loaders = tuple(compiler.loaders)
        self._mask = schema.mask(self.fields)
        self._builtin = dict(compiler.builtin)
        self._steps = compiler.finished()
        # What a filter takes in is its value; the selection is what it does.
        chosen = set(compiler.selections.values())
        self._inputs = tuple(tuple(r for r in read if r not in chosen) for _, _, read in compiler.steps)

    def partial(self) -> Partial:
        """Return an empty partial, with the zero of each reduction."""
        states = {key: reduction.zero() for key, reduction in self.reductions.items()}
        return Partial(self.graph_version, states=states, used=dict.fromkeys(states, 0))

    def run(
        self,
        slots: Slots,
        sequence: int,
        partial: Partial,
        *,
        breadcrumb: Callable[[int], None] | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Add the events of ``slots`` to ``partial``; the first one has number ``sequence``.

        An event for which an operation fails is left out of it and of what depends on it, and
        counted in ``partial.errors``; all else goes on. NaN and infinity are values, no errors.

        Args:
            breadcrumb: is told the number of each operation before it runs.
            timing: is told what each step took, and how many events had its inputs; a filter's number
                may come twice: for its condition, then for its value.

        Raises:
            GraphError: ``partial`` is of another graph version.
        """
        if partial.graph_version != self.graph_version:
            raise GraphError(
                f"the partial is of graph version {partial.graph_version}, the plan of {self.graph_version}"
            )
        partial.seen += slots.count
        if not slots.count:
            return
        frame = self._frame
        frame.begin(slots, sequence, partial)
        try:
            with np.errstate(all="ignore"):
                self._load(slots)
                if timing is not None:
                    self._run_timed(breadcrumb, timing)
                    return
                for step, number, unneeded in self._steps:
                    if breadcrumb is not None and number:
                        breadcrumb(number)
                    step()
                    if unneeded:
                        frame.free(unneeded)
        finally:
            frame.end()

    def _run_timed(self, breadcrumb: Callable[[int], None] | None, timing: Timing) -> None:
        # A loop of its own, so that the blocks that are not timed pay nothing for those that are.
        frame = self._frame
        for (step, number, unneeded), inputs in zip(self._steps, self._inputs, strict=True):
            if breadcrumb is not None:
                breadcrumb(number)
            began_ns, core_ns = time.perf_counter_ns(), time.thread_time_ns()
            step()
            core_ns = time.thread_time_ns() - core_ns
            timing(number, time.perf_counter_ns() - began_ns, core_ns, frame.events_of(inputs))
            frame.free(unneeded)

    def _load(self, slots: Slots) -> None:
        frame = self._frame
        if self._builtin:
            stamps = frame.stamps()
            for name, register in self._builtin.items():
                frame.set(register, stamps[:, 0 if name == TIMESTAMP else 1], None, whole=True)
        in_all = int(np.bitwise_and.reduce(slots.valid))
        if in_all & self._mask == self._mask:
            for name, register, _ in self._loaders:
                frame.set(register, slots.columns[name], None, whole=True)
            return
        holes: list[Array] = []
        for name, register, bit in self._loaders:
            index: Index = None
            if not in_all & bit:
                index = np.flatnonzero(slots.valid & bit)
                # Detectors of one rate have the same holes: let them share the index object.
                index = next((other for other in holes if np.array_equal(other, index)), index)
                holes.append(index)
            frame.set(register, slots.columns[name], index, whole=True)


class _Compiler:
    """Goes through the operations once, giving each new value a register."""

    def __init__(self, graph: Graph, schema: Schema) -> None:
        self.loaders: list[Loader] = []
        self.builtin: dict[str, int] = {}
        self.reductions: dict[str, Reduction] = {}
        self.names: list[list[str]] = []  # of the operations that share each breadcrumb number
        self.per_event: set[str] = set()
        self.frame = Frame(0)
        self.steps: list[tuple[Step, int, tuple[int, ...]]] = []  # step, breadcrumb, registers it reads
        self._schema = schema
        self._kinds: list[Kind] = []  # by register
        self._registers: dict[str, int] = {}  # by name of the value
        self._by_fingerprint: dict[str, int] = {}  # register of a function's value
        self._numbers: dict[str, int] = {}
        self.selections: dict[int, int] = {}  # by register of the condition
        for name, maker in made(graph).items():
            if graph.stage(name) == "worker":
                self._add(graph[name], graph.fingerprint(name), maker)

    def finished(self) -> tuple[tuple[Step, int, tuple[int, ...]], ...]:
        """Return steps with breadcrumbs and the registers that are free after each."""
        self.frame.__init__(len(self._kinds))  # type: ignore[misc]  # the steps hold this very object
        last = {register: n for n, (_, _, read) in enumerate(self.steps) for register in read}
        return tuple(
            (step, number, tuple(register for register in set(read) if last[register] == n))
            for n, (step, number, read) in enumerate(self.steps)
        )

    def _add(self, operation: Operation, fingerprint: str, maker: Function | Reduction) -> None:
        if fingerprint in self._numbers:
            self.names[self._numbers[fingerprint] - 1].append(operation.name)
            if fingerprint in self._by_fingerprint:
                self._registers[operation.name] = self._by_fingerprint[fingerprint]
            return
        self.names.append([operation.name])
        number = self._numbers[fingerprint] = len(self.names)
        if not operation.inputs:
            raise GraphError(f"operation {operation.name!r} has no input")
        inputs = tuple(self._input(operation.name, name) for name in operation.inputs)
        try:
            kind = maker.infer(*(self._kinds[register] for register in inputs))
        except GraphError as error:
            raise GraphError(f"operation {operation.name!r}: {error}") from error
        except (TypeError, ValueError) as error:
            raise GraphError(f"operation {operation.name!r} cannot have these inputs: {error}") from error
        names = self.names[-1]
        if isinstance(maker, Reduction):
            self.reductions[fingerprint] = maker
            step = reduction_step(self.frame, maker, names, inputs, fingerprint)
            self.steps.append((step, number, inputs))
            return
        output = self._register(kind)
        self._registers[operation.name] = self._by_fingerprint[fingerprint] = output
        if maker.narrows:
            self._where(inputs, output, number)
        else:
            if maker.per_event:
                self.per_event.add(operation.name)
            step_of = event_step if maker.per_event else view_step if maker.view else function_step
            self.steps.append((step_of(self.frame, maker, names, inputs, output, kind), number, inputs))

    def _where(self, inputs: Sequence[int], output: int, number: int) -> None:
        value, condition = inputs
        if condition not in self.selections:
            self.selections[condition] = self._register(self._kinds[condition])
            step = select_step(self.frame, condition, self.selections[condition])
            self.steps.append((step, number, (condition,)))
        selection = self.selections[condition]
        self.steps.append((where_step(self.frame, value, selection, output), number, (value, selection)))

    def _input(self, operation: str, name: str) -> int:
        """Return the register of an input, loading a field when it is asked for first."""
        if name in self._registers:
            return self._registers[name]
        if name in (TIMESTAMP, SEQUENCE):
            register = self.builtin[name] = self._register(Kind(np.dtype(np.int64)))
        elif name in self._schema:
            field = self._schema[name]
            register = self._register(Kind(field.dtype, field.shape))
            self.loaders.append((name, register, self._schema.bit(name)))
        else:
            raise GraphError(
                f"operation {operation!r} needs {name!r}, which no operation gives and no field is called;"
                f" fields: {', '.join(self._schema.names)}"
            )
        self._registers[name] = register
        return register

    def _register(self, kind: Kind) -> int:
        self._kinds.append(kind)
        return len(self._kinds) - 1
