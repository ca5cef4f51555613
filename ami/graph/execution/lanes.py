"""Tell large results from small ones, and share out what a graph accumulates between the two lanes.

Small states travel every interval. Large ones travel a few times a second, by a way of their own. A result
is large when one of the reductions behind it is; all of its reductions then go that way, so that what it
joins covers the same events. A reduction that also serves a small result goes both ways.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, MutableMapping

from ami.errors import GraphError
from ami.graph.execution.bind import bind, bind_one
from ami.graph.execution.partial import Partial
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.library.base import Reduction, State
from ami.graph.library.keep import Pick
from ami.graph.library.window import check_window, length_ns, panes_of
from ami.graph.operation import Operation

logger = logging.getLogger(__name__)

LARGE_BYTES = 64 << 10  # of a state, if it has keys of that of one key
# Of all small states together: of each interval each worker stores them as one value, and so does each hop.
SMALL_BYTES = 8 << 20
LEAST_BYTES = 1 << 10  # of a state that goes the large way when all together are too many
# Of one state: a store refuses a value of 512 MiB, and a checkpoint has a state, of one key, in one value.
STATE_BYTES = 256 << 20
# Of all that windows hold of small states: each checkpoint has all of them, in one value.
HELD_BYTES = 32 << 20
# Large values of single intervals are computed at most four times a second; nobody sees more of them.
SHORTEST_NS = 250_000_000
# Of the global store's memory, that large states may have: two checkpoints and the results are as much again
# each. Who filled the store would stop everybody.
STATE_SHARE = 0.25
MOST_BYTES = 1 << 30
# From here on people are told what they ask for: of the states of a window, and of a scan of so many keys.
HEAVY_BYTES = 64 << 20
FEW_KEYS = 1000
MOST_STATES = 10_000  # of one window: all of them are looked through each interval


def with_lanes(
    graph: Graph,
    kinds: Mapping[str, Kind],
    interval_ns: int,
    *,
    most_bytes: int = MOST_BYTES,
    before: Graph | None = None,
    known: MutableMapping[str, int] | None = None,
) -> Graph:
    """Return the graph with the results that are large.

    Args:
        kinds: of fields and values; what has none is left to the small lane.
        most_bytes: that all large states may have, those with keys counted with one key each.
        before: the graph that runs; what goes one way there goes it here, as far as that can be, because who
            changes over begins anew.
        known: bytes of states by fingerprint, as they were found with these fields; what is new is put there.

    Raises:
        GraphError: they have more, or one is too large; says how much, and which are the largest.
    """
    found = known if known is not None else {}
    keys = {one.name: graph.fingerprint(one.name) for one in graph.steps_for(graph.results)}
    new = bind(graph, leave_out={n for n, key in keys.items() if key in found or not graph[n].reduces})
    for name, computing in new.items():
        if isinstance(computing, Reduction):
            found[keys[name]] = measure(computing, graph[name], kinds)
    sizes = {name: found[key] for name, key in keys.items() if key in found}
    one_in = max(1, -(-SHORTEST_NS // interval_ns))
    states = [
        {name: count_states(window_of(graph[name]), interval_ns, one_in, large=large) for name in sizes}
        for large in (False, True)
    ]
    held = {name: size * states[False][name] for name, size in sizes.items()}
    large = _choose_large(graph, sizes, held, before or Graph())
    refuse_too_large({name: (sizes[name], states[True][name]) for name in sizes if name in large}, most_bytes)
    refuse_too_many({name: count for name, count in states[False].items() if name not in large})
    of_large = graph.flow(lambda operation: operation.name in large)
    of_intervals = graph.flow(is_of_intervals)
    chosen = [(name, one_in if name in of_intervals else 1) for name in graph.results if name in of_large]
    return graph.with_large(tuple(sorted(chosen)))


def count_states(window: str, interval_ns: int, one_in: int, *, large: bool) -> int:
    """Return how many states a window has at once; of large ones one interval in so many is taken in."""
    if window == "run" or window.endswith(" events"):
        return 1
    cut = panes_of(window, interval_ns, large=large)
    return cut.most if length_ns(window) or not large else -(-cut.intervals // one_in)


def _choose_large(graph: Graph, sizes: Mapping[str, int], held: Mapping[str, int], before: Graph) -> set[str]:
    """Return the reductions that go the large way: by their size, or because the small ones are too many.

    Args:
        held: bytes of all the states that the windows would have as small ones.
    """
    was = Lanes(before)
    names_of: dict[str, list[str]] = {}  # names by fingerprint: equal ones are one state
    for name in sizes:
        names_of.setdefault(graph.fingerprint(name), []).append(name)
    size_of = {key: sizes[names[0]] for key, names in names_of.items()}
    held_of = {key: held[names[0]] for key, names in names_of.items()}
    large = {
        key
        for key, size in size_of.items()
        if size > LARGE_BYTES or (size > LEAST_BYTES and key in was.large - was.small)
    }
    left = sum(size for key, size in size_of.items() if key not in large)
    all_held = sum(size for key, size in held_of.items() if key not in large)
    # New ones first, and of these the largest.
    for key in sorted(size_of.keys() - large, key=lambda key: (key in was.small, -held_of[key], key)):
        if left <= SMALL_BYTES and all_held <= HELD_BYTES:
            break
        if size_of[key] > LEAST_BYTES:
            large.add(key)
            left -= size_of[key]
            all_held -= held_of[key]
    return {name for key in large for name in names_of[key]}


def refuse_too_large(sizes: Mapping[str, tuple[int, int]], most_bytes: int) -> None:
    """See to it that the states of windows, each of so many bytes and so many of them, have room.

    Args:
        sizes: by name of the reduction.
        most_bytes: that all of them may have.

    Raises:
        GraphError: they have more, or one of them is too large by itself.
    """
    for name, (size, _) in sizes.items():
        if size > STATE_BYTES:
            raise GraphError(
                f"the state of {name!r} would have {size >> 20} MiB; {STATE_BYTES >> 20} MiB are possible"
                f" for one, as a store takes no larger value; ask for fewer bins, pixels or events"
            )
    if (total := sum(size * count for size, count in sizes.values())) <= most_bytes:
        return
    largest = sorted(sizes, key=lambda name: -math.prod(sizes[name]))[:3]
    named = ", ".join(f"{name!r} {_say(*sizes[name])}" for name in largest)
    more = f" and {len(sizes) - len(largest)} more" if len(sizes) > len(largest) else ""
    raise GraphError(
        f"its states would have {total >> 20} MiB, and there is room for {most_bytes >> 20} MiB (a quarter of"
        f" global_store.max_memory_bytes, a third of worker.memory_bytes): {named}{more}; ask for fewer"
        f" bins or pixels, for shorter windows, or for fewer results"
    )


def _say(size: int, count: int) -> str:
    return f"{size * count >> 20} MiB" + (f" ({count} states of {size / (1 << 20):.3g})" if count > 1 else "")


def list_heavy(
    graph: Graph, kinds: Mapping[str, Kind], interval_ns: int, before: Graph, most_bytes: int = MOST_BYTES
) -> dict[str, str]:
    """Return what those reductions take that take much and are not in ``before``, by name, for people."""
    known = {before.fingerprint(operation.name) for operation in before.operations}
    one_in = max(1, -(-SHORTEST_NS // interval_ns))
    found = {}
    for operation in graph.operations:
        if not operation.reduces or graph.fingerprint(operation.name) in known:
            continue
        computing = bind_one(operation, graph)
        if not isinstance(computing, Reduction):
            continue
        size = measure(computing, operation, kinds)
        count = count_states(window_of(operation), interval_ns, one_in, large=size > LARGE_BYTES)
        if computing.keyed and size * FEW_KEYS > most_bytes:
            found[operation.name] = (
                f"each key takes {size / (1 << 20):.3g} MiB, and there is room for {most_bytes // size},"
                f" those of all results; a scan that has more is let go"
            )
        elif size * count > HEAVY_BYTES:
            found[operation.name] = f"takes {_say(size, count)} of {most_bytes >> 20} MiB that there are"
    return found


def refuse_too_many(states: Mapping[str, int]) -> None:
    """See to it that no window of small states has so many of them that to look through them takes too long.

    Raises:
        GraphError: one has.
    """
    for name, count in states.items():
        if count > MOST_STATES:
            raise GraphError(
                f"{name!r}: a window of {count} intervals is too long, {MOST_STATES} are possible; a window"
                f" of time may be longer, for example window='10 min'"
            )


def measure(reduction: Reduction, operation: Operation, kinds: Mapping[str, Kind]) -> int:
    """Return the bytes of a reduction's state, if it is keyed of that of one key; 0 where nobody knows."""
    try:
        return reduction.state_bytes(*(kinds[name] for name in operation.inputs))
    except Exception as error:  # a plug-in may raise anything
        logger.info("the state of %r counts as small: %s", operation.name, error)
        return 0


def is_of_intervals(operation: Operation) -> bool:
    """Whether it is a reduction over one interval, or the last few."""
    window = window_of(operation)
    return operation.reduces and (window == "interval" or window.startswith("last "))


def is_picked(operation: Operation) -> bool:
    """Whether it is a reduction that is given so many events, which are picked."""
    return operation.kind == Pick.name or window_of(operation).endswith(" events")


def window_of(operation: Operation) -> str:
    """Return the window of a reduction, wherever it is installed; that of a run where it says no other."""
    try:
        return check_window(str(operation.arguments.get("window", "run")))
    except GraphError:
        return "run"


class Lanes:
    """Which of a graph's reductions go which way, by fingerprint.

    Attributes:
        small, large: of what small and large results are computed; some may be in both.
        of_intervals: those of the large ones whose windows are counted in intervals.
    """

    def __init__(self, graph: Graph) -> None:
        self.one_in = graph.one_in
        self.small = _reductions(graph, graph.lane(large=False).results)
        self.large = _reductions(graph, graph.lane(large=True).results)
        of_intervals = {graph.fingerprint(o.name) for o in graph.operations if is_of_intervals(o)}
        self.of_intervals = self.large & of_intervals
        self._windows = {
            graph.fingerprint(o.name): "interval" if is_picked(o) else window_of(o)
            for o in graph.operations
            if o.reduces and graph.fingerprint(o.name) in self.large
        }

    def part_of(self, fingerprint: str, interval: int, interval_ns: int) -> int | None:
        """Return by which interval the large state is called that an interval's events belong to.

        None: one state is of all of them. Of a window of time it is the first interval of a pane. Events are
        picked from one interval, whatever travels together.
        """
        window = self._windows[fingerprint]
        if window == "run":
            return None
        return interval - interval % panes_of(window, interval_ns, large=True).each

    def list_left_out(self, interval: int) -> frozenset[str]:
        """Return the reductions that are not computed in this interval."""
        return frozenset() if interval % self.one_in == 0 else self.of_intervals - self.small

    def split(self, partial: Partial, interval: int) -> tuple[Partial, Partial]:
        """Return what goes each way of the partial of an entry, which must not be used afterwards.

        Errors are told once, with the small part.
        """
        if not self.large:
            return partial, Partial(partial.graph_version)
        chosen = self.large if interval % self.one_in == 0 else self.large - self.of_intervals
        large = Partial(
            partial.graph_version,
            partial.seen,
            {
                key: copied(state) if key in self.small else state
                for key, state in partial.states.items()
                if key in chosen
            },
            {key: used for key, used in partial.used.items() if key in chosen},
            set_aside=partial.set_aside,
        )
        partial.states = {key: state for key, state in partial.states.items() if key in self.small}
        partial.used = {key: used for key, used in partial.used.items() if key in self.small}
        return partial, large


def _reductions(graph: Graph, results: tuple[str, ...]) -> frozenset[str]:
    return frozenset(graph.fingerprint(step.name) for step in graph.steps_for(results) if step.reduces)


def copied(state: State) -> State:
    """Return a state with arrays of its own."""
    if isinstance(state, tuple):
        return tuple(copied(part) for part in state)
    if isinstance(state, dict):
        return {key: copied(part) for key, part in state.items()}
    return state.copy() if hasattr(state, "copy") else state
