"""Say what each result costs, in CPU and in bytes, and which are too dear when a node falls behind.

Pure, as :mod:`ami.client.load`. What several results need, an operation or a state, is shared out among them
in equal parts, so that the results' costs add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ami.client.status import ClusterStatus, ProcessStatus
from ami.messages.heartbeat import Heartbeat

if TYPE_CHECKING:
    from ami.graph.graph import Graph

# What a core copies, sends and merges in a second, about: so that CPU and bytes can be added.
BYTES_PER_CORE_S = 1e9
BEHIND_S = 2.0  # a source that is so far behind its pace does not catch up by itself
LONG_SPAN_S = 5.0  # how old large states may be before they are in the global store
NAMED = 3  # results that a warning names
NAMED_SHARE = 0.1  # of all costs, that one must have to be named
NAMED_CORES = 0.05  # and of a core: on a machine that is busy with other things nobody is to blame
NOBODY_DEAR = (
    "no result costs much here: `ami top` shows who is busy; or something else takes this machine's cores"
)
ADVICE = "ask for less: a region (roi), fewer keys, fewer events (where); or `ami graph remove NAME`"
WAITS = ("waiting: for the local reducer", "waiting: for the global reducer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLoad:
    """One result. ``share`` is that of a core, on all workers together; the others are bytes a second.

    ``state_bytes_s``: of its states, as often as workers and local reducers hand them on (small ones: local
    reducers only); ``published_bytes_s``: of its values, when they are too large for the table.
    """

    name: str
    owners: tuple[str, ...]
    share: float
    state_bytes_s: float
    published_bytes_s: float

    @property
    def cores(self) -> float:
        """About how many cores it takes, its bytes included."""
        return self.share + (self.state_bytes_s + self.published_bytes_s) / BYTES_PER_CORE_S


def judge_results(
    graph: Graph | None, beats: Iterable[Heartbeat], shares: Mapping[str, float]
) -> tuple[ResultLoad, ...]:
    """Return what the graph's results cost, the most expensive first.

    Args:
        shares: of a core, by operation: one of the names that it has in the graph.
    """
    if graph is None:
        return ()
    told = list(beats)
    states = _sum(beat.states for beat in told)
    published = _sum(beat.results for beat in told)
    cpu: dict[str, float] = {}
    for name, share in shares.items():
        if name in graph:
            cpu[graph.fingerprint(name)] = share
    needs = {name: {graph.fingerprint(step.name) for step in graph.steps_for(name)} for name in graph.results}
    users = Counter(key for keys in needs.values() for key in keys)
    found = [
        ResultLoad(
            name=name,
            owners=tuple(graph[name].owners),
            share=sum(cpu.get(key, 0.0) / users[key] for key in keys),
            state_bytes_s=sum(states.get(key, 0.0) / users[key] for key in keys),
            published_bytes_s=published.get(name, 0.0),
        )
        for name, keys in needs.items()
        if name in published or not keys.isdisjoint(cpu) or not keys.isdisjoint(states)
    ]
    return tuple(sorted(found, key=lambda result: (-result.cores, result.name)))


def _sum(amounts: Iterable[Mapping[str, object]]) -> dict[str, float]:
    """Return the sums by name; what is no number counts as absent."""
    total: dict[str, float] = {}
    for one in amounts:
        for name, amount in one.items():
            if isinstance(amount, int | float) and 0 <= amount < float("inf"):
                total[name] = total.get(name, 0.0) + amount
    return total


def list_signs(status: ClusterStatus) -> list[str]:
    """Return by what one sees that a node falls behind; nothing where none does."""
    return [sign for process in status.processes if process.alive for sign in _signs(process)]


def _signs(process: ProcessStatus) -> Iterable[str]:
    counters = process.counters or {}
    if process.type == "source":
        if counters.get("lag_s", 0.0) >= BEHIND_S:
            yield f"{process.name} is {counters['lag_s']:.0f} s behind its pace"
        if counters.get("drop_hz", 0.0) > 0:
            yield f"{process.name} drops {counters['drop_hz']:.3g} events/s"
    if counters.get("large_lag_s", 0.0) >= LONG_SPAN_S:
        yield f"{process.name} is {counters['large_lag_s']:.0f} s late with large states"
    if process.state.startswith(WAITS):
        yield f"{process.name} is {process.state}"


def list_warnings(status: ClusterStatus, results: Iterable[ResultLoad]) -> list[str]:
    """Return what is to be said of a node that falls behind, and of the results that cost it most."""
    signs = list_signs(status)
    if not signs:
        return []
    costs = list(results)
    least = max(NAMED_SHARE * sum(result.cores for result in costs), NAMED_CORES)
    dear = [_tell(result) for result in costs[:NAMED] if result.cores >= least]
    first = f"a node falls behind: {'; '.join(signs)}"
    if not costs:
        return [first]
    return [first, *dear, ADVICE] if dear else [first, NOBODY_DEAR]


def list_failing(beats: Iterable[object]) -> list[str]:
    """Return what reducers say of operations that fail: their results are told, too, but not everybody's."""
    told = [line for beat in beats if isinstance(beat, Heartbeat) for line in beat.failing]
    return list(dict.fromkeys(str(line) for line in told))


def _tell(result: ResultLoad) -> str:
    owners = ", ".join(result.owners) or "nobody"
    return (
        f"result {result.name} of {owners} costs {100 * result.share:.0f} % of a core on the workers, "
        f"{result.state_bytes_s / 1e6:.0f} MB/s of states, "
        f"{result.published_bytes_s / 1e6:.0f} MB/s of values"
    )
