"""Open simulations by their URI: ``sim://pump-probe``, ``sim://scalars``, ``sim://FILE.json``, ``static://``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ami.errors import SourceError
from ami.sources.base import Input, Opener
from ami.sources.simulated import description, detectors, pump_probe
from ami.sources.uri import COMMON, Uri

DEFAULT_RATE_HZ = 1000.0


def _open_simulated(uri: Uri) -> tuple[Input, dict[str, Any]]:
    if uri.body == "pump-probe":
        values = uri.values({**COMMON, **pump_probe.OPTIONS})
        values["rate"] = values["rate"] or DEFAULT_RATE_HZ
        return pump_probe.PumpProbe(values, values["rate"]), values
    if uri.body == "scalars":
        described = description.SCALARS
    elif uri.body.endswith(".json"):
        described = description.load(Path(uri.body))
    else:
        raise SourceError(f"{uri.text!r}: sim:// has pump-probe, scalars, and FILE.json; got {uri.body!r}")
    values = uri.values({**COMMON, **detectors.OPTIONS})
    clock = detectors.clock(described, values["event_rate"], values["rate"], uri.text)
    values["rate"] = values["rate"] or clock.rate_hz
    return detectors.Detectors(described, clock, values, uri.text), values


def _static(uri: Uri) -> tuple[Input, dict[str, Any]]:
    values = uri.values({**COMMON, **detectors.STATIC_OPTIONS})
    if uri.body and values["fields"]:
        raise SourceError(f"{uri.text!r}: give a file or fields=, not both")
    if uri.body:
        described = description.load(Path(uri.body))
    elif values["fields"]:
        described = description.fields(values["fields"], uri.text)
    else:
        described = description.STATIC
    clock = detectors.clock(described, values["event_rate"], values["rate"], uri.text)
    values["rate"] = values["rate"] or clock.rate_hz
    return detectors.Detectors(described, clock, {}, uri.text), values


PROTOCOLS: Mapping[str, Opener] = {"sim": _open_simulated, "static": _static}
