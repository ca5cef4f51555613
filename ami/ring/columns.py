"""Keep what the events are: one array for each field, a row in each for one slot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ami.event import Array, Slots
from ami.ring.segment import Segment


class Columns:
    """The arrays of one ring; only the source writes them."""

    def __init__(self, segment: Segment, *, writable: bool) -> None:
        layout = segment.layout

        def array(offset: int, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> NDArray[Any]:
            found: NDArray[Any] = np.ndarray(
                (layout.slot_count, *shape), dtype, buffer=segment.memory, offset=offset
            )
            found.flags.writeable = writable
            return found

        integer = np.dtype(np.int64)
        self._slot_count = layout.slot_count
        self._valid: NDArray[np.int64] = array(layout.offsets["valid"], integer)
        self.timestamps: NDArray[np.int64] = array(layout.offsets["timestamps"], integer)
        self._columns: dict[str, Array] = {
            field.name: array(layout.columns[field.name], field.dtype, field.shape)
            for field in layout.schema.fields
        }

    def slots(self, first: int, count: int) -> Slots:
        """Return the slots of ``count`` events from ``first`` on; they do not cross the ring's end."""
        start = first % self._slot_count
        stop = start + count
        columns = {name: column[start:stop] for name, column in self._columns.items()}
        return Slots(count, columns, self._valid[start:stop], self.timestamps[start:stop])
