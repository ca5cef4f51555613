"""Measure two checkouts in turn, row by row, so that both meet the same machine: old beside new.

Each is measured by its own ``bin/ami bench``, in processes of its own, both with the Python that runs this.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ami.cluster.signals import stoppable
from ami.errors import ConfigError
from ami.lab.bench import wanted_rows
from ami.lab.figures import Row


@dataclass(frozen=True, slots=True)
class Side:
    """What one checkout gave for a row: a figure for each round, as ``ami bench --json`` says it."""

    figures: tuple[Mapping[str, Any], ...]

    @property
    def value(self) -> float | None:
        return self._median("value")

    @property
    def ratio(self) -> float | None:
        """How near the values come to their limits, which each round measured, too."""
        return self._median("ratio")

    @property
    def problems(self) -> list[str]:
        """Why it was not measured, or does not count."""
        found = [
            text for one in self.figures for text in (one.get("error"), *one.get("failures", ())) if text
        ]
        return list(dict.fromkeys(found))

    def _median(self, field: str) -> float | None:
        numbers = [one[field] for one in self.figures if one.get(field) is not None]
        return statistics.median(numbers) if numbers else None

    def to_plain(self) -> dict[str, Any]:
        values = [one.get("value") for one in self.figures]
        return {"value": self.value, "ratio": self.ratio, "values": values, "problems": self.problems}


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of both checkouts."""

    row: Row
    old: Side
    new: Side

    @property
    def gain(self) -> float | None:
        """How many times better the new one is: 2 is twice as fast, or half as much of a cost."""
        old, new = self.old.value, self.new.value
        if not old or not new:
            return None
        return old / new if self.row.less else new / old

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        return {
            "name": self.row.name,
            "unit": self.row.unit,
            "less_is_better": self.row.less,
            "gain": self.gain,
            "old": self.old.to_plain(),
            "new": self.new.to_plain(),
        }


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
    rows = wanted_rows(only, quick)
    for tree in (old, new):
        if not (tree / "bin" / "ami").is_file():
            raise ConfigError(f"{tree} is no checkout of ami: it has no bin/ami")
    options = ["--quick"] * quick + ([] if timeout_s is None else ["--timeout", repr(timeout_s)])
    pairs: list[Pair] = []
    with stoppable():
        for _, together in itertools.groupby(rows, key=lambda row: row.measure):
            mine = list(together)
            names = [row.name for row in mine]
            found: dict[str, list[Mapping[str, Any]]] = {"old": [], "new": []}
            # Old, new, new, old: a machine that grows slower does so to both.
            for number in range(rounds):
                for which, tree in (("old", old), ("new", new))[:: -1 if number % 2 else 1]:
                    say(f"{', '.join(names)}: {which}, {tree}, round {number + 1} of {rounds}")
                    found[which].append(_figures(tree, names, options))
            for row in mine:
                sides = (Side(tuple(one[row.name] for one in found[which])) for which in ("old", "new"))
                pairs.append(Pair(row, *sides))
    return pairs


def _figures(tree: Path, names: list[str], options: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return the figures of a checkout by name; one that has none says why."""
    command = [str(tree / "bin" / "ami"), "bench", "--json", *options]
    for name in names:
        command += ["--only", name]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment["AMI_PYTHON"] = sys.executable
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            output, said = child.communicate()
        except BaseException:
            child.terminate()  # and wait for it, at the end of the block: it stops its node
            raise
    try:
        found = {one["name"]: one for one in json.loads(output)["figures"]}
    except (ValueError, KeyError, TypeError):
        error = said.strip().splitlines()[-1:] or [f"bin/ami bench ended with {child.returncode}"]
        found = {}
    else:
        error = ["it has no such figure"]
    return {name: found.get(name, {"error": error[0]}) for name in names}
