"""Operations of other packages that break their contract: what it costs, and whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ami.messages.checkpoint  # noqa: F401  # so that partials and states may travel
from ami.event import Field, Schema, Slots
from ami.graph.execution.plan import WorkerPlan
from ami.graph.execution.windows import Accumulator
from ami.graph.graph import Graph
from ami.graph.kind import Kind
from ami.graph.library import LIBRARY
from ami.graph.library.accumulate import SumEvents
from ami.graph.library.base import Function
from ami.stores import codec
from tests.unit.graphs import of

SCHEMA = Schema.of([Field("x", np.dtype(np.float64))])


class Short(Function):
    """Gives one value too few."""

    name = "short"
    view = True  # so it says

    def infer(self, *inputs: Kind) -> Kind:
        return inputs[0]

    def __call__(self, *arrays: Any) -> Any:
        return arrays[0][1:]


class Unstorable(SumEvents):
    """Keeps what no store carries."""

    name = "unstorable"

    def add(self, state: Any, *arrays: Any, **more: Any) -> Any:
        return (object(), 1)


class Unmergeable(SumEvents):
    """Fails as soon as there are two states."""

    name = "unmergeable"

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return super().merge(a, b)
        raise SystemExit("half way")


class WithoutZero(SumEvents):
    """Cannot even begin."""

    name = "without_zero"

    def zero(self) -> Any:
        raise SystemExit("no zero")


class Sound(SumEvents):
    """Keeps its contract."""

    name = "sound"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Short, Unstorable, Unmergeable, WithoutZero, Sound):
        monkeypatch.setitem(LIBRARY._loaded, kind.name, kind)


def test_what_breaks_its_contract_costs_its_own_results_and_the_account_stays_exact() -> None:
    names = ("unstorable", "unmergeable", "without_zero", "sound", "sum_events")
    operations = [of(name, name, "x") for name in names]
    graph = Graph(1, (*operations, of("less", "short", "x"), of("short", "count", "less")), (*names, "short"))
    plan, a = WorkerPlan(graph, SCHEMA), Accumulator(graph)
    for interval in range(4):
        partial = plan.partial()
        for block in range(2):
            slots = Slots.allocate(SCHEMA, 3)
            slots["x"][:] = 1
            slots.valid[:] = 1
            plan.run(slots, 6 * interval + 3 * block, partial)
        partial = codec.decode(bytes(codec.encode(partial)))
        a.apply(partial, interval=interval, run=1, expected=6, dropped=0)
        a = Accumulator.from_plain(codec.decode(bytes(codec.encode(a.to_plain()))))
    found = a.results()
    assert {found[name].account.expected for name in (*names, "short")} == {24}
    for name in ("sound", "sum_events"):
        assert (found[name].value, found[name].account.used, found[name].error) == (24, 24, None)
    assert (found["short"].value, found["short"].account.used) == (0, 0)
    assert "must give an array of 1 values" in str(found["short"].error)
    assert (found["unstorable"].value, found["unstorable"].account.used) == (None, 0)
    assert "a state may be of numbers" in str(found["unstorable"].error)
    assert found["unmergeable"].value is None
    assert "half way" in str(found["unmergeable"].error)
    assert "no zero" in str(found["without_zero"].error)
