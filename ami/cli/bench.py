"""`ami bench`: how fast ami is on this machine, beside what the machine could do without it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, option, say, with_session
from ami.cli.screen import rate, table
from ami.cluster.supervised import PROJECT
from ami.lab.against import Pair, compare, median, problems
from ami.lab.bench import run as run_bench

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True)
HEADINGS = ["figure", "value", "spread", "limit", "ratio", "goal", "", "what limits"]


@click.command()
@option(
    "--only names", str, "Measure this figure; may be given several times.", multiple=True, metavar="NAME"
)
@click.argument("more", nargs=-1, metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="A short look: seconds for each, and no sizes of blocks.")
@option(
    "--against", FOLDER, "Another checkout of ami to measure in turn: old beside new.", metavar="CHECKOUT"
)
@option(
    "--rounds", click.IntRange(1, 100), "With --against: of each figure and checkout.", default=2, metavar="N"
)
@with_session
def bench(session: Session, names: tuple[str, ...], more: tuple[str, ...], quick: bool, against: Path | None,
          rounds: int) -> None:  # fmt: skip
    """Measure how fast ami is on this machine.

    Each figure stands beside a limit that is measured in the same run, because the same machine is not
    the same an hour later. Private nodes are started and stopped; nothing stays. --timeout is for each
    measurement. Without NAME all figures are measured but loaded_memory, page_long_growth and
    those of shift, which take 10 minutes each; `--only A B C` and `A B C` are the same.
    """
    only, timeout_s = (*names, *more), session.timeout_s
    if against is not None:
        pairs = compare(against, PROJECT, only, quick=quick, rounds=rounds, timeout_s=timeout_s, say=say)
        session.answer(lambda: {"figures": [pair.to_plain() for pair in pairs]}, lambda: text_of_pairs(pairs))
        if any(pair.gain is None for pair in pairs):
            sys.exit(EXIT_REFUSED)
        return
    report = run_bench(only, quick=quick, timeout_s=timeout_s, say=say)
    session.answer(lambda: report, lambda: text_of(report))
    if any(figure["error"] for figure in report["figures"]):
        sys.exit(EXIT_REFUSED)


def text_of(report: Mapping[str, Any]) -> str:
    """Return the report for people."""
    about, of, figures = report["machine"], report["versions"], report["figures"]
    head = (
        f"{about['processor']}, {about['cores']} cores, load before {about['load_before'][0]}; "
        f"{about['time']}; commit {of['commit']}; Python {of['python']}, numpy {of['numpy']}, {of['server']}"
    )
    lines = [f"{figure['name']}: {said}" for figure in figures if (said := "; ".join(remarks(figure)))]
    return "\n\n".join([head, table(HEADINGS, map(cells, figures), right="lrrrrlll"), "\n".join(lines)])


def cells(figure: Mapping[str, Any]) -> list[str]:
    """Return a line of the table."""
    unit, value, spread, goal = (figure[part] for part in ("unit", "value", "spread", "goal"))
    wanted = f"{'≤' if figure['less_is_better'] else '≥'} {show(goal, unit)}"
    return [
        figure["name"],
        show(value, unit),
        f"{100 * spread / value:.0f} %" if value and spread is not None else "",
        "" if figure["limit"] is None else show(figure["limit"], unit),
        "" if figure["ratio"] is None else f"{figure['ratio']:.2f}",
        "" if goal is None else f"≥ {goal:g} × limit" if figure["goal_of"] == "ratio" else wanted,
        {True: "met", False: "NOT MET", None: ""}[figure["met"]],
        figure["limited_by"],
    ]


def remarks(figure: Mapping[str, Any]) -> list[str]:
    """Return what one must know beside the table: what failed, did not count, or was measured otherwise."""
    said = [f"not measured: {figure['error']}"] if figure["error"] else []
    said += [f"does not count: {failure}" for failure in figure["failures"]] + list(figure["notes"])
    return said + ([f"limit: {figure['limit_is']}"] if figure["limit_is"] else [])


def text_of_pairs(pairs: list[Pair]) -> str:
    """Return two checkouts beside each other, for people."""
    rows, remarks = [], []
    for pair in pairs:
        row = pair.row
        values = (show(median(figures, "value"), row.unit) for figures in (pair.old, pair.new))
        ratios = (median(figures, "ratio") for figures in (pair.old, pair.new))
        gain = "-" if pair.gain is None else f"{pair.gain:.2f} ×"
        rows.append([row.name, *values, gain, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
        remarks += [f"{row.name}, old: {problem}" for problem in problems(pair.old)]
        remarks += [f"{row.name}, new: {problem}" for problem in problems(pair.new)]
    headings = ["figure", "old", "new", "better by", "old / limit", "new / limit"]
    return "\n".join([table(headings, rows, right="lrrrrr"), *([""] if remarks else []), *remarks])


def show(value: float | None, unit: str) -> str:
    """Return a value with its unit, in three digits."""
    if value is None:
        return "-"
    if unit == "events/s":
        return rate(value)
    return f"{value:.0f} {unit}" if 1000 <= abs(value) < 1e6 else f"{value:.3g} {unit}"
