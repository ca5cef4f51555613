"""Wait for a fact, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

_LOOK_S = 0.01


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Look until ``condition()`` is true; fail the test, naming ``what``, after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {within_s:g} s in vain for {what}")
        time.sleep(_LOOK_S)
