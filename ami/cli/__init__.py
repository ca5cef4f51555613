"""Talk to people at a terminal: one click group, `ami`, over what a notebook can do as well.

Nothing is decided here. A command asks :mod:`ami.client` (or the offline run) and shows the answer,
as text or as JSON.
"""

from ami.cli.group import ami, main

__all__ = ["ami", "main"]
