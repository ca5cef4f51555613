"""Encode a result for viewers: a header in JSON, and its arrays as they lie (docs/page-protocol.md)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ami.event import Array
from ami.result import Result
from ami.values import Axis, Part, plain
from ami.web.pictures import Showing, draw, find_image

ALIGN: Final = 8
# An array of two axes and more numbers than these is a picture; any other goes whole up to the second limit.
PICTURE: Final = 4096
MOST: Final = 1 << 17
_WORD = struct.Struct("<II")


def encode_result(result: Result, showing: Showing, now_ns: int) -> bytes:
    """Return a result as one chunk.

    Args:
        now_ns: by the store's clock, against which ``published_ns`` says how old it is.
    """
    body = _Body()
    head = _envelope(result) | {"now_ns": now_ns}
    try:
        # Lists as soon as they are made: a picture that cannot be drawn shall not leave half a header.
        known = result.axes()
        parts = [_part(part, known, showing, body) for part in result.parts()]
        axes = [_axis(axis, body) for axis in known]
    except (TypeError, ValueError, ArithmeticError) as error:
        body, parts, axes = _Body(), [], []
        head["error"] = head["error"] or f"this cannot be shown: {error}"
    return _pack(head | {"parts": parts, "axes": axes}, bytes(body.data))


def join(number: int, chunks: list[bytes]) -> bytes:
    """Return one message of chunks."""
    return b"".join([_WORD.pack(number & 0xFFFFFFFF, len(chunks)), *chunks])


class _Body:
    """Arrays, one behind the other, each at a multiple of 8 bytes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def put(self, array: Array) -> dict[str, Any]:
        """Take an array in; return where it lies and what it is."""
        shown = _narrow(array)
        at = len(self.data)
        self.data += np.ascontiguousarray(shown).tobytes()
        size = len(self.data) - at
        self.data += bytes(-size % ALIGN)
        kind = shown.dtype.newbyteorder("<").str.lstrip("<|=")
        return {"dtype": kind, "shape": list(shown.shape), "at": at, "bytes": size}


def _narrow(array: Array) -> Array:
    """Return an array in a type that a browser has: no 64-bit integers, booleans or half floats."""
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return array.astype(np.uint8)
    if kind in "iu":
        return array.astype("<f8" if width == 8 else array.dtype.newbyteorder("<"))
    if kind == "f":
        return array.astype("<f4" if width <= 4 else "<f8")
    if kind in "mM":
        return array.astype(np.int64).astype("<f8")
    raise TypeError(f"an array of {array.dtype} has no numbers to draw")


def _part(part: Part, axes: tuple[Axis, ...], showing: Showing, body: _Body) -> dict[str, Any]:
    told: dict[str, Any] = {"name": part.name, "unit": part.unit, "axes": list(part.axes)}
    value = part.value
    if np.ndim(value) == 3 and len(value):
        first = part.axes[0] if part.axes else ""
        points = next((axis.points for axis in axes if axis.name == first and not axis.edges), None)
        at = find_image(value, points, showing.key)
        value = value[at]
        told |= {"axes": list(part.axes[1:]), "stack": {"axis": first, "at": at, "of": len(part.value)}}
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return told | {"value": plain(value)}
    # Of two columns it is no image, but pairs.
    if value.ndim == 2 and value.size > PICTURE and value.shape[1] > 2 and value.dtype.kind in "biuf":
        codes, facts = draw(value, showing)
        return told | body.put(codes) | {"picture": facts}
    if value.size > MOST:
        return told | {
            "value": None,
            "left_out": f"{' × '.join(map(str, value.shape))} numbers are too many to show",
        }
    return told | body.put(value)


def _axis(axis: Axis, body: _Body) -> dict[str, Any]:
    told = {"name": axis.name, "unit": axis.unit, "edges": axis.edges}
    return told | body.put(np.asarray(axis.points)[:MOST])


def _envelope(result: Result) -> dict[str, Any]:
    first, last = result.intervals
    return {
        "name": result.name,
        "error": result.error,
        "window": result.window,
        "run": result.run,
        "interval": result.interval,
        "interval_s": result.interval_ns / 1e9,
        "intervals": [first, last],
        "time": list(result.time_ns),
        "events": asdict(result.events),
        "nodes": list(result.nodes),
        "missing_nodes": list(result.missing_nodes),
        "late": dict(result.late),
        "graph_version": result.graph_version,
        "complete": result.complete,
        "published_ns": result.published_ns,
        "every_s": result.every_s,
        "one_in": result.one_in,
        "unit": result.label.unit,
    }


def _pack(head: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    return b"".join(_padded([_WORD.pack(len(text), len(body)), text, body]))


def _padded(pieces: Iterable[bytes]) -> Iterable[bytes]:
    for piece in pieces:
        yield piece
        yield bytes(-len(piece) % ALIGN)
