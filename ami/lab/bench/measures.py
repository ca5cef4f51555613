"""Say which function measures which figures, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Mapping

from ami.lab.bench import end_to_end, idle, latency, operations, ring_speed, soak, stores
from ami.lab.bench.measure import Measure
from ami.lab.bench.rows import BLOCKS, OPERATIONS, RESULTS, SLOTS, WORKERS

MEASURES: Mapping[Measure, tuple[str, ...]] = {
    end_to_end.scalar_graph: ("scalar_graph",),
    end_to_end.region_mean: ("region_mean",),
    end_to_end.mean_image: ("mean_image",),
    ring_speed.ring_blocks: ("ring_blocks",),
    ring_speed.ring_single: ("ring_single",),
    operations.operation_cost: ("operation_cost",),
    latency.result_latency: ("result_latency_p99",),
    latency.edit_latency: ("edit_latency_p99",),
    stores.store_speed: tuple(f"store_{verb}_{size}" for size in stores.SIZES for verb in ("set", "get")),
    idle.idle: ("idle_cpu", "resident_memory"),
    end_to_end.worker_scaling_spare: ("worker_scaling_spare",),
    end_to_end.worker_scaling: ("worker_scaling", *(f"workers_{n}" for n in WORKERS)),
    operations.block_sizes: tuple(f"block_{n}" for n in BLOCKS),
    ring_speed.slot_sizes: tuple(f"slot_{name}" for name in SLOTS),
    operations.operation_numbers: tuple(f"operations_{n}" for n in OPERATIONS),
    end_to_end.results: tuple(f"results_{n}" for n in RESULTS),
    soak.loaded_memory: ("loaded_memory",),
}
