"""Redraw a part of the terminal in place."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence

import click

from ami.cli.screen import clean, now
from ami.errors import StoreUnavailable

REVERSE, NORMAL = "\x1b[7m", "\x1b[0m"
_END_OF_LINE, _BELOW = "\x1b[K", "\x1b[J"


def title(text: str, trouble: str) -> str:
    """Return the first line of a view that goes on: the time, what it is, what is wrong."""
    return f"{now()}  {text}   Ctrl-C ends" + (f"   ! {trouble}" if trouble else "")


def redraw(
    look: Callable[[], object], frame: Callable[[str, int, int], Sequence[str]], every_s: float
) -> Iterator[None]:
    """Look and draw, again and again; what was above the lines that are drawn stays.

    A store that is being restarted ends nobody's view: what is shown grows old, and says so.

    Args:
        frame: is given what is wrong, and columns and rows of the terminal; each line fits.
    """
    drawn = 0
    while True:
        begin, trouble = time.monotonic(), ""
        try:
            look()
        except StoreUnavailable as error:
            trouble = clean(error, 200)
        columns, rows = shutil.get_terminal_size((100, 24))
        lines = frame(trouble, columns, rows - 1)
        up = f"\x1b[{drawn}F" if drawn else ""
        # In one piece, so that nobody sees half a frame.
        body = "".join(f"{line}{NORMAL}{_END_OF_LINE}\n" for line in lines)
        click.echo(f"{up}{body}{_BELOW}", nl=False)
        drawn = len(lines)
        yield
        time.sleep(max(0.05, begin + every_s - time.monotonic()))
