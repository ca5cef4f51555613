"""Wait, saying why, until a server can be started."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from ami.errors import ConfigError

LOOK_S, SAY_AGAIN_S = 1.0, 30.0


class NotNow(ConfigError):
    """It cannot be started as things are on this machine, which may change: wait, and try again."""


def patiently(prepare: Callable[[], list[str]]) -> list[str]:
    """Return what ``prepare`` returns, as soon as that is possible; say meanwhile why it is not."""
    said, said_at = "", 0.0
    while True:
        try:
            return prepare()
        except NotNow as error:
            now = time.monotonic()
            if str(error) != said or now - said_at >= SAY_AGAIN_S:
                said, said_at = str(error), now
                sys.stderr.write(f"ami: waiting: {error}\n")
            time.sleep(LOOK_S)
