"""Say which functions an expression may call: neither Python's others nor numpy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Name: function of arrays, number of arguments.
FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    **{name: (getattr(np, name), 1) for name in (
        "abs", "sqrt", "cbrt", "square", "exp", "expm1", "log", "log2", "log10", "log1p",
        "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
        "degrees", "radians", "floor", "ceil", "rint", "trunc", "sign",
        "isfinite", "isnan", "isinf",
    )},
    **{name: (getattr(np, name), 2) for name in ("arctan2", "hypot", "minimum", "maximum", "copysign")},
    "where": (np.where, 3),
    "clip": (np.clip, 3),
}  # fmt: skip
