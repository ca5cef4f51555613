"""Turn the output of ``ami bench --json`` into README.md's table: ``python tests/bench/table.py < FILE``."""

from __future__ import annotations

import json
import sys
from typing import Any

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float | None, unit: str) -> str:
    """Return three digits and the unit."""
    if value is None:
        return "–"
    if unit == "events/s":
        for factor, letter in UNITS:
            if value >= factor:
                return f"{value / factor:.3g} {letter} events/s"
    return f"{value:.0f} {unit}" if 1000 <= value < 1e6 else f"{value:.3g} {unit}"


def goal(figure: dict[str, Any]) -> str:
    """Return what is to be reached."""
    if figure["goal"] is None:
        return ""
    if figure["goal_of"] == "ratio":
        return f"≥ {figure['goal']:g} × limit"
    return f"{'≤' if figure['less_is_better'] else '≥'} {number(figure['goal'], figure['unit'])}"


def row(figure: dict[str, Any]) -> str:
    """Return one line of the table."""
    value, spread = figure["value"], figure["spread"]
    others = figure["busy"].get("everybody else")
    cells = [
        f"`{figure['name']}`",
        number(value, figure["unit"]),
        f"{100 * spread / value:.0f} %" if value and spread is not None else "",
        number(figure["limit"], figure["unit"]) if figure["limit"] else "",
        "" if figure["ratio"] is None else f"{figure['ratio']:.2f}",
        goal(figure),
        {True: "met", False: "**not met**", None: ""}[figure["met"]],
        figure["error"] or "; ".join(figure["failures"]) or figure["limited_by"].split(";")[0],
        "" if others is None else f"{others:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the heading and the table."""
    report = json.load(sys.stdin)
    machine, versions = report["machine"], report["versions"]
    print(
        f"Commit {versions['commit']}, {machine['time']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}, "
        f"load before {machine['load_before'][0]}; "
        f"Python {versions['python']}, numpy {versions['numpy']}, redis-py {versions['redis']}, "
        f"{versions['server'].split(' sha')[0]}; {report['duration_s']:.0f} s in all.\n"
    )
    print("| figure | value | spread | limit | ratio | goal | | what limits | others |")
    print("|---|---:|---:|---:|---:|---|---|---|---:|")
    for figure in report["figures"]:
        print(row(figure))


if __name__ == "__main__":
    main()
