"""Three machines whose servers have copies: the one that leads is cut off, stands still, and is back."""

from __future__ import annotations

import json
import subprocess

import pytest

from ami.cluster.supervised import PROJECT
from ami.lab.machines import NoMachines, refuse_without_namespaces
from ami.lab.outages import CUT, FROZEN

pytestmark = pytest.mark.system


@pytest.mark.timeout(600)
def test_whoever_is_away_no_event_is_lost_and_no_acknowledged_edit() -> None:
    try:
        refuse_without_namespaces()
    except NoMachines as error:
        pytest.skip(str(error))
    words = ["--nodes", "3", "--rounds", "1", "--hold", "1", "--target", CUT, "--target", FROZEN, "--json"]
    said = subprocess.run(
        [str(PROJECT / "bin" / "ami"), "chaos", *words], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    found = {row["target"]: row for row in json.loads(said.stdout)}
    assert set(found) == {CUT, FROZEN}
    for row in found.values():
        assert [row[what] for what in ("lost", "twice", "wrong", "edits_lost", "faults")] == [0] * 5, row
        assert row["acknowledged"] > 0
