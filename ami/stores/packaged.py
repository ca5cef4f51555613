"""Find the value types of other installed packages: entry points of the group ``ami.values``."""

from __future__ import annotations

import functools
import logging

GROUP = "ami.values"

logger = logging.getLogger(__name__)


@functools.cache
def value_type(name: str) -> type | None:
    """Return the class that a package has under its own name, None if none has, or it cannot be had."""
    # Takes 0.1 s to import, which only what is unknown is worth.
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=name):
        try:
            found = point.load()
        except (Exception, SystemExit) as error:  # a package of others may raise anything
            logger.warning("value type %s, %s, cannot be imported: %r", name, point.value, error)
            continue
        if isinstance(found, type) and found.__name__ == name:
            return found
        logger.warning("value type %s: %s is no class of that name", name, point.value)
    return None
