"""Measure how fast a hundred people edit one graph at once: edits a second, and how long one waits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from ami.client import connect
from ami.config import Config
from ami.lab import arena, graphs
from ami.lab.figures import Bench, Measured, percentile
from ami.lab.latency import SOURCE
from ami.lab.machine import Busy

CLIENTS = 100
PATIENCE_S = 60.0
OWN = 2  # definitions that each client has, from its second edit on


def edit_rate(bench: Bench) -> Mapping[str, Measured]:
    """Measure edits by clients each of which asks for the next one when the last one is answered."""
    edits = bench.choose(12, 4)
    with arena.running(SOURCE, graphs.SHOTS, first="level") as place:
        before, there = place.client.graph_version()[0], {*place.client.document().definitions}
        bench.say(f"{CLIENTS} clients at once, {edits} edits each, while {SOURCE} is reduced")
        begin = Barrier(CLIENTS + 1)
        with ThreadPoolExecutor(CLIENTS) as pool, Busy(place.pids()) as busy:
            asked = [pool.submit(_edit, place.node.config, number, edits, begin) for number in range(CLIENTS)]
            begin.wait()
            started = time.perf_counter()
            waits_s = [wait_s for one in asked for wait_s in one.result()]
            lasted_s = time.perf_counter() - started
        versions, operations = place.client.graph_version()[0] - before, len(place.client.graph().operations)
        left = {*place.client.document().definitions} - there
    late_s, wanted = percentile(waits_s, 0.99), CLIENTS * edits
    wrong = left ^ {name for number in range(CLIENTS) for name in _list_left(number, edits)}
    failures = (f"{len(wrong)} definitions are not as they were edited",) if wrong else ()
    note = f"{wanted} edits, p50 {percentile(waits_s, 0.5):.2f} s, largest {max(waits_s):.2f} s"
    notes = (note, f"{versions} versions, at the end of {operations} operations")
    return {
        "edits_per_s": Measured(
            value=wanted / lasted_s, busy=busy.to_plain(), failures=failures, notes=notes
        ),
        "edit_p99_100_clients": Measured(value=late_s, failures=failures, notes=notes),
    }


def _list_left(number: int, edits: int) -> list[str]:
    """Return the definitions that a client has at the end."""
    added = [edit for edit in range(edits) if edit % (OWN + 1) != OWN]
    return [f"mean_{number}_{edit}" for edit in added if edit % (OWN + 1) != 0 or edit + OWN >= edits]


def _edit(config: Config, number: int, edits: int, begin: Barrier) -> list[float]:
    """Edit as one client: add a definition, and in between remove one; return the waits."""
    waits_s = []
    with connect(config, name=f"person{number}", timeout_s=PATIENCE_S) as client:
        client.document()  # what has to be imported once is no part of an edit
        begin.wait()
        for edit in range(edits):
            asked = time.perf_counter()
            if edit % (OWN + 1) == OWN:
                client.remove(f"mean_{number}_{edit - OWN}")
            else:
                client.add(f"mean_{number}_{edit} = mean_events(monitor + {number}.{edit}5, window=interval)")
            waits_s.append(time.perf_counter() - asked)
    return waits_s
