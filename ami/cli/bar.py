"""Draw a progress bar on stderr, for a person."""

from __future__ import annotations

import time
from typing import Self

import click

from ami.cli.screen import duration

COLUMNS = 30
REDRAW_S = 0.2


class Bar:
    """Nothing is drawn when ``shown`` is False, and no more than a few times a second."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._drawn_at = 0.0
        self._began = time.monotonic()

    def count(self, done: int, total: int, things: str, what: str) -> None:
        """Draw how many of some things are done, how long the others will take, and what is done now."""
        left_s = (time.monotonic() - self._began) / done * (total - done) if done else 0.0
        left = f", {duration(left_s)} left" if done else ""
        self.draw(done, total, f"{done} of {total} {things}{left}: {what}")

    def draw(self, done: int, total: int | None, text: str) -> None:
        now = time.monotonic()
        if self._shown and now - self._drawn_at >= REDRAW_S:
            self._drawn_at = now
            filled = round(done / total * COLUMNS) if total else 0
            click.echo(f"\r{'━' * filled}{'╌' * (COLUMNS - filled)} {text}\x1b[K", nl=False, err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Leave no trace."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
