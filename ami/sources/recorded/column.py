"""Read one dataset of an HDF5 file in runs of events, each part of the file once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ami.event import Array

if TYPE_CHECKING:  # as of ami.sources.recorded.hdf5
    import h5py

WINDOW_BYTES = 1 << 20


class Column:
    """One dataset, read in runs of events. ``parts`` are other files that its values are in."""

    def __init__(
        self, dataset: h5py.Dataset, dtype: np.dtype[Any], event_bytes: int = 0, parts: Iterable[Path] = ()
    ) -> None:
        self._dataset = dataset
        self._descriptor: int = dataset.file.id.get_vfd_handle()
        self._file_bytes = os.fstat(self._descriptor).st_size
        self._parts = [(part, part.stat().st_size) for part in dict.fromkeys(parts)]
        event_bytes = event_bytes or dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
        rows = max(1, WINDOW_BYTES // event_bytes)
        if dataset.chunks:
            rows = max(1, rows // dataset.chunks[0]) * int(dataset.chunks[0])
        self._window_rows = min(rows, len(dataset))
        self._window = np.empty((0, *dataset.shape[1:]), dtype)
        self._window_number = -1

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, index: int, into: Array) -> None:
        """Fill ``into`` with the events from ``index`` on."""
        rows, done = self._window_rows, 0
        while done < len(into):
            number, offset = divmod(index + done, rows)
            left = len(into) - done
            if offset == 0 and left >= rows:  # whole windows need no copy
                count = left // rows * rows
                self._direct(index + done, into[done : done + count])
            else:
                count = min(left, rows - offset)
                into[done : done + count] = self._load(number)[offset : offset + count]
            done += count

    def _load(self, number: int) -> Array:
        if number != self._window_number:
            first = number * self._window_rows
            count = min(self._window_rows, len(self._dataset) - first)
            self._window_number = -1  # a read that fails must not leave half a window
            window = np.empty((count, *self._window.shape[1:]), self._window.dtype)
            self._direct(first, window)
            self._window, self._window_number = window, number
        return self._window

    def _direct(self, first: int, into: Array) -> None:
        self._dataset.read_direct(into, np.s_[first : first + len(into)])
        # HDF5 looks at the size at opening only, and reads zeros where a file has ended or gone since.
        if (seen := os.fstat(self._descriptor).st_size) < self._file_bytes:
            raise OSError(f"it had {self._file_bytes} bytes when it was opened and has {seen} now")
        for part, size in self._parts:
            if part.stat().st_size < size:
                raise OSError(f"{part} had {size} bytes when it was opened and is shorter now")
