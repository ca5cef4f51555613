"""Measure two checkouts in turn, row by row, so that both meet the same machine: old beside new.

Each is measured by its own ``bin/ami bench``, in processes of its own, both with the Python that runs this.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ami.cluster.signals import hold_signals, let_signals_come, stoppable
from ami.errors import ConfigError
from ami.lab.bench import choose_rows, group
from ami.lab.figures import Row


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of both checkouts: for each, a figure a round, as its ``ami bench --json`` says it."""

    row: Row
    old: Sequence[Mapping[str, Any]]
    new: Sequence[Mapping[str, Any]]

    @property
    def gain(self) -> float | None:
        """How many times better the new one is: 2 is twice as fast, or half as much of a cost."""
        old, new = median(self.old, "value"), median(self.new, "value")
        if not old or not new:
            return None
        return old / new if self.row.less else new / old

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        row = self.row
        plain: dict[str, Any] = {"name": row.name, "unit": row.unit, "less_is_better": row.less}
        for which, figures in (("old", self.old), ("new", self.new)):
            plain[which] = {field: median(figures, field) for field in ("value", "ratio")}
            plain[which]["values"] = [one.get("value") for one in figures]
            plain[which]["problems"] = problems(figures)
        return {**plain, "gain": self.gain}


def median(figures: Iterable[Mapping[str, Any]], field: str) -> float | None:
    """Return the median over the rounds, without those that have none."""
    numbers = [one[field] for one in figures if one.get(field) is not None]
    return statistics.median(numbers) if numbers else None


def problems(figures: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why something was not measured, or does not count."""
    said = (text for one in figures for text in (one.get("error"), *one.get("failures", ())) if text)
    return list(dict.fromkeys(said))


def compare(
    old: Path,
    new: Path,
    only: Collection[str] = (),
    *,
    quick: bool,
    rounds: int,
    timeout_s: float | None = None,
    say: Callable[[str], object],
) -> list[Pair]:
    """Measure the figures ``only`` (none: all) of two checkouts, ``rounds`` times each.

    Raises:
        ConfigError: there is no such figure, or no ``bin/ami`` in a checkout.
    """
    rows = choose_rows(only, quick)
    for tree in (old, new):
        if not (tree / "bin" / "ami").is_file():
            raise ConfigError(f"{tree} is no checkout of ami: it has no bin/ami")
    options = ["--quick"] * quick + ([] if timeout_s is None else ["--timeout", repr(timeout_s)])
    pairs: list[Pair] = []
    with stoppable():
        for mine in group(rows):
            names = [row.name for row in mine]
            found: dict[str, list[Mapping[str, Any]]] = {"old": [], "new": []}
            # Old, new, new, old: a machine that grows slower does so to both.
            for number in range(rounds):
                for which, tree in (("old", old), ("new", new))[:: -1 if number % 2 else 1]:
                    say(f"{', '.join(names)}: {which}, {tree}, round {number + 1} of {rounds}")
                    found[which].append(_figures(tree, names, options))
            pairs += (
                Pair(row, *([one[row.name] for one in found[w]] for w in ("old", "new"))) for row in mine
            )
    return pairs


def _figures(tree: Path, names: list[str], options: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return the figures of a checkout by name; one that has none says why."""
    command = [str(tree / "bin" / "ami"), "bench", "--json", *options]
    for name in names:
        command += ["--only", name]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment["AMI_PYTHON"] = sys.executable
    child: subprocess.Popen[str] | None = None
    try:
        with hold_signals():
            child = subprocess.Popen(
                command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                preexec_fn=let_signals_come,  # noqa: PLW1509  # there are no threads here
            )  # fmt: skip
        output, said = child.communicate()
    except BaseException:
        if child is not None:
            child.terminate()
            child.wait()  # it stops its node
        raise
    try:
        found = {one["name"]: one for one in json.loads(output)["figures"]}
    except (ValueError, KeyError, TypeError):
        error = said.strip().splitlines()[-1:] or [f"bin/ami bench ended with {child.returncode}"]
        found = {}
    else:
        error = ["it has no such figure"]
    return {name: found.get(name, {"error": error[0]}) for name in names}
