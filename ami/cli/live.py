"""Redraw a part of the terminal in place."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ami.cli.screen import now

REVERSE, NORMAL = "\x1b[7m", "\x1b[0m"
_END_OF_LINE, _BELOW = "\x1b[K", "\x1b[J"


def title(text: str, trouble: str) -> str:
    """Return the first line of a view that goes on: the time, what it is, what is wrong."""
    return f"{now()}  {text}   Ctrl-C ends" + (f"   ! {trouble}" if trouble else "")


class Redrawn:
    """Lines of the terminal, the ones drawn last; what was above them stays."""

    def __init__(self) -> None:
        self._drawn = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Put ``lines`` in place of those drawn before; each fits in a line of the terminal."""
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        # In one piece, so that nobody sees half a frame.
        body = "".join(f"{line}{NORMAL}{_END_OF_LINE}\n" for line in lines)
        click.echo(f"{up}{body}{_BELOW}", nl=False)
        self._drawn = len(lines)
