"""Write a result as an HDF5 file: its parts and axes as they are, and what is known of it, as NeXus does."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ami.errors import AmiError
from ami.result import Result

MOST_BYTES: Final = 1 << 28  # as it is made in memory


def write_hdf5(result: Result) -> bytes:
    """Return a file with the group ``/NAME``, an NXdata: signal, axes, units; its attributes: the envelope.

    Raises:
        AmiError: it is too large, or has what HDF5 has no type for.
    """
    import h5py

    axes, parts = result.axes(), result.parts()
    size = sum(np.asarray(one.value).nbytes for one in parts)
    if size > MOST_BYTES:
        raise AmiError(f"{result.name} has {size} bytes, a file from here has at most {MOST_BYTES}")
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        group = file.create_group(result.name.replace("/", "_"))
        file.attrs.update({"NX_class": "NXroot", "default": group.name[1:]})
        group.attrs.update({"NX_class": "NXdata"} | _envelope(result))
        if parts:
            places = [*parts[0].axes, *["."] * (np.ndim(parts[0].value) - len(parts[0].axes))]
            group.attrs.update({"signal": parts[0].name, "axes": np.array(places, h5py.string_dtype())})
        try:
            for name, value, unit in (
                *((one.name, one.value, one.unit) for one in parts),
                *(
                    (one.name, one.points, one.unit)
                    for one in axes
                    if one.name not in {p.name for p in parts}
                ),
            ):
                group.create_dataset(name, data="" if value is None else value).attrs["units"] = unit
        except (TypeError, ValueError) as error:
            raise AmiError(f"{result.name} cannot be written as HDF5: {error}") from error
    return target.getvalue()


def _envelope(result: Result) -> dict[str, Any]:
    """Return what is known beside the value. What is a list of names is one text, with commas."""
    return {
        "result": result.name, "error": result.error or "", "window": result.window, "run": result.run,
        "interval": result.interval, "interval_ns": result.interval_ns, "intervals": result.intervals,
        "time_ns": result.time_ns, "graph_version": result.graph_version, "graph_hash": result.graph_hash,
        "complete": result.complete, "published_ns": result.published_ns, "one_in": result.one_in,
        "nodes": ",".join(result.nodes), "missing_nodes": ",".join(result.missing_nodes),
        **{f"events_{name}": number for name, number in asdict(result.events).items()},
    }  # fmt: skip
