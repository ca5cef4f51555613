"""Open an input of events by its URI: ``proto://body?option=value``.

Start with :mod:`ami.sources.base`, which says what a source is. ``docs/sources.md`` has each
protocol with its options. A new protocol is a function here and an
:class:`~ami.sources.base.Input`; options that all have are done by :mod:`ami.sources.playback`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ami.errors import SourceError
from ami.event import Schema, Slots
from ami.sources.base import Input, Source, Span
from ami.sources.playback import Playback
from ami.sources.recorded import hdf5
from ami.sources.simulated import description, detectors, pump_probe
from ami.sources.uri import COMMON, Option, Uri, parse

__all__ = ["PROTOCOLS", "Source", "Span", "open_source", "take"]

logger = logging.getLogger(__name__)

DEFAULT_RATE_HZ = 1000.0


def _simulated(uri: Uri) -> tuple[Input, dict[str, Any]]:
    if uri.body == "pump-probe":
        values = _values(uri, pump_probe.OPTIONS)
        values["rate"] = values["rate"] or DEFAULT_RATE_HZ
        return pump_probe.PumpProbe(values, values["rate"]), values
    if uri.body == "scalars":
        described = description.SCALARS
    elif uri.body.endswith(".json"):
        described = description.load(Path(uri.body))
    else:
        raise SourceError(f"{uri.text!r}: sim:// has pump-probe, scalars, and FILE.json; got {uri.body!r}")
    values = _values(uri, detectors.OPTIONS)
    clock = detectors.clock(described, values["event_rate"], values["rate"], uri.text)
    values["rate"] = values["rate"] or clock.rate_hz
    return detectors.Detectors(described, clock, values, uri.text), values


def _static(uri: Uri) -> tuple[Input, dict[str, Any]]:
    values = _values(uri, detectors.STATIC_OPTIONS)
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
    return detectors.Detectors(described, clock, None, uri.text), values


def _recorded(uri: Uri) -> tuple[Input, dict[str, Any]]:
    values = _values(uri, hdf5.OPTIONS)
    paces = [name for name in ("rate", "speed", "pace") if values[name] is not None]
    if len(paces) > 1:
        raise SourceError(f"{uri.text!r}: {' and '.join(paces)} contradict each other; give one")
    if values["pace"] == "recorded":
        values["speed"] = 1.0
    if not uri.body:
        raise SourceError(f"{uri.text!r}: which file? hdf5:///path/file.h5")
    return hdf5.Recording(Path(uri.body), values["fields"]), values


def _values(uri: Uri, own: Mapping[str, Option]) -> dict[str, Any]:
    return uri.values({**COMMON, **own})


PROTOCOLS: Mapping[str, Callable[[Uri], tuple[Input, dict[str, Any]]]] = {
    "hdf5": _recorded,
    "sim": _simulated,
    "static": _static,
}


def open_source(uri: str) -> Source:
    """Open the input that ``uri`` names.

    Raises:
        SourceError: no such protocol, option, file, or a file that cannot be played; says what was
            seen and what is wanted.
    """
    parts = parse(uri)
    if parts.proto not in PROTOCOLS:
        close = difflib.get_close_matches(parts.proto, PROTOCOLS, n=1)
        hint = f"did you mean {close[0]}://? " if close else ""
        raise SourceError(f"{uri!r}: unknown protocol {parts.proto!r}; {hint}known: {', '.join(PROTOCOLS)}")
    events, values = PROTOCOLS[parts.proto](parts)
    try:
        source = Playback(events, parts, values)
    except BaseException:
        events.close()
        raise
    for reason in source.skipped:
        logger.warning("%s: left out %s", uri, reason)
    return source


def take(source: Source, first: int, count: int, fields: Iterable[str] | None = None) -> Slots:
    """Return ``count`` events from position ``first`` on in memory of their own.

    There are columns for ``fields`` only; None: all. Valid bits are those of the source's schema.

    Raises:
        SourceError: the input has gone bad, or ends before.
    """
    wanted = frozenset(source.schema.names if fields is None else fields)
    schema = Schema(tuple(field for field in source.schema.fields if field.name in wanted))
    slots = Slots.allocate(schema, count)
    source.read(first, slots, frozenset(schema.names))
    return slots
