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
        "degrees", "radians", "floor", "ceil", "rint", "trunc", "sign", "round",
        "isfinite", "isnan", "isinf",
    )},
    **{name: (getattr(np, name), 2) for name in (
        "arctan2", "hypot", "minimum", "maximum", "copysign", "isclose",
    )},
    "where": (np.where, 3),
    "clip": (np.clip, 3),
}  # fmt: skip

# Those that may have more: round(x, digits), isclose(a, b, relative, absolute).
MOST = {"round": 2, "isclose": 4}
MOST_DIGITS = 300  # of round
FLOAT32_DIGITS = 38


def is_true(value: Any) -> Any:
    """Return whether numbers are true. NaN is a value, and no truth."""
    return (value != 0) & (value == value)


def round_to(value: Any, digits: int) -> Any:
    """Return floats rounded to so many digits behind the point; half goes to the even one."""
    # numpy goes by way of the power of ten, which float32 may not have.
    wide = value.astype(np.float64) if value.dtype != np.float64 and abs(digits) > FLOAT32_DIGITS else value
    rounded = np.round(wide, digits)
    # What overflows on the way has no digits there to be rounded away.
    return np.where(np.isfinite(rounded), rounded, value).astype(value.dtype) if digits else rounded
