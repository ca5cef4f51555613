"""Read what detectors there are from a description, in AMI's form::

    {"interval": 0.01, "config": {
        "delta_t": {"dtype": "Scalar", "range": [0, 10], "integer": true},
        "laser": {"dtype": "Scalar", "range": [0, 2], "integer": true, "binary": true},
        "cspad": {"dtype": "Image", "pedestal": 5, "width": 1, "shape": [1024, 1024]},
        "waveform": {"dtype": "Waveform", "length": 1024}}}

A waveform that is ``"variable": true`` has from 0 to ``length`` elements, in each event another number.
``interval`` is the time between two events, in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ami.errors import SourceError
from ami.event import Field, Schema

_KEYS = {
    "Scalar": {"dtype", "range", "integer", "binary"},
    "Waveform": {"dtype", "length", "pedestal", "width", "type", "variable"},
    "Image": {"dtype", "shape", "pedestal", "width", "type"},
}


@dataclass(frozen=True, slots=True)
class Detector:
    """One field of a description. Scalars lie in [low, high), arrays are normal around a pedestal."""

    field: Field
    low: float = 0.0
    high: float = 1.0
    binary: bool = False
    pedestal: float = 0.0
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Description:
    """What a JSON file says: detectors by name, and seconds between events."""

    detectors: Mapping[str, Detector]
    interval_s: float = 0.001
    text: str = field(default="", compare=False)

    @property
    def schema(self) -> Schema:
        return Schema.of(detector.field for detector in self.detectors.values())


def load(path: Path) -> Description:
    """Return the description in a file.

    Raises:
        SourceError: it cannot be read, is no JSON, or describes something else; says where.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; a JSON description of detectors is wanted") from error
    except ValueError as error:
        raise SourceError(f"{path}: no JSON: {error}") from error
    return describe(plain, str(path))


def describe(plain: object, where: str) -> Description:
    """Return the description that a JSON value says; SourceError names what is wrong in ``where``."""
    if not isinstance(plain, dict) or not isinstance(plain.get("config"), dict) or not plain["config"]:
        raise SourceError(f'{where}: {{"interval": SECONDS, "config": {{NAME: DETECTOR, ...}}}} is wanted')
    unknown = set(plain) - {"interval", "config"}
    if unknown:
        raise SourceError(f"{where}: unknown key {min(unknown)!r}; known: config, interval")
    interval_s = plain.get("interval", 0.001)
    if not _is_number(interval_s) or interval_s <= 0:
        raise SourceError(f"{where}: interval {interval_s!r} is not a number of seconds above 0")
    detectors = {str(n): _detector(str(n), d, f"{where}: {n}") for n, d in plain["config"].items()}
    return Description(detectors, float(interval_s), json.dumps(plain, sort_keys=True))


def _detector(name: str, plain: object, where: str) -> Detector:
    if not isinstance(plain, dict) or plain.get("dtype") not in _KEYS:
        raise SourceError(f'{where}: {{"dtype": "Scalar" | "Waveform" | "Image", ...}} is wanted')
    kind = plain["dtype"]
    unknown = sorted(set(plain) - _KEYS[kind])
    if unknown:
        raise SourceError(f"{where}: a {kind} has no {unknown[0]!r}; known: {', '.join(sorted(_KEYS[kind]))}")
    if kind == "Scalar":
        return _scalar(name, plain, where)
    shape = plain.get("shape") if kind == "Image" else [plain.get("length")]
    axes = 2 if kind == "Image" else 1
    if not (isinstance(shape, list) and len(shape) == axes and all(_is_count(n) for n in shape)):
        wanted = '"shape": [rows, columns]' if kind == "Image" else '"length": samples'
        raise SourceError(f"{where}: {wanted} is wanted, got {shape}")
    pedestal, width = plain.get("pedestal", 0), plain.get("width", 1)
    if not (_is_number(pedestal) and _is_number(width) and width >= 0):
        raise SourceError(
            f"{where}: pedestal {pedestal!r} and width {width!r} must be numbers, width not below 0"
        )
    try:
        dtype = np.dtype(plain.get("type", "float32"))
    except TypeError as error:
        raise SourceError(f"{where}: type {plain['type']!r} is none of numpy's, such as float32") from error
    variable = plain.get("variable", False)
    if not isinstance(variable, bool):
        raise SourceError(f"{where}: variable is true or false, got {variable!r}")
    return Detector(Field(name, dtype, tuple(shape), variable), pedestal=float(pedestal), width=float(width))


def _scalar(name: str, plain: Mapping[str, Any], where: str) -> Detector:
    limits = plain.get("range", [0, 2] if plain.get("binary") else [0, 1])
    pair = isinstance(limits, list) and len(limits) == 2 and all(map(_is_number, limits))
    if not pair or not limits[0] < limits[1]:
        raise SourceError(f"{where}: range {limits!r} is not [low, high] with low below high")
    flags = plain.get("integer", False), plain.get("binary", False)
    if not all(isinstance(flag, bool) for flag in flags):
        raise SourceError(f"{where}: integer and binary are true or false")
    dtype = np.dtype(np.int64 if any(flags) else np.float64)
    return Detector(Field(name, dtype), float(limits[0]), float(limits[1]), flags[1])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def fields(texts: tuple[str, ...], where: str) -> Description:
    """Return the description of fields in short: ``NAME:scalar``, ``NAME:binary``,
    ``NAME:waveform:100`` or ``NAME:image:96x128``."""
    config: dict[str, object] = {}
    for text in texts:
        name, _, rest = text.partition(":")
        kind, _, size = rest.partition(":")
        if kind in ("scalar", "binary") and not size:
            config[name] = {"dtype": "Scalar", "binary": kind == "binary"}
        elif kind == "waveform" and size.isdecimal():
            config[name] = {"dtype": "Waveform", "length": int(size)}
        elif kind == "image" and all(part.isdecimal() for part in size.split("x")):
            config[name] = {"dtype": "Image", "shape": [int(part) for part in size.split("x")]}
        else:
            raise SourceError(
                f"{where}: {text!r} is no field; wanted NAME:scalar, NAME:binary, NAME:waveform:100, "
                f"or NAME:image:96x128"
            )
    return describe({"config": config}, where)


def _integers(low: int, high: int, **more: object) -> dict[str, object]:
    return {"dtype": "Scalar", "range": [low, high], "integer": True, **more}


_LASER = _integers(0, 2, binary=True)
_SCALARS = {
    "delay": _integers(0, 20),
    "laser": _LASER,
    "monitor": {"dtype": "Scalar", "range": [0, 2]},
    "offset": {"dtype": "Scalar", "range": [-1, 1]},
    "energy": {"dtype": "Scalar", "range": [9000, 10000]},
}
_STATIC = {
    "delta_t": _integers(0, 10),
    "laser": _LASER,
    "cspad": {"dtype": "Image", "pedestal": 5, "width": 1, "shape": [1024, 1024]},
    "waveform": {"dtype": "Waveform", "length": 1024},
}
SCALARS = describe({"config": _SCALARS}, "sim://scalars")
STATIC = describe({"config": _STATIC}, "static://")
