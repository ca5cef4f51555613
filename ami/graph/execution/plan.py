"""Run the worker's part of a graph on blocks of events.

A run goes through the steps of the compiled graph: a few microseconds for an operation, however many
events the block has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from ami.errors import GraphError
from ami.event import TIMESTAMP, Array, Schema, Slots
from ami.graph.execution.bind import grows
from ami.graph.execution.compiler import Compiler, Running
from ami.graph.execution.frame import Index
from ami.graph.execution.guest import NOBODY, Guest
from ami.graph.execution.lanes import LARGE_BYTES, Lanes, measure
from ami.graph.execution.partial import ErrorRecord, Partial, merge_errors
from ami.graph.execution.people import FindKind, find_kind_here
from ami.graph.execution.together import FEWEST, count_most
from ami.graph.graph import Graph
from ami.ragged import Ragged

# Is told the number of an operation, ns that it took by the clock, ns of a core, events of its inputs.
Timing = Callable[[int, int, int, int], None]


class WorkerPlan:
    """What a worker does with each block under one graph version.

    Attributes:
        graph_version: version of the graph; a partial must have the same.
        fields: fields that are read; others may be left unwritten by the source.
        operations: names by breadcrumb number, which begin at 1.
        fingerprints: of these, and of those that are broken, by name.
        per_event: of these, those that call a user's function for one event after the other.
        people: fingerprints of people's own functions that run.
        reductions: by fingerprint, those whose states :meth:`run` adds to.
        names: of the operations of each of these.
        growing: those of them whose states grow with what comes.
        lanes: which way each of them goes.
        by_key: those of which the state of each key is so large that it goes by itself.
        broken: operations that cannot run on such events, or not here, with the reason. What is behind
            them is left out; for each event of a block they are counted as failed.

    Args:
        here: where this is, as of :func:`ami.graph.execution.bind.bind`.
        fewest: of how many equal steps on numbers one is made; see :mod:`ami.graph.execution.together`.
        off: operations that must not run, by fingerprint, with the reason: they are broken.
        elsewhere: fields that only other nodes have, as of the compiler.
        find_kind: finds the kinds of what people's functions give.
    """

    def __init__(
        self, graph: Graph, schema: Schema, here: str = "here", *, fewest: int = FEWEST,
        off: Mapping[str, str] | None = None, elsewhere: frozenset[str] = frozenset(),
        find_kind: FindKind = find_kind_here,
    ) -> None:  # fmt: skip
        compiler = Compiler(graph, schema, here, fewest, off, elsewhere, find_kind)
        self.graph_version = graph.version
        self.broken = compiler.broken
        self.fields = schema.with_lengths(name for name, _ in compiler.loaders)
        self.operations = tuple(names[0] for names in compiler.names)
        self.fingerprints = {name: graph.fingerprint(name) for name in (*self.operations, *self.broken)}
        self.people = frozenset(self.fingerprints[name] for name in compiler.people)
        self._functions = tuple(compiler.people.values())
        self.per_event = frozenset(compiler.per_event)
        self.reductions = compiler.reductions
        self.names = compiler.list_names()
        self.growing = {key: self.names[key] for key, one in self.reductions.items() if grows(one)}
        self._frame = compiler.frame
        self._loaders = tuple(compiler.loaders)
        self._kept: Schema | None = None  # what the slots were that came last
        self._bits: list[tuple[int, int]] = []  # of each loader
        self._masks: list[tuple[int, int]] = []  # validity words, with the bits of all loaders
        self._variable = dict(compiler.variable)
        self._builtin = dict(compiler.builtin)
        self._compiler = compiler
        self._fewest = fewest
        # By what is left out, and of how many equal steps one is made.
        self._steps: dict[tuple[frozenset[str], int], tuple[Running, ...]] = {}
        self.lanes = Lanes(graph)
        self.by_key = frozenset(
            graph.fingerprint(operation.name)
            for operation in graph.operations
            if (one := self.reductions.get(graph.fingerprint(operation.name))) is not None
            and one.keyed
            and measure(one, operation, compiler.kinds) > LARGE_BYTES
        )

    @property
    def is_loaded(self) -> bool:
        """Whether the code of all people's functions is loaded: the first call does that."""
        return all(function.is_loaded for function in self._functions)

    def is_peoples(self, number: int) -> bool:
        """Whether the operation of a breadcrumb's number is people's own code."""
        there = 0 < number <= len(self.operations)
        return there and self.fingerprints[self.operations[number - 1]] in self.people

    def partial(self, interval: int = 0) -> Partial:
        """Return an empty partial, with the zero of each reduction that is computed in this interval."""
        left_out = self.lanes.list_left_out(interval)
        states = {key: one.zero() for key, one in self.reductions.items() if key not in left_out}
        return Partial(self.graph_version, states=states, used=dict.fromkeys(states, 0))

    def run(
        self,
        slots: Slots,
        sequence: int,
        partial: Partial,
        breadcrumb: Callable[[int], None] | None = None,
        timing: Timing | None = None,
        *,
        interval: int = 0,
        guest: Guest = NOBODY,
    ) -> None:
        """Add the events of ``slots`` to ``partial``; the first one has number ``sequence``.

        An event for which an operation fails is left out of it and of what depends on it, and
        counted in ``partial.errors``; all else goes on. NaN and infinity are values, no errors.

        Args:
            breadcrumb: is told the number of each operation before it runs.
            timing: is told what each step took, and how many events had its inputs; a filter's number
                may come twice: for its condition, then for its value.
            interval: of the events.
            guest: who stands beside people's code.

        Raises:
            GraphError: ``partial`` is of another graph version.
        """
        self._check(partial)
        partial.seen += slots.count
        if not slots.count:
            return
        for name, reason in self.broken.items():
            merge_errors(partial.errors, {name: ErrorRecord(slots.count, reason, sequence)})
        frame = self._frame
        frame.begin(slots, sequence, partial, guest)
        try:
            with np.errstate(all="ignore"):
                self._load(slots)
                steps = self._choose(interval, count_most(slots.count, self._fewest))
                if timing is not None:
                    self._run_timed(steps, breadcrumb, timing)
                    return
                for step, number, unneeded, _ in steps:
                    if breadcrumb is not None and number:
                        breadcrumb(number)
                    step()
                    if unneeded:
                        frame.free(unneeded)
        finally:
            frame.end()

    def _check(self, partial: Partial) -> None:
        if partial.graph_version != self.graph_version:
            raise GraphError(
                f"the partial is of graph version {partial.graph_version}, the plan of {self.graph_version}"
            )

    def _choose(self, interval: int, most: int) -> tuple[Running, ...]:
        chosen = (self.lanes.list_left_out(interval), most)
        if chosen not in self._steps:
            self._steps[chosen] = self._compiler.finish(chosen[0], most=most)
        return self._steps[chosen]

    def _run_timed(
        self, steps: tuple[Running, ...], breadcrumb: Callable[[int], None] | None, timing: Timing
    ) -> None:
        # A loop of its own, so that the blocks that are not timed pay nothing for those that are.
        frame = self._frame
        # What a filter takes in is its value; the selection is what it does.
        chosen = set(self._compiler.selections.values())
        for step, number, unneeded, parts in steps:
            if breadcrumb is not None:
                breadcrumb(number)
            began_ns, core_ns = time.perf_counter_ns(), time.thread_time_ns()
            step()
            core_ns = time.thread_time_ns() - core_ns
            took_ns = time.perf_counter_ns() - began_ns
            # What is computed together is equal, and costs each the same.
            took_ns, core_ns = took_ns // len(parts), core_ns // len(parts)
            for one, read in parts:
                timing(one, took_ns, core_ns, frame.events_of([r for r in read if r not in chosen]))
            frame.free(unneeded)

    def _load(self, slots: Slots) -> None:
        frame = self._frame
        if self._builtin:
            stamps = frame.stamps()
            for name, register in self._builtin.items():
                frame.set(register, stamps[:, 0 if name == TIMESTAMP else 1], None, whole=True)
        if slots.schema is not self._kept:
            self._meet(slots.schema)
        valid = slots.valid
        for word, mask in self._masks:
            if int(np.bitwise_and.reduce(valid[word])) & mask != mask:
                self._load_some(slots)
                break
        else:
            for name, register in self._loaders:
                frame.set(register, slots.columns[name], None, whole=True)
        if self._variable:
            self._limit(slots)

    def _meet(self, kept: Schema) -> None:
        """Find the validity bits of the fields: they differ with the fields that are kept."""
        self._bits = [kept.bit(name) for name, _ in self._loaders]
        words = kept.words(name for name, _ in self._loaders)
        self._masks = [(word, mask) for word, mask in enumerate(words) if mask]
        self._kept = kept

    def _load_some(self, slots: Slots) -> None:
        in_all = np.bitwise_and.reduce(slots.valid, axis=1).tolist()
        holes: dict[bytes, Array] = {}
        for (name, register), (word, bit) in zip(self._loaders, self._bits, strict=True):
            index: Index = None
            if not in_all[word] & bit:
                index = np.flatnonzero(slots.valid[word] & bit)
                # Detectors of one rate have the same holes: let them share the index object.
                index = holes.setdefault(index.tobytes(), index)
            self._frame.set(register, slots.columns[name], index, whole=True)

    def _limit(self, slots: Slots) -> None:
        """Take of each value of variable length what is there; an event of an impossible length has none."""
        frame = self._frame
        for register, field in self._variable.items():
            column, index = slots.columns[field.name], frame.indices[register]
            lengths = slots.columns[field.length_name]
            there = lengths if index is None else lengths[index]
            bad = np.flatnonzero((there < 0) | (there > field.shape[0]))
            if len(bad):
                text = f"{there[bad[0]]} elements, {field.shape[0]} is the most that {field.name} can have"
                frame.error([field.name], bad, index, text)
                rows = np.arange(slots.count) if index is None else index
                index = np.delete(rows, bad)
            frame.set(register, Ragged.padded(column, lengths), index, whole=True)
