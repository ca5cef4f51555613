"""Open an input of events by its URI: ``proto://body?option=value``.

Start with :mod:`ami.sources.base`, which says what a source is. ``docs/sources.md`` has each
protocol with its options, and how to add one: a module in ``recorded``, ``simulated`` or ``live`` that ends
with its ``PROTOCOLS``, or an installed package with an entry point in the group ``ami.sources``.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterable, Mapping

from ami.errors import SourceError
from ami.event import Slots
from ami.packages import load
from ami.sources import live, recorded, simulated
from ami.sources.base import LiveInput, Opener, Source, Span
from ami.sources.dealing import deal
from ami.sources.playback import Playback
from ami.sources.stream import Stream
from ami.sources.uri import parse

__all__ = ["PROTOCOLS", "Source", "Span", "find_opener", "open_source", "take"]

logger = logging.getLogger(__name__)

GROUP = "ami.sources"  # of entry points: the name is the protocol, the object an Opener


def _find_built_in() -> dict[str, Opener]:
    found: dict[str, Opener] = {}
    for room in (recorded, simulated, live):
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            found.update(getattr(importlib.import_module(module.name), "PROTOCOLS", {}))
    return dict(sorted(found.items()))


PROTOCOLS: Mapping[str, Opener] = _find_built_in()


def open_source(uri: str) -> Source:
    """Open the input that ``uri`` names.

    Raises:
        SourceError: no such protocol, option, file, or a file that cannot be played; says what was
            seen and what is wanted.
    """
    parts = parse(uri)
    events, values = find_opener(uri)(parts)
    try:
        source: Source
        if isinstance(events, Stream):
            source = events
        elif isinstance(events, LiveInput):
            source = Stream(events, parts, values)
        else:
            source = deal(Playback(events, parts, values), parts, values)
    except BaseException:
        events.close()
        raise
    for reason in source.skipped:
        logger.warning("%s: left out %s", uri, reason)
    return source


def find_opener(uri: str) -> Opener:
    """Return what opens the inputs of a URI's protocol.

    Raises:
        SourceError: there is no such protocol, or it is no URI.
    """
    protocol = parse(uri).proto
    try:
        return PROTOCOLS.get(protocol) or load(GROUP, protocol, "protocol", SourceError, PROTOCOLS)
    except SourceError as error:
        raise SourceError(f"{uri!r}: {error}") from error


def take(source: Source, first: int, count: int, fields: Iterable[str] | None = None) -> Slots:
    """Return ``count`` events from position ``first`` on in memory of their own.

    There are columns for ``fields`` only; None: all.

    Raises:
        SourceError: the input has gone bad, or ends before.
    """
    schema = source.schema
    if fields is not None:
        schema = schema.select(schema.with_lengths(fields))
    slots = Slots.allocate(schema, count)
    source.read(first, slots, schema.name_set)
    return slots
