"""Numbers people have, reduced: fields of every dtype, their edges, shared out, against Python's fractions.

``AMI_TEST_NUMBERS=20000`` draws so many; without it there are as many as a few seconds allow.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ami.event import Array, Field, Schema, Slots
from ami.graph.check import check
from ami.graph.execution.partial import Partial
from ami.graph.execution.plan import WorkerPlan
from ami.graph.language.text import graph_of
from tests.unit.test_numbers import BATCH, DRAWN, DTYPES, column

EVENTS = 24
GRAPH = graph_of(
    """
    values:
      on: x where gate
    results:
      n: count(on)
      total: sum_events(on)
      mean: mean_events(on)
      moments: moments(on)
      low: min_events(on)
      high: max_events(on)
      scan: mean_vs(on, key=key)
      counts: histogram(on, 7, -5, 9)
      row_sums: mean_events(sum(wave))
      row_means: pick(mean(wave), count=1)
      row_spreads: pick(std(wave), count=1)
    """
)


def draw_column(rng: random.Random, dtype: np.dtype[Any], times: int = 1) -> Array:
    """Return numbers of EVENTS events: edges, a constant, or what lies close together and far from 0."""
    sort = rng.choice(["any", "any", "constant", "near"])
    drawn = np.concatenate([column(rng, dtype) for _ in range(EVENTS * times // 12)])
    if sort == "any":
        return drawn
    finite = drawn[np.isfinite(drawn.astype(np.float64))]
    if sort == "constant" or dtype.kind not in "iu":
        return np.full(len(drawn), rng.choice([0.1, 1 / 3, 7]) if dtype.kind == "f" else drawn[0], dtype)
    limits = np.iinfo(dtype)
    base = min(int(finite.max()), int(limits.max) - 9)
    return np.array([base + rng.randrange(10) for _ in drawn], dtype)


def share_out(rng: random.Random, plan: WorkerPlan, slots: Slots) -> Partial:
    """Run shares of the events, in blocks, and merge what comes out, in any order."""
    cuts = sorted({0, EVENTS, *(rng.randrange(EVENTS) for _ in range(rng.randrange(4)))})
    shares = list(itertools.pairwise(cuts))
    rng.shuffle(shares)
    whole = plan.partial()
    for start, stop in shares:
        share = plan.partial()
        middle = rng.randint(start, stop)
        for first, last in ((start, middle), (middle, stop)):
            if last > first:
                plan.run(slots.part(first, last), first, share)
        for key, reduction in plan.reductions.items():
            whole.states[key] = reduction.merge(whole.states[key], share.states[key])
            whole.used[key] += share.used[key]
    return whole


def exact(values: Array) -> list[Any] | None:
    """Return numbers as fractions, None where one is not finite."""
    numbers = values.tolist()
    return [Fraction(n) for n in numbers] if all(map(math.isfinite, numbers)) else None


def spread(numbers: list[Fraction]) -> tuple[Fraction, Fraction]:
    """Return the mean, and the sum of squared deviations from it."""
    mean = sum(numbers, Fraction(0)) / len(numbers)
    return mean, sum(((n - mean) ** 2 for n in numbers), Fraction(0))


def as_float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def close(got: Any, right: Fraction | float, relative: float, floor: float, said: str) -> None:
    wanted = as_float(right) if isinstance(right, Fraction) else right
    np.testing.assert_allclose(got, wanted, rtol=relative, atol=floor, err_msg=said)


def check_numbers(got: dict[str, Any], x: Array, said: str) -> None:
    numbers = exact(x)
    kind = x.dtype.kind
    if not len(x):
        assert (got["total"], got["mean"], got["low"]) == (None, None, None), said
        return
    np.testing.assert_array_equal(got["low"], np.min(x), err_msg=said)
    np.testing.assert_array_equal(got["high"], np.max(x), err_msg=said)
    if numbers is None:
        floats = x.astype(np.float64)
        if np.abs(floats[np.isfinite(floats)]).sum() < 1e300:  # else a part of it may be infinite, or not
            np.testing.assert_array_equal(got["mean"] - got["mean"], np.mean(floats) * np.nan, said)
            np.testing.assert_array_equal(np.isnan(got["mean"]), np.isnan(np.mean(floats)), said)
        return
    total = sum(numbers, Fraction(0))
    if kind in "biu" and -(1 << 63) <= total < 1 << 64:
        assert int(got["total"]) == total, said
    scale = float(max(map(abs, numbers)))
    if scale > 1e290:  # a sum of such on the way may be beyond float64
        return
    close(got["total"], total, 1e-12, len(x) * 1e-15 * scale, said)
    mean, squares = spread(numbers)
    close(got["mean"], mean, 1e-12, 1e-15 * scale, said)
    moments = got["moments"]
    close(moments.mean, mean, 1e-12, 1e-14 * scale, said)
    if scale > 1e140:
        return
    floor = 0.0 if squares == 0 else float(squares) * 1e-9 + 1e-28 * scale * scale * (kind == "f")
    close(moments.squares, squares, 1e-9, floor, said)


def check_scan(scan: Any, x: Array, keys: Array, said: str) -> None:
    groups: dict[Any, list[Any]] = defaultdict(list)
    nan = 0
    digits = {2: 3, 4: 6}.get(keys.itemsize, 12)
    for key, value in zip(keys.tolist(), x.tolist(), strict=True):
        if key != key:
            nan += 1
            continue
        text = f"{key:.{digits - 1}e}" if keys.dtype.kind == "f" and math.isfinite(key) else ""
        groups[float(text) if text else key].append(value)
    assert scan.keys.tolist() == sorted(groups), said
    assert scan.counts.tolist() == [len(groups[key]) for key in sorted(groups)], said
    assert scan.nan == nan, said
    for key, mean in zip(sorted(groups), scan.means.tolist(), strict=True):
        numbers = exact(np.array(groups[key], x.dtype))
        if numbers is not None:
            scale = float(max(map(abs, numbers)))
            if scale > 1e290:
                continue
            close(mean, sum(numbers, Fraction(0)) / len(numbers), 1e-12, 1e-14 * scale, said)


def check_counts(histogram: Any, x: Array, said: str) -> None:
    numbers = x.astype(np.float64)
    there = numbers[~np.isnan(numbers)]
    right = [int(((there >= low) & (there < high)).sum()) for low, high in zip(
        histogram.edges, histogram.edges[1:], strict=False)]  # fmt: skip
    assert histogram.counts.tolist() == right, said
    outside = (int((there < -5).sum()), int((there >= 9).sum()), int(np.isnan(numbers).sum()))
    assert (histogram.underflow, histogram.overflow, histogram.nan) == outside, said


def check_rows(got: dict[str, Any], used: dict[str, int], wave: Array, said: str) -> None:
    rows = [exact(row) for row in wave]
    if wave.dtype.kind in "biu":
        limits = np.iinfo(np.uint64 if wave.dtype == np.uint64 else np.int64)
        held = [row for row in rows if row is not None and limits.min <= sum(row) <= limits.max]
        assert used["row_sums"] == len(held), f"{said}: what leaves 64 bits is an error of that event"
    for name, power in (("row_means", 1), ("row_spreads", 2)):
        picked = got[name]
        row = rows[int(picked.sequences[0])]
        if row is None:
            continue
        mean, squares = spread(row)
        scale = float(max(map(abs, row)))
        if scale > 1e140:
            continue
        if power == 1:
            close(picked.values[0][0], mean, 1e-12, 1e-15 * scale, said)
        else:
            floor = 4e-16 * scale * (wave.dtype.kind == "f" or scale < 2**53)
            close(picked.values[0][0], math.sqrt(squares / len(row)), 1e-9, floor, said)


def check_reductions(seed: int) -> None:
    rng = random.Random(seed)
    dtypes = [rng.choice(DTYPES) for _ in range(4)]
    x, key, gate = (draw_column(rng, dtype) for dtype in dtypes[:3])
    wave = draw_column(rng, dtypes[3], 3).reshape(EVENTS, 3)
    columns = {"x": x, "key": key, "gate": gate, "wave": wave}
    schema = Schema.of([Field(name, c.dtype, c.shape[1:]) for name, c in columns.items()])
    slots = Slots.allocate(schema, EVENTS)
    for name, one in columns.items():
        slots.columns[name][:] = one
    slots.set_valid(schema.names)
    slots.timestamps[:] = 1000 + np.arange(EVENTS)
    check(GRAPH, schema)
    plan = WorkerPlan(GRAPH, schema)
    assert not plan.broken
    said = f"seed {seed}: {[d.str for d in dtypes]}"
    with np.errstate(all="ignore"):
        partial = share_out(rng, plan, slots)
    got, used = {}, {}
    for name in GRAPH.results:
        fingerprint = GRAPH.fingerprint(name)
        got[name] = plan.reductions[fingerprint].result(partial.states[fingerprint])
        used[name] = partial.used[fingerprint]
    chosen = np.array([value == value and value != 0 for value in gate.tolist()])
    assert got["n"] == chosen.sum(), said
    with np.errstate(all="ignore"):
        check_numbers(got, x[chosen], said)
        check_scan(got["scan"], x[chosen], key[chosen], said)
        check_counts(got["counts"], x[chosen], said)
        check_rows(got, used, wave, said)


@pytest.mark.parametrize("batch", range(max(1, DRAWN // BATCH)))
def test_drawn_numbers_are_reduced_to_what_fractions_give(batch: int) -> None:
    size = BATCH if DRAWN else BATCH // 2
    for seed in range(batch * size, (batch + 1) * size):
        check_reductions(seed)
