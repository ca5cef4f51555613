"""Say what a daemon's work is, without its process: what the runtime loops and tests step by hand."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol


class Stage(Protocol):
    """One daemon's work, without its process: what tests drive step by step."""

    @property
    def state(self) -> str:
        """Say in a few words what it does now, for people."""

    @property
    def counters(self) -> Mapping[str, float]:
        """Numbers for the heartbeat, by the names of the glossary."""

    def step(self) -> bool:
        """Do one short piece of work, or wait for some for at most 0.2 s; say whether there was any."""

    def close(self) -> None:
        """Hand on what was accepted and let go of everything. Called exactly once."""


class Stopping(threading.Event):
    """Set when the process was asked to stop. Stages wait on it instead of sleeping."""
