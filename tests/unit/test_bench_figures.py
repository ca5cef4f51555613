"""When a figure meets its goal, how it is put into words, and which figures there are."""

from __future__ import annotations

import json
import os
import time

import pytest

from ami.cli.bench import show, text_of
from ami.errors import AmiError, ConfigError
from ami.lab.bench import ROWS, choose_rows, run
from ami.lab.figures import Bench, Figure, Measure, Measured, Row, percentile
from ami.lab.machine import Busy

ASKED_FOR = [
    "scalar_graph",
    "region_mean",
    "mean_image",
    "unused_camera",
    "ring_blocks",
    "dealt_events",
    "dealt_images",
    "operation_cost",
    "result_latency_p99",
    "edit_latency_p99",
    "store_set_8k",
    "store_get_8k",
    "store_set_8m",
    "store_get_8m",
    "worker_scaling",
    "idle_cpu",
    "resident_memory",
]


def row(
    name: str, measure: Measure, *, less: bool = False, goal: float | None = None, of: str = "value"
) -> Row:
    return Row(measure, name, "events/s", what="something", less=less, goal=goal, goal_of=of)


def figure(
    *samples: float, less: bool = False, goal: float | None = None, of: str = "value", **more: object
) -> Figure:
    measured = Measured(samples=samples, **more)  # type: ignore[arg-type]
    return Figure(row=row("a", nothing, less=less, goal=goal, of=of), measured=measured)


def nothing(_bench: Bench) -> dict[str, Measured]:
    raise AmiError("no Redis here")


def test_the_value_is_the_median_and_the_spread_goes_from_the_smallest_to_the_largest() -> None:
    found = figure(3.0, 1.0, 8.0)
    assert (found.value, found.spread) == (3.0, 7.0)
    assert figure(3.0, 1.0, 8.0, value=5.0).value == 5.0


def test_the_ratio_is_1_at_the_limit_and_less_below_it_for_rates_and_for_times() -> None:
    assert figure(50.0, limit=100.0).ratio == 0.5
    assert figure(200.0, limit=100.0, less=True).ratio == 0.5
    assert figure(50.0).ratio is None


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (figure(3e6, goal=3e6), True),
        (figure(2.9e6, goal=3e6), False),
        (figure(70.0, less=True, goal=75.0), True),
        (figure(76.0, less=True, goal=75.0), False),
        (figure(8.0, limit=10.0, goal=0.8, of="ratio"), True),
        (figure(7.9, limit=10.0, goal=0.8, of="ratio"), False),
        (figure(10.0, limit=6.0, less=True, goal=0.6, of="ratio"), True),
        (figure(10.1, limit=6.0, less=True, goal=0.6, of="ratio"), False),
        (figure(8.0, goal=0.8, of="ratio"), False),
        (figure(8.0), None),
    ],
)
def test_a_goal_is_met_by_the_value_or_by_the_ratio_as_it_says(found: Figure, met: bool | None) -> None:
    assert found.met is met


def test_a_run_that_lost_events_meets_no_goal_however_fast_it_was() -> None:
    assert figure(9e9, goal=3e6, failures=("1 event is missing",)).met is False


def test_a_figure_that_was_not_measured_has_no_value_and_says_why() -> None:
    plain = Figure(row=ROWS["scalar_graph"], error="no room").to_plain()
    assert (plain["value"], plain["spread"], plain["repeats"], plain["met"]) == (None, None, 0, False)
    assert plain["error"] == "no room"


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.5) == 50.0
    assert percentile([7.0], 0.99) == 7.0


def names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows]


def test_a_figure_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="scalar_graf.*known: scalar_graph"):
        choose_rows(["scalar_graf"], quick=False)


def test_figures_are_shown_in_the_order_of_the_table_and_a_quick_look_leaves_sizes_of_blocks_out() -> None:
    assert names(choose_rows(["mean_image", "scalar_graph"], quick=False)) == ["scalar_graph", "mean_image"]
    assert names(choose_rows([], quick=True)) == ASKED_FOR
    assert names(choose_rows([], quick=False)) == [
        name for name in ROWS if name not in ("loaded_memory", "page_long_growth") and "shift_" not in name
    ]
    assert names(choose_rows(["loaded_memory"], quick=True)) == ["loaded_memory"]


def test_a_measurement_that_fails_leaves_the_others_and_their_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def works(_bench: Bench) -> dict[str, Measured]:
        return {"b": Measured(samples=(5.0,))}

    monkeypatch.setattr("ami.lab.bench.ROWS", {"a": row("a", nothing), "b": row("b", works)})
    report = run(["a", "b"], say=lambda _text: None)
    assert [one["error"] for one in report["figures"]] == ["no Redis here", None]
    assert report["figures"][1]["value"] == 5.0


def test_a_measurement_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(_bench: Bench) -> dict[str, Measured]:
        while True:
            pass

    monkeypatch.setattr("ami.lab.bench.ROWS", {"a": row("a", hangs)})
    report = run(["a"], timeout_s=0.1, say=lambda _text: None)
    assert "0.1 s" in report["figures"][0]["error"]


def test_the_report_is_one_json_object_and_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measured(
        samples=(4e6, 5e6, 6e6), limit=1e7, limit_is="by hand", limited_by="worker:0", notes=("quick",)
    )
    rows = {"a": row("a", lambda _bench: {"a": measured}, goal=3e6)}
    monkeypatch.setattr("ami.lab.bench.ROWS", rows)
    report = run(["a"], quick=True, say=lambda _text: None)
    plain = json.loads(json.dumps(report))
    assert set(plain) >= {"machine", "versions", "figures"}
    (one,) = plain["figures"]
    fields = ("name", "value", "unit", "spread", "repeats", "ratio", "limit", "goal", "met")
    assert [one[name] for name in fields] == ["a", 5e6, "events/s", 2e6, 3, 0.5, 1e7, 3e6, True]
    text = text_of(plain)
    assert "5 M/s" in text
    assert "worker:0" in text
    assert "quick" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "-"),
        (12_345_678.0, "events/s", "12.3 M/s"),
        (950.0, "events/s", "950 /s"),
        (0.0179, "µs/event", "0.0179 µs/event"),
        (19_507.0, "µs", "19507 µs"),
    ],
)
def test_values_are_shown_in_three_digits_with_their_unit(value: float | None, unit: str, text: str) -> None:
    assert show(value, unit) == text


def test_shares_of_a_core_are_cpu_time_by_wall_time_and_the_rest_is_others() -> None:
    with Busy({"this": os.getpid(), "gone": 2**22 + 1}) as busy:
        begin = time.process_time()
        while time.process_time() < begin + 0.3:
            pass
    assert 0 < busy.shares["this"] < 1.1
    assert busy.shares["gone"] == 0.0
    assert busy.to_plain() == {**busy.shares, "everybody else": busy.others}


@pytest.mark.parametrize(
    ("shares", "others", "said"),
    [
        ({"worker:0": 0.95, "source": 0.2}, 0.0, "worker:0, busy 95%"),
        ({"worker:0": 0.7, "source": 0.3}, 0.9, "the 2 cores"),
        ({"worker:0": 0.5, "source": 0.3}, 0.0, "nobody all the time"),
    ],
)
def test_what_limits_is_the_full_process_or_the_full_machine_or_waiting(
    shares: dict[str, float], others: float, said: str
) -> None:
    assert Busy(shares=shares, others=others).what_limits(2).startswith(said)
