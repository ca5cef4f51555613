"""The simulated experiment against its truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ami.sources import open_source, take
from ami.sources.simulated import truth
from ami.sources.simulated.pool import is_missing

EXACT = "sim://pump-probe?noise=0&step_events=32"


def test_the_truth_is_flat_before_the_pump_and_without_it() -> None:
    assert truth.truth(-3.0) == 1.0
    assert truth.truth(0.0) == 1.0
    assert truth.truth(3.0, 0) == 1.0


def test_the_truth_rises_and_decays_with_its_time_constants() -> None:
    # Worked out by hand from the formula's text: 1 + 0.8 * (1 - e**(-t / 0.5)) * e**(-t / 6).
    assert truth.truth(1.0) == pytest.approx(1 + 0.8 * (1 - math.e**-2) * math.e ** (-1 / 6), rel=1e-14)
    assert truth.truth(6.0) == pytest.approx(1.2943018, rel=1e-6)
    assert truth.truth(600.0) == 1.0


@pytest.mark.parametrize("shape", [(96, 128), (16, 16), (64, 300)])
def test_the_light_of_each_spot_is_in_its_box_and_in_no_other(shape: tuple[int, int]) -> None:
    for spot, other in (("pumped", "reference"), ("reference", "pumped")):
        light = truth.profile(shape, spot)
        assert light[truth.boxes(shape)[spot]].sum() == pytest.approx(1.0, rel=1e-12)
        assert light[truth.boxes(shape)[other]].sum() == 0.0


def test_without_noise_the_pumped_spot_is_the_truth_for_each_shot() -> None:
    events = take(open_source(EXACT), 0, 21 * 32)
    spot = events["camera"][:, *truth.boxes((96, 128))["pumped"]].sum(axis=(1, 2), dtype=np.float64)
    expected = truth.SPOT_COUNTS * truth.truth(events["delay"], events["laser"])
    np.testing.assert_allclose(spot / events["monitor"], expected, rtol=1e-6)


def test_the_reference_spot_knows_nothing_of_the_pump() -> None:
    events = take(open_source(EXACT), 0, 21 * 32)
    spot = events["camera"][:, *truth.boxes((96, 128))["reference"]].sum(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(spot / events["monitor"], truth.SPOT_COUNTS, rtol=1e-6)


def test_without_noise_the_scalars_and_the_waveform_are_the_formulas() -> None:
    events = take(open_source(EXACT + "&samples=100"), 0, 21 * 32)
    position = np.arange(21 * 32)
    np.testing.assert_array_equal(events["delay"], -5.0 + position // 32)
    np.testing.assert_array_equal(events["laser"], (position + 1) % 2)
    np.testing.assert_array_equal(events["monitor"], truth.monitor(position % 16, 16))
    np.testing.assert_array_equal(events["energy"], 9500.0)
    diode = events["monitor"] * truth.truth(events["delay"], events["laser"])
    np.testing.assert_allclose(events["diode"], diode, rtol=1e-14)
    np.testing.assert_allclose(events["waveform"][:, 33], diode, rtol=1e-6)
    np.testing.assert_allclose(events["waveform"][:, 37], diode * math.exp(-0.5), rtol=1e-6)


def test_a_long_step_gives_the_values_of_its_formula_too() -> None:
    events = take(open_source("sim://pump-probe?noise=0&step_events=100000&camera=16x16"), 99_990, 20)
    np.testing.assert_array_equal(events["delay"], [-5.0] * 10 + [-4.0] * 10)
    np.testing.assert_array_equal(events["monitor"][10:], truth.monitor(np.arange(10), 16))
    np.testing.assert_allclose(
        events["waveform"].max(axis=1),
        events["monitor"] * truth.truth(events["delay"], events["laser"]),
        rtol=1e-6,
    )


def test_a_shot_in_eight_is_dark() -> None:
    events = take(open_source(EXACT), 0, 3200, ["monitor", "laser"])
    dark = events["monitor"] < 0.1
    assert dark.sum() == 3200 // 8
    assert dark[events["laser"] == 1].sum() == 3200 // 16


def test_noise_averages_out_to_the_truth() -> None:
    events = take(
        open_source("sim://pump-probe?step_events=320"), 0, 21 * 320, ["delay", "laser", "diode", "monitor"]
    )
    used = events["monitor"] > 0.1
    ratio = events["diode"] / events["monitor"]
    for delay in (-2.0, 1.0, 4.0, 12.0):
        for laser in (0, 1):
            chosen = ratio[used & (events["delay"] == delay) & (events["laser"] == laser)]
            assert len(chosen) == 140
            assert chosen.std() > 0
            assert chosen.mean() == pytest.approx(truth.truth(delay, laser), abs=5 * 0.01 / math.sqrt(140))


def test_the_light_on_the_camera_is_that_of_the_monitor_with_noise_too() -> None:
    events = take(open_source("sim://pump-probe?step_events=64"), 0, 64)
    spot = events["camera"][:, *truth.boxes((96, 128))["reference"]].sum(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(spot, truth.SPOT_COUNTS * events["monitor"], atol=5 * 21)


def test_another_seed_gives_other_noise_and_the_same_delays() -> None:
    one, two = (take(open_source(f"sim://pump-probe?seed={seed}"), 0, 50) for seed in (1, 2))
    assert (one["energy"] != two["energy"]).all()
    assert (one["camera"] != two["camera"]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(one["delay"], two["delay"])


def test_fields_have_noise_of_their_own() -> None:
    events = take(open_source("sim://pump-probe"), 0, 1000, ["energy", "diode", "monitor", "delay", "laser"])
    expected = events["monitor"] * truth.truth(events["delay"], events["laser"])
    assert abs(np.corrcoef(events["energy"], events["diode"] - expected)[0, 1]) < 0.2


def test_an_integer_camera_is_rounded_and_never_negative() -> None:
    source = open_source("sim://pump-probe?camera_type=uint16&noise=3&pedestal=4&step_events=16")
    camera = take(source, 0, 16, ["camera"])["camera"]
    assert camera.dtype == np.uint16
    assert camera.max() < 1000
    assert camera[:, :10, :10].mean() == pytest.approx(4.0, abs=0.5)


def test_missing_values_follow_the_rule_in_the_fields_that_were_named() -> None:
    source = open_source("sim://pump-probe?missing=0.1&missing_fields=camera,diode&camera=16x16")
    events = take(source, 500, 20_000)
    for name in source.schema.names:
        there = events.has(name)
        if name in ("camera", "diode"):
            np.testing.assert_array_equal(there, ~is_missing(500, 20_000, 0.1, 1))
        else:
            assert there.all()


def test_about_the_asked_share_is_missing_evenly_with_laser_on_and_off() -> None:
    missing = is_missing(0, 100_000, 0.1, 7)
    assert missing.mean() == pytest.approx(0.1, abs=0.005)
    assert missing[::2].mean() == pytest.approx(0.1, abs=0.007)
    assert not is_missing(0, 1000, 0.0, 7).any()
    assert is_missing(0, 1000, 1.0, 7).all()


def test_the_missing_rule_is_splitmix64() -> None:
    # The first three outputs of SplitMix64 seeded with 0 are known from its reference code.
    outputs = [0xE220A8397B1DCDAF]
    share = outputs[0] / 2**64
    assert is_missing(0, 1, share * 1.0000001, 0)[0]
    assert not is_missing(0, 1, share * 0.9999999, 0)[0]
