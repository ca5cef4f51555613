"""Real recordings through a whole node whose workers die: the numbers that others computed of them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.system.conftest import Play

EXACT = 1e-12

PHOTONS = """
results:
  energy_mean: mean_events(energy)
  spectrum: histogram(energy, 100, 0, 10000)
  image: histogram2d(x, y, 64, 3800, 4800, 64, 3400, 4400)
"""
FLARE = """
results:
  samples: count(long)
  peak: max_events(long)
  peak_time: min_events(timestamp where long > 2.555e-05)
  strong: count(long where long > 1e-5)
  mean: mean_events(long)
"""
TELESCOPE = """
results:
  total: sum_events(sum(waveforms))
  kinds: mean_vs(event_type, key=event_type)
  mean: mean_events(waveforms)
  maxima: pick(max(waveforms), 100)
"""


def test_the_photons_of_m82(recordings: Path, play: Play) -> None:
    # At a pace that leaves time to kill somebody while events flow.
    experiment = play(f"hdf5://{recordings}/m82_photons.h5?rate=1500&policy=wait", PHOTONS)
    experiment.kill_workers(5, every=576)
    results = experiment.run_to_the_end()
    assert results["energy_mean"].value == pytest.approx(3807.04706849415, rel=EXACT)
    counts = results["spectrum"].value.counts
    assert (counts.sum(), counts.argmax(), counts[9]) == (4063, 9, 203)
    image = results["image"].value
    assert (image.counts.sum(), image.outside) == (4612, 0)
    assert np.unravel_index(image.counts.argmax(), image.counts.shape) == (41, 27)
    assert image.counts[41, 27] == 1572
    assert {name: r.events.used for name, r in results.items()} == dict.fromkeys(results, 4612)


def test_the_solar_flare_of_goes(recordings: Path, play: Play) -> None:
    experiment = play(f"hdf5://{recordings}/goes15_xray_flux.h5?rate=12000&policy=wait", FLARE)
    experiment.kill_workers(5, every=5272)
    results = experiment.run_to_the_end()
    with h5py.File(recordings / "goes15_xray_flux.h5") as file:
        flux = file["long"][:]
    assert results["samples"].value == 42177
    assert results["peak"].value == flux.max() == pytest.approx(2.5554e-05, rel=1e-4)
    assert results["peak_time"].value / 1e9 == pytest.approx(24084.119, abs=5e-4)
    assert results["strong"].value == 1129
    assert results["mean"].value == pytest.approx(flux.mean(), rel=EXACT)
    assert f"{results['mean'].value:.6e}" == "9.258456e-07"
    assert results["strong"].events.expected == 42177


def test_the_telescope(recordings: Path, play: Play) -> None:
    experiment = play(f"hdf5://{recordings}/sst1m_telescope.h5?rate=20&policy=wait", TELESCOPE)
    experiment.kill_workers(5, every=12)
    results = experiment.run_to_the_end()
    assert results["total"].value == 2009955142
    assert results["kinds"].value.keys.tolist() == [1, 8]
    assert results["kinds"].value.counts.tolist() == [92, 8]
    assert results["mean"].value[500, 10] == pytest.approx(1916.02, rel=EXACT)
    assert results["maxima"].value.values[0][:5].tolist() == [4095, 4095, 4093, 4092, 4095]
    assert results["total"].events.used == 100


def test_a_recording_as_fast_as_possible_is_the_same(recordings: Path, play: Play) -> None:
    results = play(f"hdf5://{recordings}/goes15_xray_flux.h5?pace=max", FLARE).run_to_the_end()
    assert (results["samples"].value, results["strong"].value) == (42177, 1129)
