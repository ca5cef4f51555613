"""`ami get NAME`: one result, its value and its envelope."""

from __future__ import annotations

import click

from ami.cli.completion import complete_results
from ami.cli.options import Session, with_session
from ami.cli.picture import lines
from ami.cli.results import flags, reasons
from ami.cli.screen import clean, clock, duration, number
from ami.result import Result


@click.command()
@click.argument("name", shell_complete=complete_results)
@click.option("--wait", "wait_s", type=click.FloatRange(0, 86400), default=0.0, metavar="S",
              help="Wait so long for the first value, seconds.")  # fmt: skip
@with_session
def get(session: Session, name: str, wait_s: float) -> None:
    """Show result NAME: its value, and how much of the events is in it."""
    with session.connect() as client:
        result = client.get(name, wait_s=wait_s)
    session.answer(lambda: result, lambda: card(result))


def card(result: Result) -> str:
    """Return a result as text: the value, then the envelope."""
    value = [] if result.value is None and result.error else lines(result.value, result.label)
    value += [f"error: {clean(reason)}" for reason in reasons(result)]
    return "\n".join([clean(result.name), *(f"  {line}" for line in value), "", *envelope(result)])


def envelope(result: Result) -> list[str]:
    """Return what is in a result, in four lines."""
    events = result.events
    complete = flags(result) or "complete"
    counts = f"{number(events.used)} used of {number(events.expected)} expected"
    nodes = ", ".join(result.nodes) or "none"
    workers = f"{len(result.workers)} workers" if len(result.workers) != 1 else "1 worker"
    graph = f"graph version {result.graph_version}, {clean(result.graph_hash)}"
    first, last = result.intervals
    which = f"intervals {first} to {last}" if first < last else f"interval {last}"
    which = f"run {result.run}, {which} of {duration(result.interval_ns / 1e9)}"
    begin, end = (clock(time_ns, "milliseconds") for time_ns in result.time_ns)
    long = duration((result.time_ns[1] - result.time_ns[0]) / 1e9)
    every = f"; so large that it comes every {duration(result.every_s)}" if result.every_s else ""
    return [
        f"events   {counts}; {clean(complete)}",
        f"window   {clean(result.window)} ({which}), events from {begin} to {end}, {long}",
        f"from     {clean(nodes)}; {workers}; {graph}",
        f"age      {duration(result.age_s())}{every}",
    ]
