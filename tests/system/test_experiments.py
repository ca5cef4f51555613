"""The simulated experiment and the static source through a whole node: truth that is known beforehand."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ami.sources.simulated import truth
from tests.system.conftest import Play

SHIPPED = (Path(__file__).parents[2] / "conf/graphs/pump_probe.yaml").read_text()


def test_the_simulated_experiment_gives_its_truth(play: Play) -> None:
    uri = "sim://pump-probe?noise=0&step_events=160&stop=3360&rate=3000"
    results = play(uri, SHIPPED).run_to_the_end()
    delays = np.arange(-5.0, 16.0)
    np.testing.assert_array_equal(results["on_vs_delay"].value.keys, delays)
    np.testing.assert_allclose(results["on_vs_delay"].value.means, truth.truth(delays), rtol=1e-6)
    np.testing.assert_allclose(results["off_vs_delay"].value.means, 1.0, rtol=1e-6)
    np.testing.assert_allclose(results["difference"].value.means, truth.truth(delays) - 1, atol=1e-6)
    assert results["on_vs_delay"].value.counts.tolist() == [70] * 21
    assert results["dropouts"].value == 3360 // 8
    assert results["shots"].events.expected == 3360


@pytest.mark.parametrize(("pixels", "mean"), [(100, 1e4), (10, 100.0)])
def test_the_scan_graph_gives_a_mean_for_each_step(
    play: Play, tmp_path: Path, pixels: int, mean: float
) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["timestamp"] = np.arange(4) * 10**8
        file["cspad"] = np.ones((4, 200, 200), np.float32)
        file["laser"] = np.ones(4, int)
        file["delta_t"] = np.array([8, 3, 8, 3])
    graph = f"""
        values:
          spot: sum(roi(cspad, rows=0:{pixels}, cols=0:{pixels}))
        results:
          on: mean_vs(spot where laser == 1, key=delta_t)
          off: mean_vs(spot where laser == 0, key=delta_t)
    """
    results = play(f"hdf5://{tmp_path}/scan.h5?pace=max", graph).run_to_the_end()
    assert results["on"].value.keys.tolist() == [3, 8]
    assert results["on"].value.means.tolist() == [mean, mean]
    assert results["on"].value.counts.tolist() == [2, 2]
    assert results["off"].value.keys.tolist() == []
    assert (results["off"].events.used, results["off"].events.expected) == (0, 4)


def test_the_static_source_gives_ones(play: Play) -> None:
    graph = """
        results:
          corner: last(roi(cspad, rows=0:10, cols=0:10))
          total: last(sum(roi(cspad, rows=0:100, cols=0:100)))
          lit: sum_events(laser)
    """
    uri = "static://?fields=laser:binary,cspad:image:200x200&stop=1001&rate=2000"
    results = play(uri, graph).run_to_the_end()
    np.testing.assert_array_equal(results["corner"].value, np.ones((10, 10)))
    assert results["total"].value == 10_000
    assert results["lit"].value == 501
