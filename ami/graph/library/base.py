"""Say what an operation of the library is: a function of values, or a reduction over events.

Names. A *function* works within each event and gives one value per event. ``sum``, ``mean``,
``std``, ``min`` and ``max`` are functions: they go over an event's own axes (the pixels of its
image), never over events. A *reduction* goes over events, and its name says so:
``sum_events``, ``mean_events``, ``std_events``, ``min_events``, ``max_events``, ``count``,
``moments``, ``histogram``, ``histogram2d``, ``mean_vs``, ``last``, ``pick``.

Stages. A function follows its inputs: with per-event inputs it runs on the worker; with reduced
inputs it runs on results, once per interval, at the global reducer. A reduction takes per-event
inputs only, and what it gives is reduced. Inputs of both sorts in one operation are refused.

Parameters. The signature of ``__init__`` is the parameter list of the text form, in its order;
``inputs`` names the values that stand before them. Parameters are plain: None, bool, int, float,
str, tuples. A slice ``100:140`` is the tuple ``(100, 140)``, ``::2`` is ``(None, None, 2)``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ami.errors import GraphError
from ami.event import Array
from ami.graph.library.window import check_window
from ami.ragged import Ragged, align
from ami.values import Arrays

if TYPE_CHECKING:
    from ami.graph.kind import Kind

# What a reduction has accumulated: None, ints, floats, numpy arrays, and tuples and dicts of
# those; what the stores' codec carries, and nothing else.
State = Any

_NUMBERS = (int, float, NoneType, np.number, np.bool_)
_FIXED: dict[tuple[type, ...], int] = {}  # bytes of tuples of these, by their types: a thousand have one

NO_STAMPS: Array = np.empty((0, 2), np.int64)


class Function:
    """Gives one value per event, for a whole block at once.

    Attributes:
        name: key in the library.
        example: a definition that uses it, for people.
        inputs: names of the input values, in order; None: any number of inputs, at least one.
        per_event: is called for one event at a time (:meth:`one`), as arbitrary Python must be.
        narrows: the second input is a condition; only events where it is true have a value.
        view: gives a view of its input, so it may be applied to all events of a block at no cost.
        keeps_unit: its value is in the unit of the first input.
        variable: takes values of variable length, by :meth:`ragged`.
        needs_elements: of such a value without elements it makes none: the event has no value.
    """

    name: ClassVar[str]
    example: ClassVar[str] = ""
    inputs: ClassVar[tuple[str, ...] | None] = ("value",)
    per_event: bool = False
    narrows: ClassVar[bool] = False
    view: ClassVar[bool] = False
    keeps_unit: ClassVar[bool] = False
    variable: bool = False
    needs_elements: ClassVar[bool] = False

    def unit(self, *inputs: str) -> str:
        """Return the unit of the value from those of the inputs; "" where it is not known."""
        return inputs[0] if self.keeps_unit else ""

    def infer(self, *inputs: Kind) -> Kind:
        """Return the kind of the output.

        Raises:
            GraphError: the inputs do not suit; says what was seen and what would be right.
        """
        raise NotImplementedError

    def caution(self, *inputs: Kind) -> str:
        """Return what can be computed and may not be what was meant; nothing as a rule."""
        return ""

    def __call__(self, *arrays: Array) -> Array:
        """Return ``(k, *shape)`` from arrays ``(k, *shape of the input)``."""
        raise NotImplementedError

    def ragged(self, *arrays: Any) -> Array | Ragged:
        """Return the same where inputs have variable length: those are :class:`~ami.ragged.Ragged`."""
        raise NotImplementedError

    def one(self, *values: Any) -> Any:
        """Return the value of one event, or None if it has none. Only where ``per_event``."""
        raise NotImplementedError


class Reduction:
    """A commutative monoid with a last step.

    ``state = zero(); state = add(state, block); state = merge(state, state); result(state)``.
    Workers only ``add``, both reducers only ``merge``, only the global reducer takes ``result``.

    States of arrays are merged in the memory of the first one, wherever that may be written. (Not those
    of picked events, whose number changes.)

    Attributes:
        name, example, inputs: as of :class:`Function`.
        keyed: its state is made of one state for each key; :meth:`split` and :meth:`join` are there.
        stamped: ``add`` needs the events' stamps.
        lazy: ``add`` takes whole-block arrays and the rows that count, and so copies only what
            it keeps.
        keeps_unit: what it gives is in the unit of the first input.
        along: which inputs its axes belong to: (1,) if the second is the key of a scan.
        variable: takes values of variable length, as :class:`~ami.ragged.Ragged` in :meth:`add`.
        elementwise: of such values it is given all elements, one behind the other, and no rows.
        picks: its state is whole events, so that :meth:`fill` can find N of them.
        many: of numbers it can add a block to many states at once, by :meth:`add_many`.
        window: text of the window, a parameter that all reductions have.
    """

    name: ClassVar[str]
    example: ClassVar[str] = ""
    inputs: ClassVar[tuple[str, ...] | None] = ("value",)
    stamped: ClassVar[bool] = False
    lazy: ClassVar[bool] = False
    picks: ClassVar[bool] = False
    many: ClassVar[bool] = False
    keyed: ClassVar[bool] = False
    keeps_unit: ClassVar[bool] = False
    variable: bool = False
    elementwise: ClassVar[bool] = False
    along: tuple[int, ...] = ()

    def __init__(self, window: str = "run") -> None:
        self.window = check_window(window)

    def unit(self, *inputs: str) -> str:
        """Return the unit of the result, or of what counts in it, from those of the inputs; "": not known."""
        return inputs[0] if self.keeps_unit else ""

    def infer(self, *inputs: Kind) -> Kind:
        """Return the kind of the result; ``reduced`` is True. The inputs' kinds are not: that was seen to.

        Raises:
            GraphError: the inputs do not suit; says what was seen and what would be right.
        """
        raise NotImplementedError

    def zero(self) -> State:
        """Return the state of no events."""
        raise NotImplementedError

    def add(
        self, state: State, *arrays: Array, stamps: Array = NO_STAMPS, rows: Array | None = None
    ) -> State:
        """Return ``state`` with a block's events added; may change ``state`` in place.

        An error leaves ``state`` as it was. No array of the block is kept: the ring will be
        written again.

        Args:
            arrays: ``(k, *shape)``, one for each input, the same events in each.
            stamps: int64 ``(k, 2)``, timestamp (ns) and sequence; only if ``stamped``.
            rows: int64 ``(k,)``, the rows of ``arrays`` that count, None: all; only if ``lazy``.
        """
        raise NotImplementedError

    def add_many(self, states: Sequence[State], rows: Array) -> list[State]:
        """Return states with a block added to each; equal, to the last bit, to what :meth:`add` gives.

        An error leaves ``states`` as they were.

        Args:
            rows: ``(len(states), k)``: for each state the values of k events, at least one.
        """
        raise NotImplementedError

    def merge(self, a: State, b: State) -> State:
        """Return the state of both; may change ``a`` in place and keep parts of ``b``."""
        raise NotImplementedError

    def fill(self, state: State, more: State) -> tuple[State, State]:
        """Merge, for window "N events": return the newest full batch, and what is left to go on with.

        None is a batch that is not full, and the state of no events.
        """
        return None, more if state is None else self.merge(state, more)

    def times(self, state: State) -> tuple[int, int] | None:
        """Return when the first and the last event in a state came, ns, where it knows; only if ``picks``."""
        return None

    def result(self, state: State) -> Any:
        """Return what a client sees, None where no event came. ``state`` stays as it is.

        Nothing of it is memory that :meth:`add` or :meth:`merge` will write to.
        """
        raise NotImplementedError

    def results(self, states: Sequence[State]) -> list[Any]:
        """Return :meth:`result` of each of many states, of this reduction or of others of its type.

        Called where a reduction has one of its own, which is for those whose parameters do not count here.
        No state is None.
        """
        return [self.result(state) for state in states]

    def state_bytes(self, *kinds: Kind) -> int:
        """Return the bytes of a state, if ``keyed`` of that of one key, for inputs of these kinds.

        Arrays count as they are, numbers with 8 bytes each, values of variable length as the longest.
        Here, for reductions of other packages: what one event of ones leaves.
        """
        arrays: list[Any] = []
        for kind in kinds:
            ones = np.ones((1, *kind.shape), kind.dtype)
            arrays.append(Ragged.padded(ones, np.array(kind.shape[:1])) if kind.variable else ones)
        if self.elementwise and any(kind.variable for kind in kinds):
            return bytes_of(add_elements(self, self.zero(), *arrays))
        return bytes_of(self.add(self.zero(), *arrays, stamps=np.zeros((1, 2), np.int64)))

    def split(self, state: State) -> dict[Hashable, State]:
        """Return a state for each key, by the key, and one for what belongs to none; nothing is copied.

        Merging them key by key and joining what comes out is merging the whole. Only where ``keyed``.
        """
        raise NotImplementedError

    def join(self, states: Mapping[Hashable, State]) -> State:
        """Return the state of the keys' states; no array of a key is copied. Only where ``keyed``."""
        raise NotImplementedError


def infer(computing: Function | Reduction, *inputs: Kind) -> Kind:
    """Return the kind of what an operation gives.

    Raises:
        GraphError: the inputs do not suit; says what was seen and what would be right.
    """
    for kind in inputs:
        if kind.variable and not computing.variable:
            name = computing.name
            raise GraphError(
                f"{name} needs a value of one shape in every event, got {kind}; reduce its elements first,"
                f" for example {name}(sum(x)) or {name}(length(x))"
                + (", or take histogram(x, ...) of all elements" * isinstance(computing, Reduction))
            )
    return computing.infer(*inputs)


def add_elements(
    reduction: Reduction, state: State, *arrays: Any, stamps: Array = NO_STAMPS, rows: Array | None = None
) -> State:
    """Add all elements of a block's values of variable length to the state of an elementwise reduction.

    Raises:
        ValueError: values have different lengths in some event.
    """
    flat, _ = align([array if rows is None else array.take(rows, axis=0) for array in arrays])
    return reduction.add(state, *flat) if len(flat[0]) else state


def bytes_of(state: State) -> int:
    """Return the bytes of a state: arrays as they are, numbers with 8 bytes each."""
    if type(state) is tuple:
        types = tuple(map(type, state))
        if types not in _FIXED and all(issubclass(kind, _NUMBERS) for kind in types):
            _FIXED[types] = sum(map(bytes_of, state))
        if types in _FIXED:
            return _FIXED[types]
    if isinstance(state, np.ndarray | np.generic):
        return int(state.nbytes)
    if isinstance(state, dict):
        return sum(map(bytes_of, state.values()))
    if isinstance(state, tuple | list):
        return sum(map(bytes_of, state))
    if isinstance(state, Arrays):
        return int(state.values.nbytes + state.lengths.nbytes)
    return 0 if state is None else len(state) if isinstance(state, str) else 8


def elements(kind: Kind) -> int:
    """Return how many numbers one event's value has."""
    return math.prod(kind.shape)


def own(array: Array) -> Array:
    """Return the array, or a copy where it may not be written: what comes out of a store may not."""
    return array if array.flags.writeable else array.copy()


def parameters_of(kind: type[Function] | type[Reduction]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of an operation of the library, in the order of its text form."""
    return {} if kind.__init__ is object.__init__ else inspect.signature(kind).parameters


def is_numeric(kind: Kind) -> bool:
    """Whether a value is an array of numbers or truths, not a histogram or scan."""
    return kind.structure == "array" and kind.dtype.kind in "biuf"


def require_scalar(operation: str, *inputs: Kind) -> None:
    """Refuse inputs that have axes.

    Raises:
        GraphError: one of the inputs is not one number per event.
    """
    for kind in inputs:
        if kind.shape or not is_numeric(kind):
            raise GraphError(
                f"{operation} needs one number per event, got {kind.structure} of shape {kind.shape}; "
                f"reduce its axes first, for example with sum(...) or mean(...)"
            )


def integer(operation: str, parameter: str, value: object, *, at_least: int) -> int:
    """Return a whole-number parameter.

    Raises:
        GraphError: it is something else, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise GraphError(f"{operation}: {parameter} must be a whole number >= {at_least}, got {value!r}")
    return value


def number(operation: str, parameter: str, value: object) -> float:
    """Return a finite parameter as a float.

    Raises:
        GraphError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise GraphError(f"{operation}: {parameter} must be a finite number, got {value!r}")
    return float(value)
