"""Say what travels between processes: one frozen class a message, stored by the names of its fields.

A message of other fields or of another format is refused, with both lists, and never misread. Requests and
answers are plain data on a queue, because clients send them. Importing this room lets results travel; a
message is known once its own file was imported, so that a client need not import how graphs are run.
"""

from __future__ import annotations

import importlib
import pkgutil

from ami.result import Events, Result
from ami.stores import codec
from ami.values import VALUE_TYPES, Label

for _type in (*VALUE_TYPES, Events, Label, Result):
    codec.register(_type)


def know_all() -> None:
    """Let every message be read: for who shows whatever lies in a store."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
