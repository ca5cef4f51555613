"""Two checkouts measured in turn: what is asked of each, and how the two stand beside each other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ami.cli.bench import text_of_pairs
from ami.errors import ConfigError
from ami.lab.against import Pair, compare
from tests.waiting import PATIENCE_S, wait_until


def checkout(folder: Path, *figures: dict[str, Any], says: str = "", code: int = 0) -> Path:
    """Make a checkout whose bench notes in ../calls how it was called, and prints these figures."""
    path = folder / "bin" / "ami"
    path.parent.mkdir(parents=True)
    (folder / "answer").write_text(json.dumps({"figures": figures}) if figures else says)
    path.write_text(
        f"""#!/bin/sh
echo "{folder.name} $*" >> ../calls
cat answer
echo "no room on this machine" >&2
exit {code}
"""
    )
    path.chmod(0o755)
    return folder


def figure(name: str, value: float | None, ratio: float | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "ratio": ratio, "error": None, "failures": [], **more}


def pairs(old: Path, new: Path, *only: str, rounds: int = 1) -> dict[str, Pair]:
    found = compare(old, new, only, quick=True, rounds=rounds, say=lambda _text: None)
    return {pair.row.name: pair for pair in found}


def test_each_row_is_measured_by_both_in_turn_and_rows_of_one_measurement_at_once(tmp_path: Path) -> None:
    trees = [
        checkout(tmp_path / which, *(figure(name, 5.0) for name in ("scalar_graph", "idle_cpu")))
        for which in ("old", "new")
    ]
    pairs(trees[0], trees[1], "idle_cpu", "resident_memory", "scalar_graph", rounds=2)
    one = "bench --json --quick --only scalar_graph"
    other = "bench --json --quick --only idle_cpu --only resident_memory"
    turns = ("old", "new", "new", "old")
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{which} {asked}" for asked in (one, other) for which in turns
    ]


def test_a_gain_is_more_than_1_for_a_higher_rate_and_for_a_lower_cost(tmp_path: Path) -> None:
    old = checkout(tmp_path / "old", figure("scalar_graph", 2e6, 0.5), figure("idle_cpu", 4.0))
    new = checkout(tmp_path / "new", figure("scalar_graph", 3e6, 0.7), figure("idle_cpu", 2.0))
    found = pairs(old, new, "scalar_graph", "idle_cpu")
    assert {name: pair.gain for name, pair in found.items()} == {"scalar_graph": 1.5, "idle_cpu": 2.0}
    plain = found["scalar_graph"].to_plain()
    assert (plain["old"]["ratio"], plain["new"]["ratio"]) == (0.5, 0.7)
    text = text_of_pairs(list(found.values()))
    assert "1.50 ×" in text
    assert "3 M/s" in text
    assert json.loads(json.dumps(found["idle_cpu"].to_plain()))["new"]["values"] == [2.0]


def test_what_one_of_them_could_not_measure_says_why(tmp_path: Path) -> None:
    old = checkout(tmp_path / "old", says="ami: usage", code=2)
    new = checkout(tmp_path / "new", figure("scalar_graph", 3e6, failures=["1 event is missing"]), code=1)
    found = pairs(old, new, "scalar_graph", "ring_blocks")
    assert [pair.gain for pair in found.values()] == [None, None]
    text = text_of_pairs(list(found.values()))
    assert "scalar_graph, old: no room on this machine" in text
    assert "scalar_graph, new: 1 event is missing" in text
    assert "ring_blocks, new: it has no such figure" in text


def test_who_ends_it_waits_until_the_checkout_has_stopped_its_node(tmp_path: Path) -> None:
    old = checkout(tmp_path / "old", figure("scalar_graph", 1.0))
    (old / "bin" / "ami").write_text(
        "#!/bin/sh\ntrap 'sleep 0.5; touch stopped; exit 1' TERM\ntouch started\n"
        "while :; do sleep 0.05; done\n"
    )
    command = [
        sys.executable, "-P", "-m", "ami.cli", "bench", "--against", str(old), "--only", "scalar_graph",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as asked:
        wait_until((old / "started").exists, what="the other checkout's bench")
        asked.send_signal(signal.SIGTERM)
        asked.wait(PATIENCE_S)
    assert (old / "stopped").exists()


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no bin/ami"):
        pairs(tmp_path, checkout(tmp_path / "new", figure("scalar_graph", 1.0)), "scalar_graph")
