"""Say what is dealt, blocks of events of one run and step, and borders between them; pack it for the way.

A block is packed once, however often it is sent: one buffer a field, as it came out of the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ami.event import Array, Field, Schema, Slots, Transition


class Phase(NamedTuple):
    """Run, step and the step's value, as the sender numbers them; step 0 is before the first one."""

    run: int
    step: int = 0
    value: float = 0.0


class Border(NamedTuple):
    """A transition, and the phase that it leads to."""

    transition: Transition
    phase: Phase


class Packed(NamedTuple):
    """The events of a block as they travel. ``frames``: timestamps, then a buffer for each field.

    ``lacking``: by field, which events have it not; ``lengths``: of fields of variable length.
    """

    frames: tuple[Array, ...]
    lacking: Mapping[str, list[int]]
    lengths: Mapping[str, list[int]]

    @property
    def bytes(self) -> int:
        return sum(frame.nbytes for frame in self.frames)


@dataclass(slots=True, eq=False)
class Block:
    """``count`` events from ``first`` on, as the source counts them. ``packed``: None where they must be read
    again, ``gone``: and cannot be."""

    first: int
    count: int
    phase: Phase
    bytes: int
    packed: Packed | None = None
    gone: bool = False


def list_fields(schema: Schema) -> list[Field]:
    """Return the fields that travel: lengths go with what they are the lengths of."""
    lengths = {field.length_name for field in schema.fields if field.variable}
    return [field for field in schema.fields if field.name not in lengths]


def describe(schema: Schema) -> list[dict[str, Any]]:
    """Return the fields as a welcome says them."""
    return [
        {"name": field.name, "dtype": field.dtype.str, "shape": list(field.shape), "unit": field.unit}
        | ({"variable": True} if field.variable else {})
        for field in list_fields(schema)
    ]


def pack(slots: Slots) -> Packed:
    """Return the events of ``slots``, whose arrays are not copied and must not change any more."""
    whole = bool((slots.valid == np.array(slots.schema.words(slots.schema.names))[:, None]).all())
    lacking: dict[str, list[int]] = {}
    lengths: dict[str, list[int]] = {}
    frames: list[Array] = [slots.timestamps]
    for field in list_fields(slots.schema):
        has = None if whole else slots.has(field.name)
        if has is not None and not has.all():
            lacking[field.name] = np.flatnonzero(~has).tolist()
        column = slots[field.name]
        if field.variable:
            many = slots[field.length_name] if has is None else np.where(has, slots[field.length_name], 0)
            lengths[field.name] = many.tolist()
            column = column[np.arange(field.shape[0]) < many[:, None]]
        frames.append(np.ascontiguousarray(column))
    return Packed(tuple(frames), lacking, lengths)
