"""Name every operation that a graph may use; :mod:`ami.graph.library.base` says what one is.

Each file of this room ends with the tuple of its ``OPERATIONS``, so an operation more touches one file.
Those of other packages are entry points of the group ``ami.operations``; :mod:`ami.operations` has all
that they import.
"""

from ami.graph.library.registry import LIBRARY

__all__ = ["LIBRARY"]
