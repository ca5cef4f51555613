"""`ami watch NAME…`: results as they come, redrawn in a terminal, line by line in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from contextlib import suppress

import click

from ami.cli.completion import complete_results
from ami.cli.get import card
from ami.cli.live import NORMAL, REVERSE, redraw, title
from ami.cli.options import Session, to_json, with_session
from ami.cli.results import flags, one_line_of
from ami.cli.screen import clean, cut, duration, now, number, table
from ami.client import Client
from ami.client.updates import Updates
from ami.errors import AmiError
from ami.result import Result

REDRAW_S = 0.25
WAIT_S = 3600.0  # without --timeout: how long one wait is, not how many there are
STALE_S = 2.0  # results come once per interval; older than this and than five intervals is stale
STALE_INTERVALS = 5


@click.command()
@click.argument("names", nargs=-1, shell_complete=complete_results)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after so many updates.")
@with_session
def watch(session: Session, names: tuple[str, ...], count: int | None) -> None:
    """Follow results NAME... (all, without a name) until Ctrl-C.

    In a terminal the view is redrawn four times a second. In a pipe each update is a line, with
    --json an object. With --timeout it gives up, with exit code 1, when nothing new came for so long.
    """
    wanted = names or None
    with session.connect() as client, suppress(KeyboardInterrupt):  # how a person ends it
        for missing in sorted(set(names) - client.catalogue().keys()):
            click.echo(f"ami: there is no result {missing!r} yet; waiting for it", err=True)
        if sys.stdout.isatty() and not session.as_json:
            _View(client, wanted, session.timeout_s).follow(count)
        else:
            _print_updates(client.updates(wanted), session, count)


def stale(result: Result) -> bool:
    """Return whether a result is older than it should be while events flow."""
    return result.age_s() > max(STALE_S, STALE_INTERVALS * result.interval_ns / 1e9)


def _print_updates(updates: Updates, session: Session, count: int | None) -> None:
    printed = 0
    while count is None or printed < count:
        found = updates.take(WAIT_S if session.timeout_s is None else session.timeout_s)
        if not found and session.timeout_s is not None:
            raise _silence(session.timeout_s)
        for result in list(found.values())[: None if count is None else count - printed]:
            click.echo(to_json(result) if session.as_json else _line(result))
            printed += 1


def _silence(timeout_s: float) -> AmiError:
    return AmiError(f"nothing new within {timeout_s:g} s; `ami status` says what runs")


def _line(result: Result) -> str:
    return f"{now('milliseconds')}  {clean(result.name)}  {one_line_of(result)}  {_envelope(result)}"


def _envelope(result: Result) -> str:
    counts = f"{number(result.events.used)} of {number(result.events.expected)} events"
    return ", ".join([counts, f"age {duration(result.age_s())}", *_marks(result)])


def _marks(result: Result) -> list[str]:
    return [word for word in ("STALE" if stale(result) else "", clean(flags(result))) if word]


class _View:
    """The part of the terminal that is redrawn."""

    def __init__(self, client: Client, names: Collection[str] | None, timeout_s: float | None) -> None:
        self._client = client
        self._names = names
        self._timeout_s = timeout_s
        self._updates: Updates | None = None
        self._results: dict[str, Result] = {}
        self._seen = 0
        self._heard_at = time.monotonic()

    def follow(self, count: int | None) -> None:
        """Redraw until ``count`` updates came.

        Raises:
            AmiError: nothing came within the time-out.
        """
        for _ in redraw(self._look, self._frame, REDRAW_S):
            if count is not None and self._seen >= count:
                return
            if self._timeout_s is not None and time.monotonic() - self._heard_at > self._timeout_s:
                raise _silence(self._timeout_s)

    def _look(self) -> None:
        if self._updates is None:
            self._updates = self._client.updates(self._names)
        if found := self._updates.take(REDRAW_S):
            self._results |= found
            self._seen, self._heard_at = self._seen + len(found), time.monotonic()

    def _frame(self, trouble: str, columns: int, rows: int) -> list[str]:
        lines = [cut(title(f"{len(self._results)} results", trouble), columns), ""]
        shown = list(self._results.values())
        if not shown:
            return [*lines, "nothing yet"]
        if len(shown) == 1 and rows > len(lines) + len(card(shown[0]).splitlines()):
            mark = f"{REVERSE} STALE {NORMAL}" if stale(shown[0]) else ""
            return [*lines, *(cut(line, columns) for line in card(shown[0]).splitlines()), mark]
        results = sorted(shown, key=lambda r: r.name)[: rows - len(lines) - 1]
        text = table(["result", "age", "used", "of", "", "value"], [_row(r) for r in results], right="lrrrll")
        heading, *body = (cut(line, columns) for line in text.splitlines())
        marked = [(REVERSE if stale(r) else "") + line for r, line in zip(results, body, strict=True)]
        return [*lines, heading, *marked]


def _row(result: Result) -> list[object]:
    events = result.events
    counts = number(events.used), number(events.expected)
    value = one_line_of(result, 24)
    return [result.name, duration(result.age_s()), *counts, ", ".join(_marks(result)), value]
