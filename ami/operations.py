"""Write operations for ami in a package of your own: all that such a package imports.

What stands in ``__all__`` stays as it is. An operation is a class of :class:`Function` or :class:`Reduction`,
which say what each method must do, and an entry point of the group ``ami.operations`` under the operation's
name. What a reduction gives is a number, an array, or a :class:`Value`, whose class is an entry point of the
group ``ami.values`` under its own name:

    [options.entry_points]
    ami.operations =
        spectrum = beamline.spectra:Spectra
    ami.values =
        Spectrum = beamline.spectra:Spectrum

The states of a reduction are None, numbers, texts, numpy arrays, and tuples and dicts of these. The
package must be installed where graphs are written, on every node, and where results are read. Where it is
missing, the results behind its operations fail and say so; nothing else does. ``tests/plugin`` is an example.
"""

from ami.errors import GraphError
from ami.event import Array
from ami.graph.kind import Kind
from ami.graph.library.base import (
    NO_STAMPS,
    Function,
    Reduction,
    State,
    integer,
    is_numeric,
    number,
    require_scalar,
)
from ami.ragged import Ragged
from ami.values import NO_LABEL, Axis, Label, Part, Value

__all__ = [
    "NO_LABEL",
    "NO_STAMPS",
    "Array",
    "Axis",
    "Function",
    "GraphError",
    "Kind",
    "Label",
    "Part",
    "Ragged",
    "Reduction",
    "State",
    "Value",
    "integer",
    "is_numeric",
    "number",
    "require_scalar",
]
