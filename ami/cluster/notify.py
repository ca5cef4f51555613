"""Tell systemd how a service is, where it is one: sd_notify, in the ten lines that it takes.

(Rejected: libsystemd's own, by a package that has to be built against it.)
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


class Notifier:
    """The socket at which systemd listens to this process, and to it only: children do not inherit it."""

    def __init__(self) -> None:
        self._place = os.environ.get("NOTIFY_SOCKET", "")
        for name in VARIABLES:
            os.environ.pop(name, None)

    def tell(self, text: str) -> None:
        """Tell it, ``READY=1`` say; nothing happens where nobody listens."""
        if not self._place:
            return
        # "@" stands for the zero byte of a name that is no file.
        place = "\0" + self._place[1:] if self._place.startswith("@") else self._place
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.connect(place)
            line.send(text.encode())
