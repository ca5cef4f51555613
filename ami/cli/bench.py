"""`ami bench`: how fast ami is on this machine, beside what the machine could do without it."""

from __future__ import annotations

from pathlib import Path

import click

from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, with_session
from ami.cli.screen import table
from ami.cluster.supervised import PROJECT
from ami.lab.against import Pair, compare, median, problems
from ami.lab.bench import Report
from ami.lab.bench import run as run_bench
from ami.lab.figures import Figure

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@click.command()
@click.option(
    "--only", "names", multiple=True, metavar="NAME", help="Measure this figure; may be given several times."
)
@click.argument("more", nargs=-1, metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="A short look: seconds for each, and no scaling.")
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    metavar="CHECKOUT",
    help="Measure another checkout of ami in turn with this one, and show old beside new.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    metavar="N",
    help="With --against: how often each of the two measures a figure.",
)
@with_session
@click.pass_context
def bench(
    context: click.Context,
    session: Session,
    names: tuple[str, ...],
    more: tuple[str, ...],
    quick: bool,
    against: Path | None,
    rounds: int,
) -> None:  # fmt: skip
    """Measure how fast ami is on this machine.

    Each figure stands beside a limit that is measured in the same run, because the same machine is not
    the same an hour later. Private nodes are started and stopped; nothing stays. --timeout is for each
    measurement. Without NAME all figures are measured but loaded_memory, which takes 10 minutes;
    `--only A B C` and `A B C` are the same.
    """
    only, timeout_s = (*names, *more), session.timeout_s

    def say(text: str) -> None:
        click.echo(text, err=True)

    if against is not None:
        pairs = compare(against, PROJECT, only, quick=quick, rounds=rounds, timeout_s=timeout_s, say=say)
        session.answer(lambda: {"figures": [pair.to_plain() for pair in pairs]}, lambda: text_of_pairs(pairs))
        if any(pair.gain is None for pair in pairs):
            context.exit(EXIT_REFUSED)
        return
    report = run_bench(only, quick=quick, timeout_s=timeout_s, say=say)
    session.answer(report.to_plain, lambda: text_of(report))
    if report.failed:
        context.exit(EXIT_REFUSED)


def text_of(report: Report) -> str:
    """Return the report for people."""
    about, of = report.machine, report.versions
    head = (
        f"{about['processor']}, {about['cores']} cores, load before {about['load_before'][0]}; "
        f"{about['time']}; commit {of['commit']}; Python {of['python']}, numpy {of['numpy']}, {of['server']}"
    )
    rows = [
        [
            figure.row.name,
            show(figure.value, figure.row.unit),
            _spread(figure),
            _limit(figure),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            _goal(figure),
            {True: "met", False: "NOT MET", None: ""}[figure.met],
            figure.measured.limited_by,
        ]
        for figure in report.figures
    ]
    headings = ["figure", "value", "spread", "limit", "ratio", "goal", "", "what limits"]
    parts = [head, table(headings, rows, right="lrrrrlll"), *remarks(report)]
    return "\n\n".join(part for part in parts if part)


def remarks(report: Report) -> list[str]:
    """Return what one must know beside the table: what failed, did not count, or was measured otherwise."""
    lines = []
    for figure in report.figures:
        measured = figure.measured
        said = [f"not measured: {figure.error}"] if figure.error else []
        said += [f"does not count: {failure}" for failure in measured.failures] + list(measured.notes)
        said += [f"limit: {measured.limit_is}"] if measured.limit_is else []
        if said:
            lines.append(f"{figure.row.name}: {'; '.join(said)}")
    return ["\n".join(lines)]


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
        for factor, letter in UNITS:
            if value >= factor:
                return f"{value / factor:.3g} {letter}/s"
        return f"{value:.3g} /s"
    if 1000 <= abs(value) < 1e6:
        return f"{value:.0f} {unit}"
    return f"{value:.3g} {unit}"


def _spread(figure: Figure) -> str:
    if figure.spread is None or not figure.value:
        return ""
    return f"{100 * figure.spread / figure.value:.0f} %"


def _limit(figure: Figure) -> str:
    limit = figure.measured.limit
    return "" if limit is None else show(limit, figure.row.unit)


def _goal(figure: Figure) -> str:
    row = figure.row
    if row.goal is None:
        return ""
    if row.goal_of == "ratio":
        return f"≥ {row.goal:g} × limit"
    return f"{'≤' if row.less else '≥'} {show(row.goal, row.unit)}"
