"""Several nodes of one cluster, each on a machine of its own, as ``ami chaos --nodes`` has them.

A test is skipped, with the reason, where such machines cannot be made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ami.lab import nodes as lab
from ami.lab.machines import NoMachines, refuse_without_namespaces
from ami.lab.nodes import PORT, MachineNode, Nodes
from tests.node_rig import RUNNING

__all__ = ["PORT", "MachineNode", "Nodes", "nodes"]


@contextmanager
def nodes(count: int = 3, **how: Any) -> Iterator[Nodes]:
    """See :func:`ami.lab.nodes.nodes`."""
    try:
        refuse_without_namespaces()
    except NoMachines as error:
        pytest.skip(str(error))
    with lab.nodes(count, **how) as found:
        RUNNING.extend(found)
        try:
            yield found
        finally:
            RUNNING.clear()
