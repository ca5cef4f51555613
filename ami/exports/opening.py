"""Find the export that a URI names: ``prometheus://127.0.0.1:9464``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from ami.errors import ConfigError, ExportError, SourceError
from ami.exports.base import Export
from ami.sources import uri

GROUP = "ami.exports"


def open_export(text: str) -> Export:
    """Return the export that ``text`` names; it is not started.

    Raises:
        ConfigError: it is no URI, or an option is unknown or wrong.
        ExportError: no installed package has such an export, or the one that has it cannot be imported.
    """
    try:
        parts = uri.parse(text)
    except SourceError as error:
        raise ConfigError(f"export.uris: {error}") from error
    found = {point.name: point for point in entry_points(group=GROUP)}
    if parts.proto not in found:
        raise ExportError(
            f"no export {parts.proto!r} is installed on this machine; there is {', '.join(sorted(found))}. "
            f"Install the package that has it (entry point {parts.proto!r} of the group {GROUP!r})"
        )
    point = found[parts.proto]
    try:
        make: Callable[[uri.Uri], Export] = point.load()
    except Exception as error:  # a package of others: whatever is wrong with it is told by its name
        name = point.dist.name if point.dist else "?"
        raise ExportError(f"export {parts.proto!r} of {name} cannot be imported: {error!r}") from error
    try:
        return make(parts)
    except SourceError as error:
        raise ConfigError(f"export.uris: {error}") from error
