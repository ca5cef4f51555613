"""Measure how fast ami is on this machine, each figure beside a limit that is measured in the same run.

The table says which figures there are, their goals, and who measures them. A figure that could not be
measured has no value and says why; nothing is ever filled in.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ami.cluster.signals import handle_signals, stoppable
from ami.errors import AmiError, ConfigError
from ami.lab.dealing import dealing
from ami.lab.editing import edit_rate
from ami.lab.end_to_end import (
    loaded_memory,
    mean_image,
    region_mean,
    scalar_graph,
    unused_camera,
    workers,
)
from ami.lab.figures import Bench, Figure, Row
from ami.lab.hutch import NIGHTS
from ami.lab.idle import idle
from ami.lab.latency import INTERVAL_MS, edit_latency, result_latency
from ami.lab.machine import machine, versions
from ami.lab.operations import BLOCKS, block_sizes, operation_cost
from ami.lab.ring import ring_blocks
from ami.lab.scale import fleet_cores
from ami.lab.stores import store_speed
from ami.lab.viewers import CROWDS

# The longest one takes a minute and a half on two cores, of those that need not be named.
TIMEOUT_S, NAMED_TIMEOUT_S = 240.0, 900.0

# fmt: off
ROWS: Mapping[str, Row] = {row.name: row for row in (
    Row(scalar_graph, "scalar_graph", "events/s", goal=3e6,
        what="2 filters, 3 expressions, mean, moments, 2 histograms, mean by key: end to end, 1 worker"),
    Row(region_mean, "region_mean", "events/s", goal=0.8, goal_of="ratio",
        what="mean of a 512×512 region of 1024×1024 float32 images: end to end, 1 worker"),
    Row(mean_image, "mean_image", "events/s", goal=0.7, goal_of="ratio",
        what="running mean of 512×512 float32 images: end to end, 1 worker"),
    Row(unused_camera, "unused_camera", "events/s", goal=0.8, goal_of="ratio",
        what="mean of one number beside a camera of 2048×2048 that nobody asks for: end to end, 1 worker"),
    Row(ring_blocks, "ring_blocks", "events/s", goal=1e7,
        what="ring only, events of 32 bytes, blocks of 1024"),
    Row(dealing, "dealt_events", "events/s", goal=5e6,
        what="from a sender over loopback into a node's ring, events of 40 bytes, blocks of 16,384"),
    Row(dealing, "dealt_images", "MB/s", goal=0.8, goal_of="ratio",
        what="the same with 512×512 float32 images, blocks of 8"),
    Row(operation_cost, "operation_cost", "µs/event", less=True, goal=0.1,
        what="one more trivial operation on the worker, blocks of 256"),
    Row(result_latency, "result_latency_p99", "ms", less=True, goal=INTERVAL_MS + 25,
        what="event is due → result with it is in a subscribed client's hands, 1000 events/s"),
    Row(edit_latency, "edit_latency_p99", "ms", less=True, goal=2 * INTERVAL_MS + 50,
        what="client adds an operation → its first result is in the client's hands, 1000 events/s"),
    Row(edit_rate, "edits_per_s", "edits/s", goal=50.0, when="full",
        what="edits of 100 clients at once, each asks again when it is answered, 1000 events/s"),
    Row(edit_rate, "edit_p99_100_clients", "s", less=True, goal=2.0, when="full",
        what="one of these clients asks for an edit → it is published and answered"),
    *(Row(store_speed, f"store_{verb}_{size}", "µs", less=True, goal=0.6, goal_of="ratio",
          what=f"{'store[k] = array' if verb == 'set' else 'store[k]'} of {said}, local store, unix socket")
      for size, said in (("8k", "8 KiB"), ("8m", "8 MiB")) for verb in ("set", "get")),
    Row(workers, "worker_scaling", "×", goal=1.8,
        what="events/s of two workers / of one, CPU-bound graph, end to end"),
    Row(idle, "idle_cpu", "% of a core", less=True, goal=5.0,
        what="CPU of a whole node without events: all processes, both servers, supervisord"),
    Row(idle, "resident_memory", "MB", less=True, goal=600.0, what="memory (PSS) of the same node"),
    *(row for crowd in CROWDS for row in crowd.rows()),
    Row(fleet_cores, "fleet_cores", "core", less=True, goal=1.0, when="full",
        what="the global reducer's share of a core for 16 made-up nodes × 200 results × 20 Hz"),
    Row(fleet_cores, "fleet_age_p99", "ms", less=True, goal=100.0, when="full",
        what="an interval of these is over → its results are in a subscribed client's hands"),
    *(Row(block_sizes, f"block_{n}", "events/s", when="full",
          what=f"the scalar graph, worker's part only, blocks of {n}")
      for n in BLOCKS),
    *(row for night in NIGHTS for row in night.rows()),
    Row(loaded_memory, "loaded_memory", "MB", less=True, goal=1000.0, when="named",
        what="memory (PSS) of a node at 3,000,000 events/s with the default ring: the most in 10 minutes"),
)}
# fmt: on


def choose_rows(only: Collection[str], quick: bool) -> list[Row]:
    """Return the rows to measure, in the order of the table.

    A quick look leaves sizes of blocks out; what takes long is measured only when it is named.

    Raises:
        ConfigError: there is no such figure.
    """
    if unknown := sorted(set(only) - set(ROWS)):
        raise ConfigError(f"no figure {', '.join(map(repr, unknown))}; known: {', '.join(ROWS)}")
    if only:
        return [row for row in ROWS.values() if row.name in only]
    return [row for row in ROWS.values() if row.when in (("quick",) if quick else ("quick", "full"))]


def group(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows in groups that are measured together."""
    return [list(together) for _, together in itertools.groupby(rows, key=lambda row: row.measure)]


def run(
    only: Collection[str] = (),
    *,
    quick: bool = False,
    timeout_s: float | None = None,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Measure the figures ``only`` (none: all); return what JSON says of them, and of the machine.

    Args:
        timeout_s: for each measurement; None: 240, or 900 for one that takes long. One that fails or
            takes longer leaves its figures without a value, with the reason.
        say: is told what is done now.

    Raises:
        ConfigError: there is no such figure.
    """
    rows = choose_rows(only, quick)
    started, about, of = time.monotonic(), machine(), versions()
    bench = Bench(quick, lambda text: say(f"  {text}"))
    figures: list[Figure] = []
    with stoppable():
        for mine in group(rows):
            say(", ".join(row.name for row in mine))
            figures += _measure(
                mine, bench, timeout_s or (NAMED_TIMEOUT_S if mine[0].when == "named" else TIMEOUT_S)
            )
    return {
        "machine": about,
        "versions": of,
        "quick": quick,
        "duration_s": round(time.monotonic() - started, 1),
        "figures": [figure.to_plain() for figure in figures],
    }


def _measure(rows: list[Row], bench: Bench, timeout_s: float) -> list[Figure]:
    started = time.monotonic()
    try:
        with _within(timeout_s):
            measured = rows[0].measure(bench)
    except (AmiError, OSError) as error:
        bench.say(f"failed: {error}")
        return [Figure(row=row, error=str(error)) for row in rows]
    bench.say(f"took {time.monotonic() - started:.1f} s")
    return [Figure(row=row, measured=measured[row.name]) for row in rows]


@contextmanager
def _within(timeout_s: float) -> Iterator[None]:
    """End what is done here by an AmiError when it takes longer."""

    def late(_signum: int, _frame: FrameType | None) -> None:
        raise AmiError(f"not done after {timeout_s:g} s; --timeout gives it more")

    with handle_signals([signal.SIGALRM], late):
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
