"""Find the export that a URI names: ``prometheus://127.0.0.1:9464``."""

from __future__ import annotations

from collections.abc import Callable

from ami.errors import ConfigError, ExportError, SourceError
from ami.exports.base import Export
from ami.packages import load
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
    make: Callable[[uri.Uri], Export] = load(GROUP, parts.proto, "export", ExportError)
    try:
        return make(parts)
    except SourceError as error:
        raise ConfigError(f"export.uris: {error}") from error
