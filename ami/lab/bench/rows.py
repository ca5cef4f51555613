"""The table of all figures, in the order in which they are shown, with their goals."""

from __future__ import annotations

from ami.lab.bench.figure import Goal, Row

INTERVAL_MS = 50.0  # the default, which the latencies are measured with

_GOALS = (
    Row(
        name="scalar_graph",
        what="2 filters, 3 expressions, mean, moments, 2 histograms, mean by key: end to end, 1 worker",
        unit="events/s",
        goal=Goal(3e6),
    ),
    Row(
        name="region_mean",
        what="mean of a 512×512 region of 1024×1024 float32 images: end to end, 1 worker",
        unit="events/s",
        goal=Goal(0.8, "ratio"),
    ),
    Row(
        name="mean_image",
        what="running mean of 512×512 float32 images: end to end, 1 worker",
        unit="events/s",
        goal=Goal(0.7, "ratio"),
    ),
    Row(
        name="ring_blocks",
        what="ring only, events of 32 bytes, blocks of 1024",
        unit="events/s",
        goal=Goal(1e7),
    ),
    Row(name="ring_single", what="ring only, events of 32 bytes, one at a time", unit="events/s"),
    Row(
        name="operation_cost",
        what="one more trivial operation on the worker, blocks of 256",
        unit="µs/event",
        less=True,
        goal=Goal(0.1),
    ),
    Row(
        name="result_latency_p99",
        what="event is due → result with it is in a subscribed client's hands, 1000 events/s",
        unit="ms",
        less=True,
        goal=Goal(INTERVAL_MS + 25),
    ),
    Row(
        name="edit_latency_p99",
        what="client adds an operation → its first result is in the client's hands, 1000 events/s",
        unit="ms",
        less=True,
        goal=Goal(2 * INTERVAL_MS + 50),
    ),
    *(
        Row(
            name=f"store_{verb}_{size}",
            what=f"{text} of {size_text}, local store, unix socket",
            unit="µs",
            less=True,
            goal=Goal(0.6, "ratio"),
        )
        for size, size_text in (("8k", "8 KiB"), ("8m", "8 MiB"))
        for verb, text in (("set", "store[k] = array"), ("get", "store[k]"))
    ),
    Row(
        name="worker_scaling",
        what="events/s of two workers / of one, CPU-bound graph, end to end",
        unit="×",
        goal=Goal(1.8),
    ),
    Row(
        name="worker_scaling_spare",
        what="the same of a graph that waits instead of computing, as if there were cores to spare",
        unit="×",
        goal=Goal(1.8),
    ),
    Row(
        name="idle_cpu",
        what="CPU of a whole node without events: all processes, both servers, supervisord",
        unit="% of a core",
        less=True,
        goal=Goal(5.0),
    ),
    Row(
        name="resident_memory",
        what="memory (PSS) of the same node",
        unit="MB",
        less=True,
        goal=Goal(600.0),
    ),
)

WORKERS = (1, 2)
BLOCKS = (16, 64, 256, 1024, 4096, 8192)
SLOTS = {"32": 32, "4k": 4 << 10, "256k": 256 << 10, "4m": 4 << 20}
OPERATIONS = (1, 10, 100)
RESULTS = (1, 10, 100)

_SCALING = (
    *(
        Row(name=f"workers_{n}", what=f"CPU-bound graph, {n} workers, end to end", unit="events/s")
        for n in WORKERS
    ),
    *(
        Row(name=f"block_{n}", what=f"the scalar graph, worker's part only, blocks of {n}", unit="events/s")
        for n in BLOCKS
    ),
    *(
        Row(name=f"slot_{name}", what=f"ring only, events of {size} bytes", unit="MB/s")
        for name, size in SLOTS.items()
    ),
    *(
        Row(
            name=f"operations_{n}",
            what=f"{n} expressions with a count each, worker's part only, blocks of 4096",
            unit="events/s",
        )
        for n in OPERATIONS
    ),
    *(
        Row(
            name=f"results_{n}",
            what=f"{n} results, each the mean of an expression, end to end",
            unit="events/s",
        )
        for n in RESULTS
    ),
)

# Measured only when asked for by name.
_LONG = (
    Row(
        name="loaded_memory",
        what="memory (PSS) of a node at 3,000,000 events/s with the default ring: the most in 10 minutes",
        unit="MB",
        less=True,
        goal=Goal(1000.0),
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in (*_GOALS, *_SCALING, *_LONG)}
MAIN = tuple(row.name for row in _GOALS)
LONG = tuple(row.name for row in _LONG)
