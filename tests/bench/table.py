"""Turn the output of ``ami bench --json`` into README.md's table: ``python tests/bench/table.py < FILE``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from ami.cli.bench import HEADINGS, cells


def line(words: Iterable[str]) -> str:
    """Return one line of the table."""
    return f"| {' | '.join(words)} |"


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
    print(line([*HEADINGS, "others"]))
    print("|---|---:|---:|---:|---:|---|---|---|---:|")
    for figure in report["figures"]:
        name, *words, limits = cells(figure)
        others = figure["busy"].get("everybody else")
        why = figure["error"] or "; ".join(figure["failures"]) or limits.split(";")[0]
        print(line([f"`{name}`", *words, why, "" if others is None else f"{others:.2f}"]))


if __name__ == "__main__":
    main()
