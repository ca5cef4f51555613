"""Arrays of another length in each event through a whole node with two workers, some of which are killed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import h5py
import numpy as np

from ami import offline
from ami.graph.language.text import graph_of
from ami.lab.verify import compare
from ami.sources import open_source
from tests.system.conftest import Play

COUNT = 3000
GRAPH = """
functions:
  gaps:
    returns: 'float64[:20]'
    code: |
      def gaps(energy):
          return np.diff(np.sort(energy)) if len(energy) else None
values:
  calibrated: energy * gain
  strong: select(calibrated, calibrated > 2)
results:
  spectrum: histogram(calibrated, 50, 0, 5)
  map: histogram2d(place, energy, 20, 0, 100, 20, 0, 5)
  hits: sum_events(length(strong))
  brightest: max_events(max(strong))
  busy: count(energy where length(energy) > 5)
  newest: last(strong)
  ten: pick(energy, place, count=10)
  sample: histogram(energy, 10, 0, 5, window="500 events")
  gap: max_events(max(gaps(energy)))
  second: histogram(energy, 10, 0, 5, window="1 s")
"""


def test_peaks_of_a_file_are_counted_exactly_while_workers_die(play: Play, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    lengths = rng.poisson(4, COUNT)
    energies = [np.round(rng.exponential(1.5, n), 6) for n in lengths]
    places = [rng.integers(0, 100, n, np.int32) for n in lengths]
    gain = rng.choice([0.5, 1.0, 2.0], COUNT)
    path = tmp_path / "peaks.h5"
    with h5py.File(path, "w") as file:
        file["timestamp"] = np.arange(COUNT, dtype=np.int64) * 10**6
        file["gain"] = gain
        for name, arrays in (("energy", energies), ("place", places)):
            data = file.create_dataset(name, (COUNT,), h5py.vlen_dtype(arrays[0].dtype), chunks=(256,))
            for number, array in enumerate(arrays):
                data[number] = array
    uri = f"hdf5://{path}?rate=1000&policy=wait"

    experiment = play(uri, GRAPH)
    experiment.kill_workers(3, every=500)
    results = experiment.run_to_the_end()

    calibrated = [e * g for e, g in zip(energies, gain, strict=True)]
    everything = np.concatenate(calibrated)
    spectrum = results["spectrum"].value
    assert spectrum.counts.tolist() == np.histogram(everything[everything < 5], 50, (0, 5))[0].tolist()
    assert spectrum.counts.sum() + spectrum.overflow == len(everything)
    assert results["map"].value.counts.sum() + results["map"].value.outside == len(everything)
    assert results["hits"].value == (everything > 2).sum()
    assert results["brightest"].value == everything.max()
    assert results["busy"].value == (lengths > 5).sum()
    assert results["newest"].value.tolist() == calibrated[-1][calibrated[-1] > 2].tolist()
    picked = results["ten"].value
    for n, event in enumerate(((picked.timestamps - picked.timestamps[0]) // 10**6).tolist()):
        first = int(picked.timestamps[0] // 10**6)
        assert picked.values[0][n].tolist() == energies[first + event].tolist()
        assert picked.values[1][n].tolist() == places[first + event].tolist()
    assert results["spectrum"].events.used == COUNT
    assert all(result.error is None for result in results.values())

    with closing(open_source(uri)) as source:
        alone = offline.run(graph_of(GRAPH), source)
    for name in ("spectrum", "map", "hits", "brightest", "busy", "newest", "gap", "ten", "sample", "second"):
        assert compare(name, results[name], alone[name]).difference == ""
