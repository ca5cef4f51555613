"""Go through the measurements that were asked for, one after the other, each with a time-out of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ami.errors import AmiError, ConfigError
from ami.lab.bench.figure import Figure
from ami.lab.bench.machine import machine, versions
from ami.lab.bench.measure import Bench, Measure
from ami.lab.bench.measures import MEASURES
from ami.lab.bench.rows import LONG, MAIN, ROWS

# The longest one takes a minute and a half on two cores, of those that are measured without being named.
TIMEOUT_S = 240.0
LONG_TIMEOUT_S = 900.0


class TookTooLong(AmiError):
    """A measurement did not end in time."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured, and on what."""

    machine: dict[str, Any]
    versions: dict[str, str]
    quick: bool
    duration_s: float
    figures: tuple[Figure, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the figures that could not be measured."""
        return tuple(figure.row.name for figure in self.figures if figure.error)

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "quick": self.quick,
            "duration_s": round(self.duration_s, 1),
            "figures": [figure.to_plain() for figure in self.figures],
        }


def wanted_rows(only: Collection[str], quick: bool) -> tuple[str, ...]:
    """Return the names of the figures to measure, in the order of the table.

    A quick look leaves scaling out; what takes long is measured only when it is named.

    Raises:
        ConfigError: there is no such figure.
    """
    unknown = sorted(set(only) - set(ROWS))
    if unknown:
        raise ConfigError(f"no figure {', '.join(map(repr, unknown))}; known: {', '.join(ROWS)}")
    if only:
        return tuple(name for name in ROWS if name in only)
    return MAIN if quick else tuple(name for name in ROWS if name not in LONG)


def run(
    only: Collection[str] = (),
    *,
    quick: bool = False,
    timeout_s: float | None = None,
    say: Callable[[str], object],
) -> Report:
    """Measure the figures ``only`` (none: all).

    Args:
        timeout_s: for each measurement; None: 240, or 900 for one that takes long. One that fails or
            takes longer leaves its figures without a value, with the reason.
        say: is told what is done now.

    Raises:
        ConfigError: there is no such figure.
    """
    names = wanted_rows(only, quick)
    started, about, of = time.monotonic(), machine(), versions()
    found: dict[str, Figure] = {}
    with _terminable():
        for measure, its_names in MEASURES.items():
            mine = [name for name in names if name in its_names]
            if mine:
                say(", ".join(mine))
                within_s = timeout_s or (LONG_TIMEOUT_S if mine[0] in LONG else TIMEOUT_S)
                found |= _figures(measure, mine, Bench(quick, lambda text: say(f"  {text}")), within_s)
    figures = tuple(found[name] for name in names)
    return Report(about, of, quick, time.monotonic() - started, figures)


def _figures(measure: Measure, names: list[str], bench: Bench, timeout_s: float) -> dict[str, Figure]:
    started = time.monotonic()
    try:
        with _within(timeout_s):
            measured = measure(bench)
    except (AmiError, OSError) as error:
        bench.say(f"failed: {error}")
        return {name: Figure(row=ROWS[name], measured=None, error=str(error)) for name in names}
    bench.say(f"took {time.monotonic() - started:.1f} s")
    return {name: Figure(row=ROWS[name], measured=measured[name]) for name in names}


@contextmanager
def _within(timeout_s: float) -> Iterator[None]:
    """End what is done here by TookTooLong when it takes longer."""

    def late(_signum: int, _frame: FrameType | None) -> None:
        raise TookTooLong(f"not done after {timeout_s:g} s; --timeout gives it more")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this as Ctrl-C does, so that nodes and children are stopped."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signums = (signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.signal(signum, interrupt) for signum in signums}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
