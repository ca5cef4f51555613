"""`ami run-control`: begin and end runs and steps where no data acquisition does."""

from __future__ import annotations

import click

from ami.cli.group import Group
from ami.cli.options import Session, with_session
from ami.cli.screen import clean
from ami.client.run_control import RunBorder


@click.group("run-control", cls=Group)
def run_control() -> None:
    """Begin and end runs, and steps within them, on all nodes at one border of event time.

    For inputs that say neither themselves: streams and simulations. Where a data acquisition or a recording
    has runs of its own it is refused, with the reason. Whoever may edit the graph may do it.
    """


def order(session: Session, action: str, value: float = 0.0) -> None:
    """Give an order, and say what came of it."""
    with session.connect() as client:
        found = client.order(action, value)
    session.answer(found.to_plain, lambda: tell(found))


def tell(found: RunBorder) -> str:
    """Return in words what an order came to."""
    what = {
        "begin": f"run {found.run} begins",
        "end": f"run {found.run} ended",
        "step": f"step {found.step} of run {found.run} begins, value {found.value:g}",
        "end-step": f"step {found.step} of run {found.run} ended",
    }[found.action]
    behind = f"; still to come there: {', '.join(found.behind)}" if found.behind else ""
    nodes = ", ".join(found.nodes) or "no node"
    return clean(f"{what}, with events from {found.time_ns} ns on, on {nodes}{behind}")


@run_control.command()
@with_session
def begin(session: Session) -> None:
    """Begin a run; the one that goes on ends there."""
    order(session, "begin")


@run_control.command()
@with_session
def end(session: Session) -> None:
    """End the run. Its results stay; events are of no run, and are passed over, until another begins."""
    order(session, "end")


@run_control.command()
@click.argument("value", type=float, required=False)
@click.option("--end", "ends", is_flag=True, help="End the step that goes on, and begin none.")
@with_session
def step(session: Session, value: float | None, ends: bool) -> None:
    """Begin a step of a scan, whose value is VALUE; the one that goes on ends there."""
    if ends == (value is not None):
        raise click.UsageError("give the value of the step that begins, or --end")
    order(session, "end-step" if ends else "step", value or 0.0)
