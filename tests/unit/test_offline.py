"""Graphs over whole inputs in one process: the numbers that a node must give, too."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from ami import offline
from ami.errors import GraphError, SourceError
from ami.graph.graph import Graph
from ami.graph.language.text import graph_of
from ami.offline import OfflineResults
from ami.sources import open_source
from ami.sources.simulated import truth

FOLDER = Path(os.environ.get("RECORDINGS", Path(__file__).parents[3] / "shared" / "data"))
recordings = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no recordings in {FOLDER}; set RECORDINGS to their folder"
)
EXACT = 1e-12


def graph(**results: str) -> Graph:
    return graph_of("results:\n" + "".join(f"  {name}: {text}\n" for name, text in results.items()))


def run(uri: str, **results: str) -> OfflineResults:
    return offline.run(graph(**results), open_source(uri))


@recordings
@pytest.mark.parametrize("options", ["", "?interval=50ms", "?interval=1h"])
def test_the_photons_of_m82(options: str) -> None:
    got = run(
        f"hdf5://{FOLDER}/m82_photons.h5{options}",
        energy_mean="mean_events(energy)",
        spectrum="histogram(energy, 100, 0, 10000)",
        image="histogram2d(x, y, 64, 3800, 4800, 64, 3400, 4400)",
    )
    assert got["energy_mean"].value == pytest.approx(3807.04706849415, rel=EXACT)
    counts = got["spectrum"].value.counts
    assert (counts.sum(), counts.argmax(), counts[9]) == (4063, 9, 203)
    image = got["image"].value
    assert (image.counts.sum(), image.outside) == (4612, 0)
    assert np.unravel_index(image.counts.argmax(), image.counts.shape) == (41, 27)
    assert image.counts[41, 27] == 1572
    assert {name: got[name].events.used for name in got} == dict.fromkeys(got, 4612)


@recordings
def test_the_solar_flare_of_goes() -> None:
    got = run(
        f"hdf5://{FOLDER}/goes15_xray_flux.h5",
        samples="count(long)",
        peak="max_events(long)",
        peak_time="min_events(timestamp where long > 2.555e-05)",
        strong="count(long where long > 1e-5)",
        mean="mean_events(long)",
    )
    with h5py.File(FOLDER / "goes15_xray_flux.h5") as file:
        flux = file["long"][:]
    assert got["samples"].value == 42177
    assert got["peak"].value == flux.max() == pytest.approx(2.5554e-05, rel=1e-4)
    assert got["peak_time"].value / 1e9 == pytest.approx(24084.119, abs=5e-4)
    assert got["strong"].value == 1129
    assert got["mean"].value == pytest.approx(flux.mean(), rel=EXACT)
    assert f"{got['mean'].value:.6e}" == "9.258456e-07"
    assert got["strong"].events.expected == 42177
    assert got["strong"].events.used == 1129


@recordings
def test_the_telescope() -> None:
    got = run(
        f"hdf5://{FOLDER}/sst1m_telescope.h5",
        total="sum_events(sum(waveforms))",
        kinds="mean_vs(event_type, key=event_type)",
        mean="mean_events(waveforms)",
        maxima="pick(max(waveforms), 5)",
        last="last(event_number)",
    )
    assert got["total"].value == 2009955142
    assert got["kinds"].value.keys.tolist() == [1, 8]
    assert got["kinds"].value.counts.tolist() == [92, 8]
    assert got["mean"].value[500, 10] == pytest.approx(1916.02, rel=EXACT)
    assert got.events == 100
    assert got["total"].time_ns == (1509415494406789700, 1509415494810940896)


@recordings
def test_the_first_five_maxima_of_the_telescope() -> None:
    source = open_source(f"hdf5://{FOLDER}/sst1m_telescope.h5")
    got = offline.run(graph(maxima="pick(max(waveforms), 5)"), source, limit=5)
    assert got["maxima"].value.values[0].tolist() == [4095, 4095, 4093, 4092, 4095]


def shares(uri: str, asked: Graph, every: int = 3) -> tuple[OfflineResults, list[OfflineResults]]:
    """Return the results of an input, and of each of its shares."""
    dealt = [f"{uri}&every={every}&offset={offset}" for offset in range(every)]
    whole, *parts = (offline.run(asked, open_source(one)) for one in (uri, *dealt))
    return whole, parts


@recordings
def test_the_shares_of_a_recording_are_together_what_the_whole_gives() -> None:
    telescope = graph(
        events="count(event_type)",
        total="sum_events(sum(waveforms))",
        image="sum_events(waveforms)",
        kinds="histogram(event_type, 10, 0, 10)",
    )
    whole, parts = shares(f"hdf5://{FOLDER}/sst1m_telescope.h5?start=3", telescope)
    assert [part.events for part in parts] == [33, 32, 32]
    assert sum(part["total"].value for part in parts) == whole["total"].value
    np.testing.assert_array_equal(sum(part["image"].value for part in parts), whole["image"].value)
    photons = graph(
        spectrum="histogram(energy, 100, 0, 10000)",
        image="histogram2d(x, y, 64, 3800, 4800, 64, 3400, 4400)",
        brightest="max_events(energy)",
        events="count(x)",
    )
    for options in ("rate=max", "start=100&stop=2000&repeat=3"):
        whole, parts = shares(f"hdf5://{FOLDER}/m82_photons.h5?{options}", photons)
        assert sum(part["events"].value for part in parts) == whole["events"].value == whole.events
        assert max(part["brightest"].value for part in parts) == whole["brightest"].value
        for name in ("spectrum", "image"):
            counts = sum(part[name].value.counts for part in parts)
            np.testing.assert_array_equal(counts, whole[name].value.counts)
            assert counts.sum() > 1000


def test_each_share_has_all_runs_and_steps_also_those_without_events_of_it() -> None:
    uri = "sim://pump-probe?step_events=10&run_events=25&stop=52&camera=16x16&samples=8"
    whole, parts = shares(uri, graph(n="count(laser)", lit="sum_events(laser)"))
    assert (whole["n"].value, whole.runs, whole.steps) == (2, 3, 7)
    # The last run has two events, 50 and 51, so the second share has none of it.
    assert [part["n"].value for part in parts] == [1, 0, 1]
    assert [(part.runs, part.steps) for part in parts] == [(3, 7)] * 3
    assert [part["n"].run for part in parts] == [3] * 3
    assert [part["n"].events.expected for part in parts] == [1, 0, 1]


def test_a_share_without_events_gives_results_without_events() -> None:
    got = run("sim://scalars?stop=2&every=5&offset=3", n="count(laser)", level="mean_events(energy)")
    assert (got.events, got["n"].value, got["n"].events.expected) == (0, 0, 0)


def scan_file(path: Path, laser: int) -> str:
    with h5py.File(path, "w") as file:
        file["timestamp"] = np.arange(4) * 10**8
        file["cspad"] = np.ones((4, 200, 200), np.float32)
        file["laser"] = np.full(4, laser)
        file["delta_t"] = np.array([8, 3, 8, 3])
    return f"hdf5://{path}"


@pytest.mark.parametrize(("pixels", "mean"), [(100, 1e4), (10, 100.0)])
def test_the_scan_graph_gives_a_mean_for_each_step(tmp_path: Path, pixels: int, mean: float) -> None:
    scan = graph_of(f"""
        values:
          spot: sum(roi(cspad, rows=0:{pixels}, cols=0:{pixels}))
        results:
          on: mean_vs(spot where laser == 1, key=delta_t)
          off: mean_vs(spot where laser == 0, key=delta_t)
    """)
    for laser, lit, dark in ((1, "on", "off"), (0, "off", "on")):
        got = offline.run(scan, open_source(scan_file(tmp_path / f"{laser}.h5", laser)))
        assert got[lit].value.keys.tolist() == [3, 8]
        assert got[lit].value.means.tolist() == [mean, mean]
        assert got[lit].value.counts.tolist() == [2, 2]
        assert got[dark].value.keys.tolist() == []
        assert (got[dark].events.used, got[dark].events.expected) == (0, 4)


def test_the_static_source_gives_ones() -> None:
    got = run(
        "static://?fields=laser:binary,cspad:image:200x200&stop=1001",
        corner="last(roi(cspad, rows=0:10, cols=0:10))",
        total="last(sum(roi(cspad, rows=0:100, cols=0:100)))",
        lit="sum_events(laser)",
    )
    np.testing.assert_array_equal(got["corner"].value, np.ones((10, 10)))
    assert got["total"].value == 10_000
    assert got["lit"].value == 501


def test_the_simulated_experiment_gives_its_truth() -> None:
    shipped = graph_of((Path(__file__).parents[2] / "conf/graphs/pump_probe.yaml").read_text())
    source = open_source("sim://pump-probe?noise=0&step_events=160&stop=3360")
    got = offline.run(shipped, source)
    delays = np.arange(-5.0, 16.0)
    np.testing.assert_array_equal(got["on_vs_delay"].value.keys, delays)
    np.testing.assert_allclose(got["on_vs_delay"].value.means, truth.truth(delays), rtol=1e-6)
    np.testing.assert_allclose(got["off_vs_delay"].value.means, 1.0, rtol=1e-6)
    np.testing.assert_allclose(got["difference"].value.means, truth.truth(delays) - 1, atol=1e-6)
    assert got["on_vs_delay"].value.counts.tolist() == [70] * 21
    assert got["dropouts"].value == 3360 // 8
    assert (got.steps, got.runs, got.events) == (21, 1, 3360)


@pytest.mark.parametrize("block_events", [1, 7, 8192])
@pytest.mark.parametrize("interval_ns", [10**6, 10**9])
def test_blocks_and_intervals_do_not_show_in_the_window_of_a_run(block_events: int, interval_ns: int) -> None:
    asked = graph(
        spectrum="histogram(energy, 50, 9400, 9600)",
        total="sum_events(laser)",
        signal="mean_vs(diode where monitor > 0.1, key=delay)",
        lit="mean_events(camera)",
    )
    uri = "sim://pump-probe?step_events=30&steps=3&camera=16x16&missing=0.2&missing_fields=camera,diode"
    whole = offline.run(asked, open_source(uri), limit=300, interval_ns=10**12, block_events=300)
    got = offline.run(asked, open_source(uri), limit=300, interval_ns=interval_ns, block_events=block_events)
    assert got["spectrum"].value == whole["spectrum"].value
    assert got["total"].value == 150
    np.testing.assert_allclose(got["signal"].value.means, whole["signal"].value.means, rtol=EXACT)
    np.testing.assert_array_equal(got["signal"].value.counts, whole["signal"].value.counts)
    np.testing.assert_allclose(got["lit"].value, whole["lit"].value, rtol=1e-6)
    for name in whole:
        assert got[name].events == whole[name].events
    assert 200 < got["lit"].events.used < 300


def test_an_interval_window_has_the_events_of_the_last_interval() -> None:
    got = run("sim://scalars?stop=1075&interval=50ms", shots="count(laser, window=interval)")
    assert got["shots"].value == 25
    assert got["shots"].events.expected == 25
    assert got.intervals == 22
    first, last = got["shots"].time_ns
    assert last - first == 24 * 10**6


def test_a_new_run_begins_its_windows_anew() -> None:
    uri = "sim://pump-probe?run_events=100&step_events=40&stop=250&camera=16x16"
    got = run(uri, shots="count(laser)")
    assert (got["shots"].value, got["shots"].run, got.runs) == (50, 3, 3)
    # They begin at 0, 40, 80, 120, 160, 200, 240; the one that is under way at 100 begins again there.
    assert got.steps == 8


def test_missing_values_and_failing_operations_are_in_the_account() -> None:
    got = run(
        "sim://scalars?stop=1000&missing=0.25&missing_fields=energy",
        there="count(energy)",
        all="count(laser)",
    )
    assert got["there"].value == got["there"].events.used
    assert 650 < got["there"].value < 850
    assert (got["all"].value, got["there"].events.expected) == (1000, 1000)


def test_progress_is_told_after_each_block() -> None:
    seen: list[tuple[int, int | None]] = []
    source = open_source("sim://scalars?stop=100&interval=1s")
    offline.run(
        graph(n="count(laser)"),
        source,
        block_events=40,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(40, 100), (80, 100), (100, 100)]


def test_a_source_without_end_needs_a_limit() -> None:
    source = open_source("sim://scalars")
    with pytest.raises(SourceError, match="give a limit, or stop="):
        offline.run(graph(n="count(laser)"), source)
    assert offline.run(graph(n="count(laser)"), source, limit=10)["n"].value == 10


def test_a_graph_that_does_not_suit_the_source_is_refused() -> None:
    with pytest.raises(GraphError, match="lasre"):
        run("sim://scalars?stop=5", n="count(lasre)")


def test_fields_that_the_graph_does_not_ask_for_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    with h5py.File(path, "w") as file:
        file["timestamp"], file["x"] = np.arange(10), np.arange(10.0)
        broken = file.create_dataset("camera", (10, 64, 64), "f4", chunks=(1, 64, 64), compression="gzip")
        broken[:] = np.random.default_rng(1).random((10, 64, 64))
        place = broken.id.get_chunk_info(0)
    with path.open("r+b") as bytes_of_file:
        bytes_of_file.seek(place.byte_offset)
        bytes_of_file.write(b"\xff" * place.size)
    assert run(f"hdf5://{path}", total="sum_events(x)")["total"].value == 45
    with pytest.raises(SourceError, match="cut or damaged"):
        run(f"hdf5://{path}", now="last(camera)")
