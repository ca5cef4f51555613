"""Read the times of a recording's events in ns, whatever unit they were written in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ami.errors import SourceError
from ami.event import TIMESTAMP, Array
from ami.sources.base import Timestamps
from ami.sources.recorded.column import Column
from ami.sources.recorded.contents import unit_of

if TYPE_CHECKING:  # as of ami.sources.recorded.hdf5
    import h5py

_NAMES = {
    1: "ns nsec nanosecond nanoseconds", 10**3: "us µs μs usec microsecond microseconds",
    10**6: "ms msec millisecond milliseconds", 10**9: "s sec second seconds",
}  # fmt: skip
UNITS = {name: factor for factor, names in _NAMES.items() for name in names.split()}


class Times:
    """The dataset of times: integers in ns, or integers or floats in the unit that ``units`` says.

    One of uint64 in ns is taken as int64 with the same bits, because recordings have times before their
    zero, written unsigned.

    Raises:
        SourceError: it has no times, or nobody knows their unit.
    """

    def __init__(self, dataset: h5py.Dataset, path: Path, parts: Iterable[Path] = ()) -> None:
        self._path = path
        dtype, shape = dataset.dtype, dataset.shape
        if shape is None or len(shape) != 1 or dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise SourceError(
                f"{path}: {TIMESTAMP!r} is {dtype} of shape {shape}; integers (ns) along one axis "
                f"are wanted, or numbers with the attribute units"
            )
        unit = unit_of(dataset)
        # "seconds since 2026-01-01": times are taken as they are, whatever zero they count from.
        known = UNITS.get(unit.partition(" since ")[0].strip() if unit else "ns")
        if known is None:
            raise SourceError(f"{path}: {TIMESTAMP!r} has the units {unit!r}; ns, us, ms or s are wanted")
        if dtype.kind == "f" and not unit:
            raise SourceError(
                f"{path}: {TIMESTAMP!r} is {dtype} without a unit; integers are taken as ns, floats need the "
                f"attribute units (s, ms, us or ns)"
            )
        if not len(dataset):
            raise SourceError(f"{path}: no events: {TIMESTAMP!r} has no entry")
        self._factor = known
        # HDF5 would clip a large uint64 to the largest int64, so it is read as it is stored.
        unsigned = dtype.kind == "u" and dtype.itemsize == 8
        self._stored = np.dtype(np.float64 if dtype.kind == "f" else np.uint64 if unsigned else np.int64)
        self._column = Column(dataset, self._stored, parts=parts)

    def __len__(self) -> int:
        return len(self._column)

    def read(self, index: int, into: Timestamps) -> None:
        """Write the times of ``len(into)`` events from ``index`` on, in ns.

        Raises:
            SourceError: one is no time, or beyond what int64 has room for.
        """
        stored = into.view(self._stored)
        self._column.read(index, stored)
        if self._factor == 1 and self._stored.kind != "f":
            return
        limit = (2**63 - 1) // self._factor - 1
        fits = (stored <= limit) & (stored >= -limit) if self._stored.kind != "u" else stored <= limit
        if not fits.all():
            at = int(np.argmin(fits))
            raise SourceError(
                f"{self._path}: {TIMESTAMP!r} is {stored[at]} at index {index + at}, in units of "
                f"{self._factor} ns; times of up to 292 years (2^63 ns) are wanted"
            )
        into[:] = _to_ns(stored, self._factor)


def _to_ns(stored: Array, factor: int) -> Timestamps:
    if stored.dtype.kind != "f":
        return stored.astype(np.int64) * factor
    # Whole units and the rest apart: 1.7e18 ns is no float64 of less than 256 ns.
    whole = np.floor(stored)
    rest: Timestamps = np.rint((stored - whole) * factor).astype(np.int64)
    return whole.astype(np.int64) * factor + rest
