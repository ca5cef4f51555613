"""The numbers of the real recordings, through the source. (The graph's numbers: test_offline.py)"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ami.event import Slots
from ami.sources import Source, Span, open_source, take

FOLDER = Path(os.environ.get("RECORDINGS", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no recordings in {FOLDER}; set RECORDINGS to their folder"
)


def played(source: Source, block: int) -> list[Slots]:
    """Return the whole input in blocks, as a daemon would read it."""
    blocks, first = [], 0
    while isinstance(span := source.span(first, block), Span):
        blocks.append(take(source, first, span.count))
        np.testing.assert_array_equal(blocks[-1].timestamps, span.timestamps)
        first += span.count
    return blocks


def values(blocks: list[Slots], name: str) -> np.ndarray:
    return np.concatenate([block[name] for block in blocks])


@pytest.mark.parametrize("block", [100, 8192])
def test_the_photons_of_m82_are_all_there(block: int) -> None:
    blocks = played(open_source(f"hdf5://{FOLDER}/m82_photons.h5"), block)
    energy = values(blocks, "energy")
    assert energy.mean() == pytest.approx(3807.04706849415, rel=1e-12)
    counts, _ = np.histogram(energy, 100, (0, 10_000))
    assert (counts.sum(), counts.argmax(), counts.max()) == (4063, 9, 203)
    image, _, _ = np.histogram2d(values(blocks, "x"), values(blocks, "y"), 64, ((3800, 4800), (3400, 4400)))
    assert (image.sum(), image[41, 27], image.max()) == (4612, 1572, 1572)


@pytest.mark.parametrize("block", [1000, 8192])
def test_the_solar_flare_of_goes_is_at_its_time(block: int) -> None:
    source = open_source(f"hdf5://{FOLDER}/goes15_xray_flux.h5")
    blocks = played(source, block)
    flux, times = values(blocks, "long"), np.concatenate([b.timestamps for b in blocks])
    assert len(flux) == 42177
    assert flux.max() == pytest.approx(2.5554e-05, rel=1e-4)
    assert times[flux.argmax()] / 1e9 == pytest.approx(24084.119, abs=1e-3)
    assert (flux > 1e-5).sum() == 1129
    assert flux.mean() == pytest.approx(9.258456e-07, rel=1e-6)
    # The first sample is 38 ms before the file's zero, stored as unsigned.
    assert source.start_ns == -38_000_107
    assert source.schema["long"].unit == "W/m2"


@pytest.mark.parametrize("block", [1, 7, 100])
def test_the_telescope_gives_every_sample(block: int) -> None:
    blocks = played(open_source(f"hdf5://{FOLDER}/sst1m_telescope.h5"), block)
    waveforms, kinds = values(blocks, "waveforms"), values(blocks, "event_type")
    assert (waveforms.shape, waveforms.dtype) == ((100, 1296, 50), np.int16)
    assert waveforms.sum(dtype=np.int64) == 2009955142
    assert np.unique_counts(kinds) == (pytest.approx([1, 8]), pytest.approx([92, 8]))
    assert waveforms[:, 500, 10].mean() == pytest.approx(1916.02, rel=1e-12)
    assert waveforms[:5].max(axis=(1, 2)).tolist() == [4095, 4095, 4093, 4092, 4095]


def test_a_recording_of_an_hour_or_a_day_is_proposed_long_intervals() -> None:
    assert open_source(f"hdf5://{FOLDER}/m82_photons.h5").interval_s == 1.0
    assert open_source(f"hdf5://{FOLDER}/goes15_xray_flux.h5").interval_s == 100.0
    assert open_source(f"hdf5://{FOLDER}/sst1m_telescope.h5").interval_s == 0.05
    assert open_source(f"hdf5://{FOLDER}/goes15_xray_flux.h5?speed=60").interval_s is None
