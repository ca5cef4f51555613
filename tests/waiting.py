"""Wait for a fact, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import pytest

# For failing, with a name, what will never come. A fact that comes ends the wait, so patience costs
# nothing, and a machine that stands still for half a minute fails no test. pytest waits longer (setup.cfg).
PATIENCE_S: Final = 100.0
_LOOK_S = 0.01


def wait_until(condition: Callable[[], object], *, what: str) -> None:
    """Look until ``condition()`` is true; fail the test, naming ``what``, when patience is over."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_S:g} s in vain for {what}")
        time.sleep(_LOOK_S)
